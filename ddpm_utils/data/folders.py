"""From a folder to its images: which files count, what their labels are, and decoding once into the cache."""

import json
import os
import re
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_utils.data.images import DIM, ImageSet, cut_to_box, fit, read_rgb
from ddpm_utils.data.listing import Found, Tree, ending_in_words, files_below, is_hidden, is_image, left_out_in_words
from ddpm_utils.data.published_sets import clothes, is_clothes, is_published, stanford_cars, tiny_imagenet_val
from ddpm_utils.data.reading import USUAL, Reading
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder, filling, fingerprint, is_passing, whole_files
from ddpm_utils.runtime.console import say

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
SPLIT_NAME = re.compile(rf"(.*[^a-z]|)({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})([^a-z].*|)", re.DOTALL)  # in lower case

AT_A_TIME = 1000  # files that are handed to the threads; what waits for a thread takes 1.5 kB, and a folder may hold a million


def list_images(root: Path, split: str = "train") -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """`find_images` without the words about what was left out."""
    found = find_images(root, split)
    return found.files, found.labels, found.classes


def find_images(root: Path, split: str = "train", reading: Reading = USUAL) -> Found:
    """Image files below `root` in sorted order, their labels or None, and class names.

    Folders that only wrap another are passed through. Images at the top level: no labels. Otherwise each top subfolder with images is a
    class, unless all are named like the splits of a data set: then the split that is asked for is taken, or InputError if it isn't there.
    Published data sets are recognised by their files (published_sets.py). Links to folders are followed.
    """
    tree = files_below(root)
    images = [path for path in tree.files if is_image(path)]
    base = _unwrap(root, images)
    if (base / f"cars_{split}").is_dir():
        found = stanford_cars(base, images, [path for path in tree.files if not is_image(path)], split, reading)
        return _complete(found, tree, base, base / f"cars_{split}")
    if reading.labels or reading.crop == "boxes":
        flag = f"--labels {reading.labels}" if reading.labels else "--crop boxes"
        raise InputError(f"{flag} is for Stanford Cars with its devkit, and {str(root)!r} has no folder cars_{split}; leave it out")
    if is_clothes(base):
        return _complete(clothes(base, images, split), tree, base, base)
    return _plain_folder(base, images, tree, split)


def _plain_folder(base: Path, images: list[Path], tree: Tree, split: str) -> Found:
    """The images of any folder, or of Tiny ImageNet, whose classes are folders, too."""
    root, said = base, ""
    level = next((level for level in (0, 1) if _splits(base, images, level)), None)
    splits = {} if level is None else _splits(base, images, level)
    if (base / "wnids.txt").is_file() and (base / "train").is_dir():
        if split == "test":
            return tiny_imagenet_val(base)
        root = base / "train"
    elif level is not None:
        chosen, said = _choose_split(base, splits, split)
        images = [path for path in images if path.relative_to(base).parts[level] == chosen]
        root = base / chosen if level == 0 else base
    elif split == "test":
        raise no_test_split(str(base))
    files = [path for path in images if path.is_relative_to(root)]
    inner = _unwrap(root, files, splits_too=True)
    labels, classes = _labels(inner, files) if files else (None, ())
    empty = []
    if classes:
        held = {path.name for path in inner.iterdir() if path.is_dir() and not is_hidden(Path(path.name))}
        empty = [f"folder without images ({name!r})" for name in sorted(held - set(classes))]
    return _complete(Found(files, labels, classes, said, tuple(empty)), tree, base, root, splits if level == 0 else {})


def _complete(found: Found, tree: Tree, base: Path, root: Path, splits: Collection[str] = ()) -> Found:
    """With the reasons for all other files; InputError if there is no image. base: the data set's folder, root: the part that is used.

    splits: the folders in `base` that are its parts, if they are known.
    """
    left = _left_out(tree, base, root, found.used, splits)
    if not found.files:
        words = left_out_in_words(left)
        raise InputError(
            f"no images in {str(root)!r}; it should hold files that Pillow opens (.bmp, .gif, .jpg, .png, .tif, .webp, …), "
            f"flat or in one folder a class{f' ({words})' if words else ''}"
        )
    return replace(found, left_out=(*left, *found.left_out))


def no_test_split(name: str) -> InputError:
    """What to raise where a test split is asked for."""
    return InputError(
        f"{name!r} has no test split; toy-cars, Stanford Cars, Tiny ImageNet, clothes and folders that hold train/ and test/ have one"
    )


def _left_out(tree: Tree, base: Path, root: Path, used: Iterable[Path], splits: Collection[str]) -> list[str]:
    """A reason for each file that is no image, but for those in the splits in `base` that aren't used; `root` is the one that is."""
    others = [(path, ending_in_words(path)) for path in tree.files if not is_image(path) and path not in used] + tree.left_out

    def is_beside(path: Path) -> bool:
        if path.is_relative_to(root) or not path.is_relative_to(base) or path.parent == base:
            return True
        return bool(splits) and path.relative_to(base).parts[0] not in splits

    return [why for path, why in others if is_beside(path)]


def _unwrap(root: Path, images: list[Path], splits_too: bool = False) -> Path:
    """Down through folders that hold one folder with images and no image (archives double them); into train/ or test/ only if splits_too."""
    while True:
        parts = {path.relative_to(root).parts[:2] for path in images}
        names = {part[0] for part in parts}
        if len(names) != 1 or any(len(part) == 1 for part in parts):
            return root
        [name] = names
        if (name.lower() in SPLIT_WORDS and not splits_too) or is_published(root):
            return root
        root = root / name


def _labels(root: Path, files: list[Path]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels (N,) by the top folder and the names of the classes; None and no names for a flat folder."""
    tops = [path.relative_to(root).parts[0] for path in files]
    classes = tuple(sorted(set(tops)))
    loose = [path for path in files if path.parent == root]
    if loose and len(loose) < len(files):
        raise InputError(
            f"{str(root)!r} holds images beside its folders, the first is {loose[0].name!r}, so that its folders can't be classes; "
            "put it into one of them, or all images into one folder"
        )
    if len(classes) < 2 or loose:
        return None, ()
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[top] for top in tops], dtype=np.int64), classes


# --- splits ---


def _splits(root: Path, images: list[Path], level: int) -> dict[str, str]:
    """{folder: "train", "val" or "test"} if all folders with images are named like splits, also as in seg_train and seg_test; else {}.

    level: 0 for the folders in `root`, of which some may be "" (seg_pred) beside train and another split; 1 for those in its class folders.
    """
    parts = [path.relative_to(root).parts for path in images]
    if any(len(part) < level + 2 for part in parts):
        return {}
    matches = {name: SPLIT_NAME.fullmatch(name.lower()) for name in {part[level] for part in parts}}
    if None in matches.values() and level == 1:
        return {}
    splits = {name: SPLIT_WORDS[match[2]] if match else "" for name, match in sorted(matches.items())}
    kinds = set(splits.values()) - {""}
    if "train" in kinds and len(kinds) > 1:
        return splits
    alike = None not in matches.values() and len({match.group(1, 3) for match in matches.values()}) == 1
    return splits if alike else {}  # freight train and passenger train are none


def _choose_split(root: Path, splits: dict[str, str], wanted: str) -> tuple[str, str]:
    """The folder to use and a sentence that says so; InputError if there is none, or more than one."""
    held = ", ".join(map(repr, splits))
    for kind in ("train",) if wanted == "train" else ("test", "val"):
        found = [name for name, of in splits.items() if of == kind]
        if len(found) > 1:
            raise InputError(f"{str(root)!r} holds {len(found)} folders of one split, {held}; pass the one to use itself")
        if found:
            return found[0], f"{str(root)!r} holds the splits {held}: only {found[0]!r} is used" if len(splits) > 1 else ""
    what = "to train on" if wanted == "train" else "to test on"
    raise InputError(f"{str(root)!r} holds the splits {held} and none {what}; pass the folder to use itself, or rename it")


# --- decoding ---


def decode_all(root: Path, found: Found, size: int, skip_broken: bool, how: str = "crop") -> ImageSet:
    """All files as one uint8 array, from the cache or into it. how: they become square."""
    files, labels = found.files, found.labels
    folder = cache_folder() / fingerprint(root, files, size, _read_in_words(how, found.boxes))
    meta = decoded_meta(folder, whole_files(folder), root, files, size, how=how, boxes=found.boxes)
    broken = meta["broken"]  # {relative path: why}
    if broken and (len(broken) == len(files) or not skip_broken):
        path, why = next(iter(broken.items()))
        raise InputError(
            f"{len(broken)} of {len(files)} images in {str(root)!r} can't be read, the first is {path!r} ({why}); "
            f"{'try again, ' if meta['passing'] else ''}repair or remove them, or pass --skip-broken"
        )
    images = np.load(folder / "images.npy", mmap_mode="r")
    warn_of_dim(meta)
    if broken:
        say(f"skipping {len(broken)} broken images: {', '.join(list(broken)[:5])}{', …' if len(broken) > 5 else ''}")
        kept = [i for i, path in enumerate(files) if str(path.relative_to(root)) not in broken]
        images, labels = images[kept], None if labels is None else labels[kept]
    return ImageSet(images, labels, found.classes)


def _read_in_words(how: str, boxes: np.ndarray | None) -> str:
    """What else decides the decoded pixels; "" for the middle square of the whole image, as older versions named their entries."""
    return "" if how == "crop" and boxes is None else f"{how} {'' if boxes is None else boxes.tolist()}"


def decoded_meta(folder: Path, whole: set[str], root: Path, files: list[Path], size: int, **square) -> dict:
    """What is known of the decoded files: {"broken": {relative path: why}, "dim": [relative path], "passing": whether errors may pass}.

    Files are decoded unless that was done before, which `whole`, the entry's files, tells. Errors that may pass aren't remembered.
    square: as in `decode_into_cache`.
    """
    meta = json.loads((folder / "meta.json").read_text()) if "meta.json" in whole else None
    if meta is None or meta["passing"]:
        decode_into_cache(folder, root, files, size, anew=bool(whole), **square)
        meta = json.loads((folder / "meta.json").read_text())
    return meta


def decode_into_cache(
    folder: Path,
    root: Path,
    files: list[Path],
    size: int,
    *,
    anew: bool = False,
    how: str = "crop",
    boxes: np.ndarray | None = None,
) -> None:
    """Decode all files into folder/images.npy, and write meta.json. The folder appears only when complete.

    anew: replaces one that is whole. how: images become square, as in `fit`. boxes: (N, 4), what of each is kept before that.
    """
    dim, passing = [False] * len(files), [False] * len(files)
    with filling(folder, len(files) * size * size * 3, anew) as temporary:
        images = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, (len(files), size, size, 3))

        def decode(i: int) -> str | None:
            try:
                image = read_rgb(files[i], size if boxes is None else None)  # a box counts pixels of the full size
                dim[i] = DIM in image.info
                images[i] = np.asarray(fit(image if boxes is None else cut_to_box(image, boxes[i]), size, how))
            except Exception as error:  # damaged bytes make Pillow raise almost anything
                passing[i] = is_passing(error) and (files[i].exists() or not files[i].is_symlink())
                return f"{type(error).__name__}: {error}".replace(f"{root}{os.sep}", "")
            return None

        parts = [range(start, min(start + AT_A_TIME, len(files))) for start in range(0, len(files), AT_A_TIME)]
        with ThreadPoolExecutor() as pool:
            decoded = chain.from_iterable(pool.map(decode, part) for part in parts)
            reasons = list(tqdm(decoded, total=len(files), desc="decoding", unit="image", leave=False, disable=None))
        images.flush()
        broken = {str(files[i].relative_to(root)): why for i, why in enumerate(reasons) if why}
        found = {"broken": broken, "dim": [str(files[i].relative_to(root)) for i in np.flatnonzero(dim)], "passing": any(passing)}
        (temporary / "meta.json").write_text(json.dumps(found))


def warn_of_dim(meta: dict) -> None:
    """Say that values of 12 bits or fewer lie in files of 16 or more, which are scaled by their depth."""
    if dim := meta["dim"]:
        files = f"{len(dim)} 16-bit files hold" if len(dim) > 1 else "1 16-bit file holds"
        say(
            f"nearly black: {files} no value above 4095 of 65535, such as {dim[0]!r}; if these are values of 12 bits, "
            "scale them by 16 before training"
        )
