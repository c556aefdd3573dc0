"""Decoded images: uint8 (N, H, W, C) at rest, float32 (B, C, H, W) in training; one file as RGB, cut to a square."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ddpm_utils.errors import InputError, NotFinite, printable

LUMINANCE = (0.299, 0.587, 0.114)  # weights of red, green, blue: ITU-R BT.601, as in JPEG
ORIENTATION = 0x0112  # EXIF tag: which way up
BOX_SLACK = 2  # pixels by which a box may overlap its image's edge: people draw them, and count from 0 or from 1
LARGEST = 4096  # pixels a side: the largest images that a network is built for
DIM = "dim"  # key in the info of an image from a file of 16 bits or more that uses 12 at most


@dataclass(frozen=True)
class ImageSet:
    """Decoded images (N, H, W, C) uint8, their labels (N,) int64 or None, and the names of the classes."""

    images: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        return self.images.shape[1]

    @property
    def channels(self) -> int:
        return self.images.shape[3]

    def classes_in_words(self) -> str:
        """ "classes: cat 12, dog 9": how many images each has; the first ten of many."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        shown = [f"{name} {n:,}" for name, n in zip(self.classes[:10], counts)]
        more = [f"… ({len(self.classes) - 10} more)"] if len(self.classes) > 10 else []
        alone = [name for name, n in zip(self.classes, counts) if n == 1]
        few = f"; a single image is copied rather than learned from: {', '.join(alone[:3])}{', …' if alone[3:] else ''}" if alone else ""
        return printable(f"classes: {', '.join(shown + more)}{few}")

    @cached_property
    def digest(self) -> str:
        """Recognises the set, wherever it lies, by its shape, its labels and up to 256 images spread evenly; every state carries it."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        for row in range(0, len(self), max(1, len(self) // 256)):
            digest.update(self.images[row].tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()


def check_size(size: int | None) -> None:
    """InputError for a size that no image is brought to, before memory is taken for it."""
    if size is not None and size < 1:
        raise InputError(f"image size must be at least 1 pixel, got {size}")
    if size is not None and size > LARGEST:
        raise InputError(f"image size must be at most {LARGEST} pixels, got {size}")


def to_float(images: np.ndarray, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,)) -> Tensor:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W): (v / 255 - mean) / std by channel. The default is [-1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return (x - _per_channel(mean)) / _per_channel(std)


def to_uint8(x: Tensor, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,)) -> np.ndarray:
    """The inverse of `to_float`, rounded and clipped: (B, C, H, W) -> uint8 (B, H, W, C). Raises InputError for NaN and infinity."""
    check_finite(x)
    v = x.detach().float().cpu() * _per_channel(std) + _per_channel(mean)
    return (v * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def check_finite(x: Tensor) -> None:
    """InputError for NaN and infinity, which would become black pixels."""
    if bad := int(x.numel() - x.isfinite().sum()):
        raise NotFinite(
            f"{bad:,} of {x.numel():,} values of an image are NaN or infinite; the weights that made it are damaged or diverged"
        )


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


def open_picture(path: Path) -> Image.Image:
    """Pillow's image, not decoded yet."""
    image = Image.open(path)
    image.filename = ""  # by its name, Pillow maps grey and RGBA TIFFs into memory, and scrambles those that lie on their side
    return image


def picture_for(purpose: str, path: Path, read: Callable[[Path], Image.Image]) -> Image.Image:
    """The image in a file that someone named for a purpose, by `read`; InputError where there is none."""
    if not (path := Path(path)).is_file():
        raise InputError(f"there is no image {str(path)!r} for {purpose}; it must be the name of a file")
    try:
        return read(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises for damaged bytes
        raise InputError(f"{str(path)!r} can't be read as an image ({error})") from error


def as_it_lies(path: Path) -> Image.Image:
    """The image in a file, neither turned nor converted."""
    with open_picture(path) as image:
        image.load()
        return image


def read_rgb(path: Path, min_side: int | None = None) -> Image.Image:
    """An image file as 8-bit RGB, turned by its EXIF tag; transparency becomes white; 16-bit grey is scaled to 8 bits.

    min_side: a size in pixels that will do; JPEGs then decode several times faster, at no less than twice that size.
    """
    with open_picture(path) as image:
        if min_side:
            image.draft("RGB", (2 * min_side, 2 * min_side))
        is_deep = ";16" in str(image.tile)
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            return _deep_to_rgb(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        rgb = image.convert("RGB")
        if is_deep and 0 < max(high for _, high in rgb.getextrema()) < 4096 >> 8:  # Pillow keeps the high bytes of colours
            rgb.info[DIM] = True
        return rgb


def _deep_to_rgb(image: Image.Image) -> Image.Image:
    """Integers of 16 bits and floats as 8-bit RGB: divided by 257, floats up to 1 by 1 / 255; 32 bits up to 255 are taken as they are."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that aren't finite")
    largest = values.max(initial=0)
    scale = 257 if image.mode.startswith("I;16") or largest > 255 else 1 / 255 if image.mode == "F" and largest <= 1 else 1
    rgb = Image.fromarray((values / scale).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if scale == 257 and 0 < largest < 4096:
        rgb.info[DIM] = True
    return rgb


def fit(image: Image.Image, size: int, how: str = "crop", filter: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
    """`size` by `size` pixels. crop: the short side is scaled to `size`, and the middle square kept; squash: both sides are scaled to it;
    pad: the long side is, and what is missing stays white, as transparency becomes white."""
    if how == "squash":
        return image.resize((size, size), filter)
    if how == "pad":
        return ImageOps.pad(image, (size, size), filter, color="white")
    return ImageOps.fit(image, (size, size), filter)


def cut_to_box(image: Image.Image, box: np.ndarray) -> Image.Image:
    """The part of an image inside a box (left, top, right, bottom), the last two excluded. ValueError for one that isn't inside it."""
    left, top, right, bottom = map(int, box)
    width, height = image.size
    inside = max(0, left), max(0, top), min(width, right), min(height, bottom)
    off = max(abs(a - b) for a, b in zip(inside, (left, top, right, bottom)))
    if off > BOX_SLACK or inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ValueError(f"its box from ({left}, {top}) to ({right}, {bottom}) isn't inside its {width} x {height} pixels")
    return image.crop(inside)
