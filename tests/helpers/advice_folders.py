"""What sentences about folders of images and of pairs tell to do; see advice.py."""

from advice import go

ROWS = [
    go("TRAIN --data-path pic --out x", "data path must be a folder, kaggle:OWNER/SLUG, or one of", "TRAIN --out x"),
    go(
        "TRAIN --data-path empty --out x",
        "; it should hold files that Pillow opens",
        mend="[shutil.copy(f'flat/{i}.png', 'empty') for i in range(8)]",
    ),
    go(
        "TRAIN --data-path both --out x",
        "; put it into one of them, or all images into one folder",
        spoil="shutil.copytree('pics', 'both'); shutil.copy('photo.png', 'both')",
        mend="Path('both/photo.png').rename('both/a/photo.png')",
    ),
    go(
        "TRAIN --data-path s --out x",
        "; pass the folder to use itself, or rename it",
        "TRAIN --data-path s/test --out x",
        spoil="[shutil.copytree('pics', f's/{n}') for n in ('val', 'test')]",
    ),
    go(
        "TRAIN --data-path s --out x",
        "; pass the one to use itself",
        "TRAIN --data-path s/train --out x",
        spoil="[shutil.copytree('pics', f's/{n}') for n in ('train', 'training', 'test')]",
    ),
    go(
        "TRAIN --labels body --out x",
        "has no folder cars_train; leave it out",
        "TRAIN --out x",
    ),
    go(
        "TRAIN --data-path digits --fit squash --out x",
        "are square; leave them out",
        "TRAIN --data-path digits --max-epochs 1 --out x",
    ),
    go(
        "CONTROL --hint hints --crop boxes --out x",
        "which have no boxes; draw the hint: canny",
        "CONTROL --hint canny --out x",
    ),
    go(
        "TRAIN --data-path bad --out x",
        "can't be read, the first is '0.png' (OSError: image file is truncated); repair or remove them, or pass --skip-broken",
        "TRAIN --data-path bad --skip-broken --out x",
        spoil="shutil.copytree('flat', 'bad'); cut('bad/0.png')",
    ),
    go(
        "TRAIN --data-path bad --out x",
        "1 of 8 images in 'bad' can't be read, the first is '0.png' (OSError: image file is truncated); repair or remove them, or pass --skip-broken",
        spoil="shutil.copytree('flat', 'bad'); cut('bad/0.png')",
        mend="Path('bad/0.png').unlink()",
    ),
    go(
        "PAIRS --data-path pair --out x",
        "wrinkles or wrinkles:N; there is no folder 'pair'",
        "PAIRS --out x",
        "PAIRS --data-path wrinkles:20 --out y",
    ),
    go(
        "PAIRS --data-path p --out x",
        "; rename it or pass both folders",
        "PAIRS --data-path p/a --target-path p/gt --out x",
        spoil="shutil.copytree('pairs', 'p'); Path('p/src').rename('p/a')",
    ),
    go(
        "PAIRS --data-path p --out x",
        "; keep one, or pass both folders",
        "PAIRS --data-path p/src --target-path p/gt --out x",
        spoil="shutil.copytree('pairs', 'p'); shutil.copytree('pairs/src', 'p/before')",
    ),
    go(
        "PAIRS --data-path p --out x",
        "; add or remove them, or pass --skip-broken",
        "PAIRS --data-path p --skip-broken --out x",
        spoil="shutil.copytree('pairs', 'p'); Path('p/src/0.png').unlink()",
    ),
    go(
        "PAIRS --data-path p --out x",
        "; pairs need the same names",
        spoil="shutil.copytree('pairs', 'p'); [f.rename(f.with_name('_' + f.name)) for f in Path('p/src').iterdir()]",
        mend="[f.rename(f.with_name(f.name[1:])) for f in Path('p/src').iterdir()]",
    ),
    go(
        "PAIRS --data-path p --out x",
        "holds two images named '0', '0.bmp' is one; rename one of them",
        spoil="shutil.copytree('pairs', 'p'); shutil.copy('p/src/0.png', 'p/src/0.bmp')",
        mend="Path('p/src/0.bmp').unlink()",
    ),
    go(
        "PAIRS --data-path p --out x",
        "1 of 8 pairs in 'p' can't be used, the first is '0': 0.png can't be read: OSError: image file is truncated; repair",
        "PAIRS --data-path p --skip-broken --out x",
        spoil="shutil.copytree('pairs', 'p'); cut('p/src/0.png')",
    ),
    go(
        "PAIRS --data-path made --out x",
        "; prepare again",
        "PREPARE made --size 16",
        "PAIRS --data-path made --out x",
        spoil="next(f for f in Path('made/source').iterdir()).unlink()",
    ),
    go(
        "PAIRS --data-path made --out x",
        "; run prepare-pairs again, it goes on where it was",
        "PREPARE made --size 16",
        "PAIRS --data-path made --out x",
        spoil="Path('made/split.json').unlink()",
    ),
    go(
        "evaluate retouch --data-path whole EVALUATE",
        "prepare the pairs anew, into another folder, with another --test-share",
        "PREPARE y --size 16 --test-share 0.3",
        "evaluate retouch --data-path y --img-size 16 EVALUATE",
        spoil="run('PREPARE whole --size 16 --test-share 0')",
    ),
    go("PREPARE made --size 24", "; use the same settings, or name another folder", "PREPARE made --size 16", "PREPARE y --size 24"),
    go("PREPARE file --size 16", "; name a folder for the crops", "PREPARE y --size 16"),
    go("PREPARE pics --size 16", "; name a new or empty folder for the crops", "PREPARE empty --size 16"),
    go("PREPARE pairs/src/made --size 16", "; name another folder", "PREPARE y --size 16"),
    go(
        "prepare-pairs p/src p/gt y --size 16",
        "run this again (7 are cut and kept), or pass --skip-broken",
        "prepare-pairs p/src p/gt y --size 16 --skip-broken",
        spoil="shutil.copytree('pairs', 'p'); cut('p/src/0.png')",
    ),
    go(
        "prepare-pairs p/src p/gt y --size 16",
        "; repair or remove them and run this again",
        spoil="shutil.copytree('pairs', 'p'); cut('p/src/0.png')",
        mend="shutil.copy('pairs/src/0.png', 'p/src')",
    ),
    go("prepare-pairs pairs/gt pairs/gt y --size 16", "; the two folders hold the same images", "PREPARE y --size 16"),
]
