"""Data sets that are recognised by their files, wherever they lie: what their labels are, where the boxes, and which images are for testing.

Stanford Cars (Krause et al. 2013), Tiny ImageNet, and Grigorev's clothing data set.
"""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from ddpm_utils.data.listing import Found
from ddpm_utils.data.reading import Reading
from ddpm_utils.errors import InputError

DEVKIT = {"train": ("cars_train_annos.mat",), "test": ("cars_test_annos_withlabels.mat", "cars_test_annos.mat")}
CAR_CLASSES = "cars_meta.mat"
BODIES = {  # a word of the name, and the body that it says
    "Cab": "pickup", "SuperCab": "pickup", "Convertible": "convertible", "Coupe": "coupe", "Hatchback": "hatchback", "Minivan": "minivan",
    "Sedan": "sedan", "SUV": "SUV", "Van": "van", "Wagon": "wagon",
}  # fmt: skip
BODIES_OF_OTHERS = {  # names without such a word
    "Acura TL Type-S": "sedan", "Acura Integra Type R": "coupe", "Buick Regal GS": "sedan", "Chevrolet Cobalt SS": "coupe",
    "Chevrolet Corvette Ron Fellows Edition Z06": "coupe", "Chevrolet Corvette ZR1": "coupe", "Chevrolet HHR SS": "wagon",
    "Chevrolet TrailBlazer SS": "SUV", "Chrysler 300 SRT-8": "sedan", "Dodge Challenger SRT8": "coupe", "Dodge Charger SRT-8": "sedan",
    "FIAT 500 Abarth": "hatchback", "Jaguar XK XKR": "coupe", "Lamborghini Gallardo LP 570-4 Superleggera": "coupe",
}  # fmt: skip
NO_CLASSES = {"Not sure", "Other", "Skip"}  # labels of the clothes that name no kind
HELD_OUT = 10  # one image in so many of the clothes is for testing


def is_published(root: Path) -> bool:
    """Whether this folder itself is one of the sets whose folders aren't classes."""
    return any((root / f"cars_{split}").is_dir() for split in DEVKIT) or is_clothes(root)


def stanford_cars(root: Path, images: list[Path], others: list[Path], split: str, reading: Reading) -> Found:
    """cars_train/*.jpg or cars_test/*.jpg, with labels and boxes where the devkit lies anywhere beside them (`others`, the other files)."""
    folder = root / f"cars_{split}"
    files = [path for path in images if path.is_relative_to(folder)]
    named = {path.name: path for path in reversed(others)}
    annotations = next((named[name] for name in DEVKIT[split] if name in named), None)
    if annotations is None:
        wanted = f"{DEVKIT[split][0]!r} of the devkit isn't among its files; put it and {CAR_CLASSES!r} into {str(root)!r}"
        if reading.crop == "boxes" or reading.labels:
            raise InputError(f"the cars in {str(root)!r} have no {'boxes' if reading.crop == 'boxes' else 'labels'}: {wanted}")
        return Found(files, said=f"no labels: {wanted} to train with them")
    rows = _car_rows(annotations, files)
    boxes = np.array([row[:4] for row in rows]) if reading.crop == "boxes" else None
    used = [annotations]
    if len(rows[0]) == 4:
        return Found(files, boxes=boxes, said=f"no labels: {annotations.name!r} has none", used=used)
    if CAR_CLASSES not in named:
        raise InputError(f"{annotations.name!r} needs {CAR_CLASSES!r} beside it for the names of the classes; put it into {str(root)!r}")
    names = [str(name) for name in np.atleast_1d(_matlab(named[CAR_CLASSES], "class_names"))]
    numbers = np.array([row[4] for row in rows], dtype=np.int64) - 1
    if numbers.min() < 0 or numbers.max() >= len(names):
        raise InputError(
            f"{annotations.name!r} has classes up to {numbers.max() + 1}, {CAR_CLASSES!r} names {len(names)}; download both again"
        )
    if reading.labels == "body":
        names = [body_of(name) for name in names]
    classes = tuple(sorted(set(names)))
    labels = np.array([classes.index(names[number]) for number in numbers], dtype=np.int64)
    return Found(files, labels, classes, boxes=boxes, used=[*used, named[CAR_CLASSES]])


def body_of(name: str) -> str:
    """The body of a car by its class's name, such as "Audi S4 Sedan 2012"."""
    words = name.split()
    found = [BODIES[word] for word in words if word in BODIES]
    body = found[-1] if found else BODIES_OF_OTHERS.get(" ".join(words[:-1]))
    if body is None:
        raise InputError(f"no body is known of {name!r}; pass --labels model")
    return body


def _car_rows(annotations: Path, files: list[Path]) -> list[tuple[int, ...]]:
    """(left, top, right, bottom, class) of each file, or without the class, as the devkit has them; right and bottom excluded."""
    table = np.atleast_1d(_matlab(annotations, "annotations"))
    names = table.dtype.names or ()
    corners = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    if missing := [name for name in (*corners, "fname") if name not in names]:
        raise InputError(f"{str(annotations)!r} has no field {missing[0]!r}, so it isn't the devkit's; download it again")
    kept = (*corners, "class") if "class" in names else corners
    by_name = {str(row["fname"]): tuple(int(row[name]) for name in kept) for row in table}
    if without := [path.name for path in files if path.name not in by_name]:
        raise InputError(f"{annotations.name!r} has no row for {len(without)} of {len(files)} images, the first is {without[0]!r}")
    rows = (by_name[path.name] for path in files)
    return [(x1 - 1, y1 - 1, *rest) for x1, y1, *rest in rows]  # Matlab counts pixels from 1


def _matlab(path: Path, name: str) -> np.ndarray:
    """One variable of a Matlab file."""
    from scipy.io import loadmat  # only here: scipy takes its time

    try:
        return loadmat(path, squeeze_me=True)[name]
    except Exception as error:  # damaged bytes make scipy raise almost anything
        raise InputError(f"{str(path)!r} can't be read as the devkit's {name} ({error}); download it again") from error


def clothes(root: Path, images: list[Path], split: str) -> Found:
    """images.csv (image, sender_id, label, kids) beside images_compressed/ID.jpg, 400 pixels wide, or images_original/ID.jpg.

    One in ten is for testing, chosen by its name. Images whose label names no kind, or that have none, are left out.
    """
    folder = next(folder for folder in _clothes_folders(root) if folder.is_dir())
    table = root / "images.csv"
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        label_of = {row["image"]: row["label"] for row in rows}
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{str(table)!r} must be a table with the columns image and label ({error}); download it again") from error
    there = {path.stem: path for path in images if path.is_relative_to(folder)}
    if not (kinds := {stem: label for stem in there if (label := label_of.get(stem)) and label not in NO_CLASSES}):
        raise InputError(f"{str(table)!r} has {len(label_of):,} labels, and {str(folder)!r} none of their images; download it again")
    classes = tuple(sorted(set(kinds.values())))
    chosen = [stem for stem in kinds if is_held_out(stem) == (split == "test")]
    left = Counter(f"labelled {label_of[stem]!r}" if stem in label_of else "not in images.csv" for stem in there if stem not in kinds)
    left["row of images.csv without an image"] = len(label_of.keys() - there.keys())
    said = (
        f"one image in {HELD_OUT} is kept for testing: {len(kinds) - len(chosen) if split == 'train' else len(chosen):,} of {len(kinds):,}"
    )
    labels = np.array([classes.index(kinds[stem]) for stem in chosen], dtype=np.int64)
    return Found([there[stem] for stem in chosen], labels, classes, said, tuple(left.elements()), used=[table])


def is_clothes(root: Path) -> bool:
    """Whether this folder holds the clothing data set."""
    return (root / "images.csv").is_file() and any(folder.is_dir() for folder in _clothes_folders(root))


def _clothes_folders(root: Path) -> tuple[Path, Path]:
    return root / "images_compressed", root / "images_original"


def is_held_out(name: str) -> bool:
    """Whether the image of this name is for testing: the same everywhere and for ever."""
    return hashlib.sha256(name.encode()).digest()[0] * HELD_OUT // 256 == 0


def tiny_imagenet_val(root: Path) -> Found:
    """Tiny ImageNet's validation images: one flat folder, labels in a tab-separated file."""
    classes = tuple(sorted((root / "wnids.txt").read_text().split()))
    index = {name: i for i, name in enumerate(classes)}
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise InputError(f"Tiny ImageNet in {str(root)!r} has no val/val_annotations.txt; download or unpack it again")
    rows = [line.split("\t") for line in annotations.read_text().splitlines()]
    files = [root / "val" / "images" / row[0] for row in rows]
    return Found(files, np.array([index[row[1]] for row in rows], dtype=np.int64), classes)
