"""From a folder to its images: which files count, what their labels are, and decoding once into the cache."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_utils.data.images import ImageSet, fit, read_rgb
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder, filling, fingerprint

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def list_images(root: Path, split: str = "train") -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """Image files below `root` in sorted order, their labels or None, and class names.

    Folders that only wrap another are passed through. Images at the top level: no labels. Otherwise each top subfolder with images is a
    class. The layouts of Stanford Cars and Tiny ImageNet are recognised by their folder names.
    """
    root = _unwrap(root)
    if (root / f"cars_{split}").is_dir():  # Stanford Cars: cars_train/cars_train/*.jpg, no labels in the names
        root = _unwrap(root / f"cars_{split}")
    elif (root / "wnids.txt").is_file() and (root / "train").is_dir():  # Tiny ImageNet
        if split == "test":
            return _tiny_imagenet_val(root)
        root = root / "train"
    elif split == "test":
        raise InputError(f"{str(root)!r} has no test split; only toy-cars, Stanford Cars and Tiny ImageNet have one")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS and not is_hidden(p.relative_to(root)))
    if not files:
        endings = ", ".join(sorted(EXTENSIONS))
        raise InputError(f"no images in {str(root)!r}; it should hold files that end in {endings}, flat or in one folder a class")
    tops = [p.relative_to(root).parts[0] for p in files]
    classes = tuple(sorted(set(tops)))
    loose = [p for p in files if p.parent == root]
    if loose and len(loose) < len(files):
        raise InputError(
            f"{str(root)!r} holds images beside its folders, the first is {loose[0].name!r}, so that its folders can't be classes; "
            "put it into one of them, or all images into one folder"
        )
    if len(classes) < 2 or loose:
        return files, None, ()
    index = {name: i for i, name in enumerate(classes)}
    return files, np.array([index[top] for top in tops], dtype=np.int64), classes


def _unwrap(root: Path) -> Path:
    """Down through folders that hold one folder and no image (archives double them)."""
    while True:
        entries = [p for p in root.iterdir() if not is_hidden(Path(p.name)) and (p.is_dir() or p.suffix.lower() in EXTENSIONS)]
        if len(entries) != 1 or not entries[0].is_dir():
            return root
        root = entries[0]


def is_hidden(path: Path) -> bool:
    """Whether this relative path is one of the files that computers leave behind: thumbnails, or a Mac's in an archive."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


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


def decode_all(root, files, labels, classes, size: int, skip_broken: bool) -> ImageSet:
    """All files as one uint8 array, from the cache or into it."""
    folder = cache_folder() / fingerprint(root, files, size)
    if not (folder / "meta.json").exists():
        decode_into_cache(folder, root, files, size)
    broken = json.loads((folder / "meta.json").read_text())["broken"]  # {relative path: why}
    if broken and (len(broken) == len(files) or not skip_broken):
        path, why = next(iter(broken.items()))
        raise InputError(
            f"{len(broken)} of {len(files)} images in {str(root)!r} can't be read, the first is {path!r} ({why}); "
            "repair or remove them, or pass --skip-broken"
        )
    images = np.load(folder / "images.npy", mmap_mode="r")
    if broken:
        print(f"skipping {len(broken)} broken images: {', '.join(list(broken)[:5])}{', …' if len(broken) > 5 else ''}")
        kept = [i for i, path in enumerate(files) if str(path.relative_to(root)) not in broken]
        images, labels = images[kept], None if labels is None else labels[kept]
    return ImageSet(images, labels, classes)


def decode_into_cache(folder: Path, root: Path, files: list[Path], size: int) -> None:
    """Decode all files into folder/images.npy and list the broken ones in meta.json. The folder appears only when complete."""
    with filling(folder, len(files) * size * size * 3, "meta.json") as temporary:
        images = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, (len(files), size, size, 3))

        def decode(i: int) -> str | None:
            try:
                images[i] = np.asarray(fit(read_rgb(files[i], size), size))
            except Exception as error:  # damaged bytes make Pillow raise almost anything
                return f"{type(error).__name__}: {error}".replace(f"{root}{os.sep}", "")
            return None

        with ThreadPoolExecutor() as pool:
            reasons = list(
                tqdm(pool.map(decode, range(len(files))), total=len(files), desc="decoding", unit="image", leave=False, disable=None)
            )
        images.flush()
        broken = {str(files[i].relative_to(root)): why for i, why in enumerate(reasons) if why}
        (temporary / "meta.json").write_text(json.dumps({"broken": broken}))
