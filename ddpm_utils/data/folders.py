"""From a folder to its images: which files count, what their labels are, and decoding once into the cache."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_utils.data.images import DIM, ImageSet, fit, read_rgb
from ddpm_utils.data.listing import Tree, ending_in_words, files_below, is_hidden, is_image, left_out_in_words
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


@dataclass(frozen=True)
class Found:
    """The images of a folder: files in sorted order, labels (N,) int64 or None, class names; what to say of those that aren't among them."""

    files: list[Path]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    split: str = ""  # a sentence on which of several splits this is
    left_out: tuple[str, ...] = ()  # a reason for each file

    def notes(self) -> list[str]:
        """The lines to print."""
        return [line for line in (self.split, left_out_in_words(self.left_out)) if line]


def list_images(root: Path, split: str = "train") -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """`find_images` without the words about what was left out."""
    found = find_images(root, split)
    return found.files, found.labels, found.classes


def find_images(root: Path, split: str = "train") -> Found:
    """Image files below `root` in sorted order, their labels or None, and class names.

    Folders that only wrap another are passed through. Images at the top level: no labels. Otherwise each top subfolder with images is a
    class, unless all are named like the splits of a data set: then the split that is asked for is taken, or InputError if it isn't there.
    The layouts of Stanford Cars and Tiny ImageNet are recognised by their folder names. Links to folders are followed.
    """
    tree = files_below(root)
    images = [path for path in tree.files if is_image(path)]
    root = base = _unwrap(root, images)
    said = ""
    level = next((level for level in (0, 1) if _splits(root, images, level)), None)
    if (root / f"cars_{split}").is_dir():  # Stanford Cars: cars_train/cars_train/*.jpg, no labels in the names
        root = root / f"cars_{split}"
    elif (root / "wnids.txt").is_file() and (root / "train").is_dir():  # Tiny ImageNet
        if split == "test":
            return Found(*_tiny_imagenet_val(root))
        root = root / "train"
    elif level is not None:
        chosen, said = _choose_split(root, _splits(root, images, level), split)
        images = [path for path in images if path.relative_to(root).parts[level] == chosen]
        root = root / chosen if level == 0 else root
    elif split == "test":
        raise no_test_split(str(root))
    files = [path for path in images if path.is_relative_to(root)]
    left = _left_out(tree, base, root)
    root = _unwrap(root, files, splits_too=True)
    if not files:
        words = left_out_in_words(left)
        raise InputError(
            f"no images in {str(root)!r}; it should hold files that Pillow opens (.bmp, .gif, .jpg, .png, .tif, .webp, …), "
            f"flat or in one folder a class{f' ({words})' if words else ''}"
        )
    labels, classes = _labels(root, files)
    if classes:
        held = {path.name for path in root.iterdir() if path.is_dir() and not is_hidden(Path(path.name))}
        left += [f"folder without images ({name!r})" for name in sorted(held - set(classes))]
    return Found(files, labels, classes, said, tuple(left))


def no_test_split(name: str) -> InputError:
    """What to raise where a test split is asked for."""
    return InputError(f"{name!r} has no test split; toy-cars, Stanford Cars, Tiny ImageNet and folders that hold train/ and test/ have one")


def _left_out(tree: Tree, base: Path, root: Path) -> list[str]:
    """A reason for each file that is no image, but for those in the splits in `base` that aren't used; `root` is the one that is."""
    others = [(path, ending_in_words(path)) for path in tree.files if not is_image(path)] + tree.left_out
    return [why for path, why in others if path.is_relative_to(root) or path.parent == base or not path.is_relative_to(base)]


def _unwrap(root: Path, images: list[Path], splits_too: bool = False) -> Path:
    """Down through folders that hold one folder with images and no image (archives double them); into train/ or test/ only if splits_too."""
    while True:
        parts = {path.relative_to(root).parts[:2] for path in images}
        names = {part[0] for part in parts}
        if len(names) != 1 or any(len(part) == 1 for part in parts):
            return root
        [name] = names
        if name.lower() in SPLIT_WORDS and not splits_too:
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


def _tiny_imagenet_val(root: Path) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Tiny ImageNet's validation images: one flat folder, labels in a tab-separated file."""
    classes = tuple(sorted((root / "wnids.txt").read_text().split()))
    index = {name: i for i, name in enumerate(classes)}
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise InputError(f"Tiny ImageNet in {str(root)!r} has no val/val_annotations.txt; download or unpack it again")
    rows = [line.split("\t") for line in annotations.read_text().splitlines()]
    files = [root / "val" / "images" / row[0] for row in rows]
    return files, np.array([index[row[1]] for row in rows], dtype=np.int64), classes


# --- decoding ---


def decode_all(root, files, labels, classes, size: int, skip_broken: bool) -> ImageSet:
    """All files as one uint8 array, from the cache or into it."""
    folder = cache_folder() / fingerprint(root, files, size)
    meta = decoded_meta(folder, whole_files(folder), root, files, size)
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
    return ImageSet(images, labels, classes)


def decoded_meta(folder: Path, whole: set[str], root: Path, files: list[Path], size: int) -> dict:
    """What is known of the decoded files: {"broken": {relative path: why}, "dim": [relative path], "passing": whether errors may pass}.

    Files are decoded unless that was done before, which `whole`, the entry's files, tells. Errors that may pass aren't remembered.
    """
    meta = json.loads((folder / "meta.json").read_text()) if "meta.json" in whole else None
    if meta is None or meta["passing"]:
        decode_into_cache(folder, root, files, size, anew=bool(whole))
        meta = json.loads((folder / "meta.json").read_text())
    return meta


def decode_into_cache(folder: Path, root: Path, files: list[Path], size: int, anew: bool = False) -> None:
    """Decode all files into folder/images.npy, and write meta.json. The folder appears only when complete. anew: replaces one that is whole."""
    dim, passing = [False] * len(files), [False] * len(files)
    with filling(folder, len(files) * size * size * 3, anew) as temporary:
        images = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, (len(files), size, size, 3))

        def decode(i: int) -> str | None:
            try:
                image = read_rgb(files[i], size)
                dim[i] = DIM in image.info
                images[i] = np.asarray(fit(image, size))
            except Exception as error:  # damaged bytes make Pillow raise almost anything
                passing[i] = is_passing(error) and (files[i].exists() or not files[i].is_symlink())
                return f"{type(error).__name__}: {error}".replace(f"{root}{os.sep}", "")
            return None

        with ThreadPoolExecutor() as pool:
            reasons = list(
                tqdm(pool.map(decode, range(len(files))), total=len(files), desc="decoding", unit="image", leave=False, disable=None)
            )
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
