"""Chapter 07: two sets of images brought to one size, one number of channels and one n, so that their distributions can be compared."""

from pathlib import Path

import numpy as np
from PIL import Image

from ddpm_utils.data.folders import list_images
from ddpm_utils.data.names import EMBEDDED
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError


def comparable_sets(
    real: str | Path, generated: Path, *, size: int | None = None, channels: int = 3, n: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The images of `real` and `generated`, names or folders as `load_images` takes them: uint8 (n, size, size, channels) each.

    size: pixels (default: the smaller set's). n: images of each set, drawn by the seed (default: as many as the smaller set has). Raises
    InputError for sets with fewer images.
    """
    size = size or smaller_size(generated, str(real))
    sets = {
        "real": with_channels(load_images(real, size).images, channels),
        "generated": with_channels(load_images(generated, size).images, channels),
    }
    n = n or min(map(len, sets.values()))
    return tuple(drawn(images, n, seed, name) for name, images in sets.items())


def smaller_size(generated: Path, real: str) -> int:
    """Pixels of the generated images, or of the real ones if these are smaller: enlarged, they would differ by their blur alone."""
    size, name = size_of_first(generated), real.partition(":")[0]
    if name in EMBEDDED:
        return min(size, EMBEDDED[name])
    return min(size, size_of_first(Path(real))) if Path(real).is_dir() else size


def size_of_first(folder: Path) -> int:
    """Pixels of the short side of a folder's first image."""
    files, _, _ = list_images(folder)
    try:
        with Image.open(files[0]) as image:
            return min(image.size)
    except OSError as error:
        raise InputError(f"{str(files[0])!r} can't be read as an image ({error}); repair or remove it") from error


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (n, H, W, 1 or 3) as (n, H, W, channels): grey repeated, or colours weighed as Pillow does."""
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    return np.stack([np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images])


def drawn(images: np.ndarray, n: int, seed: int, name: str) -> np.ndarray:
    """n of the images, without replacement; InputError if there are fewer."""
    if not 2 <= n <= len(images):
        raise InputError(f"there are {len(images)} {name} images, {n} are needed (and at least 2); lower --n, or add images")
    return images[np.sort(np.random.default_rng(seed).choice(len(images), n, replace=False))]
