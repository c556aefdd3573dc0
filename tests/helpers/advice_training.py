"""What sentences of the commands that train tell to do; see advice.py."""

from advice import go

ROWS = [
    go("TRAIN --kappa 2 --out x", "error: --kappa belongs to training on pairs, with --form; leave it out", "TRAIN --out x"),
    go("TRAIN --target-path pairs/gt --out x", "--target-path belongs to training on pairs, with --form; leave it out", "TRAIN --out x"),
    go(
        "PAIRS --unconditional --out x", "--unconditional belongs to training that generates images, without --form; leave", "PAIRS --out x"
    ),
    go(
        "PAIRS --form palette --kappa 2 --out x",
        "the form 'palette' has no kappa, only resshift has; leave it out",
        "PAIRS --form palette --out x",
    ),
    go(
        "TRAIN --start-from runs/done --width 16 --out x",
        "; use the flags that it was trained with",
        "TRAIN --start-from runs/done --out x",
    ),
    go(
        "TRAIN --start-from c.pt --out x",
        "; name a state of `train`",
        "TRAIN --start-from runs/cut/state-00000002.pt --out x",
        spoil="next(Path('runs/classifier').glob('state-*')).rename('c.pt')",
    ),
    go(
        "TRAIN --zero-terminal-snr --prediction eps --out x",
        "use 'v' or 'x0'",
        *(f"TRAIN --zero-terminal-snr --prediction {p} --out {p}" for p in ("v", "x0")),
    ),
    go(
        "TRAIN --out runs/cut --epochs 2 --lr 1e-3 --resume",
        "the checkpoint is of another run: its lr is",
        "TRAIN --out x --epochs 2 --lr 1e-3",
        "TRAIN --out runs/cut --epochs 2 --resume",
    ),
    go(
        "TRAIN --out runs/cut --epochs 2 --data-path flat --unconditional --resume",
        "the checkpoint is of another run: its ",
        "TRAIN --out x --data-path flat --unconditional",
    ),
    go(
        "TRAIN --out runs/plain --epochs 2 --data-path flat --resume",
        "pass the same --data-path, or begin anew with another --out, without --resume",
        "TRAIN --out runs/plain --epochs 2 --unconditional --resume",
        "TRAIN --out x --data-path flat",
    ),
    go(
        "TRAIN --out runs/cut --epochs 2",
        "pass --resume to go on with it, or another --out",
        "TRAIN --out runs/cut --epochs 2 --resume",
        "TRAIN --out x",
    ),
    go("TRAIN --out runs/done", "choose another --out", "TRAIN --out x", spoil="[p.unlink() for p in Path('runs/done').glob('state-*')]"),
    go(
        "TRAIN --out runs/done --resume",
        "only model.safetensors; begin anew with another --out, without --resume",
        "TRAIN --out x",
        spoil="[p.unlink() for p in Path('runs/done').glob('state-*')]",
    ),
    go(
        "TRAIN --out runs/dome --resume",
        "; check --out, or start without --resume",
        "TRAIN --out runs/done --resume",
        "TRAIN --out runs/dome",
    ),
    go(
        "TRAIN --out runs/cut --epochs 2 --resume runs/cut/model.safetensors",
        "; --resume takes a state, the newest one there is 'runs/cut/state-00000002.pt'",
        "TRAIN --out runs/cut --epochs 2 --resume runs/cut/state-00000002.pt",
    ),
    go(
        "TRAIN --out runs/cut --epochs 2 --resume runs/cut",
        "; --resume takes a state",
        "TRAIN --out runs/cut --epochs 2 --resume runs/cut/state-00000002.pt",
    ),
    go(
        "TRAIN --out x --epochs 2 --resume runs/cut/state-2.pt",
        "; check the name, or start without --resume",
        "TRAIN --out x --epochs 2 --resume runs/cut/state-00000002.pt",
        "TRAIN --out y --epochs 2",
    ),
    go("TRAIN --out runs/long --epochs 1 --resume", "; raise --epochs", "TRAIN --out runs/long --epochs 3 --resume"),
    go(
        "TRAIN --out runs/long --epochs 3 --resume",
        "(its contents don't match their checksum); restore a whole copy of it",
        mend="shutil.copy('copy.pt', 'runs/long/state-00000004.pt')",
        spoil="shutil.copy('runs/long/state-00000004.pt', 'copy.pt'); flip('runs/long/state-00000004.pt')",
    ),
    go(
        "TRAIN --out runs/long --epochs 3 --resume",
        "; or go on from the one before it with --resume runs/long/state-00000002.pt",
        "TRAIN --out runs/long --epochs 3 --resume runs/long/state-00000002.pt",
        spoil="cut('runs/long/state-00000004.pt')",
    ),
    go("TRAIN --out file", "--out must be a folder", "TRAIN --out x"),
    go("TRAIN --out x --copy-to file", "--copy-to must be a folder", "TRAIN --out x --copy-to y"),
    go("TRAIN --out x --copy-to x/y", "must lie side by side", "TRAIN --out x --copy-to y"),
    go(
        "TRAIN --out x --copy-to runs/done",
        "pass --resume to go on with it, or another --copy-to",
        "TRAIN --out y --copy-to z",
        "TRAIN --out x --copy-to runs/done --resume",
    ),
    go("TRAIN --out x --max-hours 1e-9", "; raise --max-hours", "TRAIN --out x --max-hours 1"),
    go(
        "TRAIN --out x --epochs 3 --keep 200 --max-disk-gb 0.03",
        "lower --keep or --width, or raise --snapshot-every",
        "TRAIN --out x --epochs 3 --keep 2 --max-disk-gb 0.03",
    ),
    go(
        "TRAIN --out x --epochs 900 --snapshot-every 1 --max-disk-gb 0.03",
        "or raise --snapshot-every",
        "TRAIN --out x --epochs 900 --max-epochs 1 --snapshot-every 300 --max-disk-gb 0.03",
    ),
    go("TRAIN --out x --batch-size 100", "; lower --batch-size", "TRAIN --out x --batch-size 8"),
    go("TRAIN --out x --device cuda", "; available: auto", "TRAIN --out x --device auto"),
    go("TRAIN --out x --precision fp16", "; use fp32 or bf16", "TRAIN --out x --precision fp32", "TRAIN --out y --precision bf16"),
    go("TRAIN --out x", "; unset it, or use torchrun", spoil="os.environ['WORLD_SIZE'] = '2'", mend="del os.environ['WORLD_SIZE']"),
    go("CLASSIFY --data-path flat --out x", "one folder a class; 'flat' has none", "CLASSIFY --out x"),
    go("CLASSIFY --hold-out 0.01 --out x", "; at least one must be on each side", "CLASSIFY --hold-out 0.2 --out x"),
    go("CONTROL --hint canny --data-path flat --out x", "; pass images in folders of the same names", "CONTROL --hint canny --out x"),
    go(
        "train-control runs/retoucher --hint canny --data-path pics --out x",
        "; a control needs one that generates them",
        "CONTROL --hint canny --out x",
    ),
    go(
        "CONTROL --hint canny --out runs/control --resume",
        "; restore it, or delete it if --hint",
        spoil="Path('runs/control/control.json').write_text('{')",
        mend="Path('runs/control/control.json').unlink()",
    ),
    go(
        "CONTROL --hint canny --out runs/control --resume",
        "the run in 'runs/control' has the hint 'lines', this one 'canny'; match it",
        "CONTROL --hint canny --out x",
        "CONTROL --hint lines --out runs/lines",
        spoil="Path('runs/control/control.json').write_text('{\"hint\": \"lines\"}')",
    ),
    go("CONTROL --hint depth --out x", "for other images pass a folder of hint images", "CONTROL --hint hints --out x"),
    go(
        "CONTROL --hint hints --out x",
        "; add them",
        spoil="Path('hints/3.png').rename('3.png')",
        mend="Path('3.png').rename('hints/3.png')",
    ),
    go(
        "CONTROL --hint hints --out x",
        "holds two hint images named '3'; rename one of them",
        spoil="shutil.copy('hints/3.png', 'hints/3.bmp')",
        mend="Path('hints/3.bmp').rename('hints/other.bmp')",
    ),
]
