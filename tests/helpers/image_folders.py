"""Folders of real pictures for tests."""

from PIL import Image


def write(path, photograph, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph).save(path, **options)
    return path


def write_all(folder, photographs, ending=".jpg"):
    return [write(folder / f"{i}{ending}", p) for i, p in enumerate(photographs)]
