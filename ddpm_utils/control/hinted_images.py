"""Chapter 08's data: images with the hint of each, drawn from the image, known exactly, or brought in a folder."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ddpm_utils.choices import EXACT_HINTS
from ddpm_utils.control.hints import HINTS, Hint, one_hot
from ddpm_utils.data.folders import list_images
from ddpm_utils.data.images import ImageSet, fit, to_float
from ddpm_utils.data.synthetic.cars import CarSet
from ddpm_utils.errors import InputError


def folder_hints(folder: str | Path, images: str | Path, size: int, how: str = "crop") -> np.ndarray:
    """The hint image of each image, matched by the names without their endings: (N, size, size, c) uint8, c = 1 if all are grey, else 3.

    images: the folder that the images were loaded from; the order is that of `load_images`. how: both become square, as in `fit`. Images
    with a palette, as segmentations often are, keep their colours (nearest neighbour); others are scaled as images are. Raises InputError
    for a missing or doubled name.
    """
    check_hint(str(folder), str(images))
    folder, images = Path(folder).expanduser(), Path(images).expanduser()
    by_stem: dict[str, Path] = {}
    for path in list_images(folder)[0]:
        if by_stem.setdefault(path.stem, path) != path:
            raise InputError(f"{str(folder)!r} holds two hint images named {path.stem!r}; rename one of them")
    wanted = [path.stem for path in list_images(images)[0]]
    if missing := [stem for stem in wanted if stem not in by_stem]:
        raise InputError(
            f"{len(missing)} images have no hint image of the same name in {str(folder)!r}, the first is {missing[0]!r}; add them"
        )
    images = []
    for stem in wanted:
        with Image.open(by_stem[stem]) as image:
            scaling = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.LANCZOS
            images.append(np.asarray(fit(image.convert("RGB"), size, how, scaling)))
    stack = np.stack(images)
    return stack[..., :1] if (stack == stack[..., :1]).all() else stack


def check_hint(hint: str, images: str) -> None:
    """Refuse what is no hint for images from there, before they are read."""
    if hint in EXACT_HINTS and images.partition(":")[0] != "toy-cars":
        raise InputError(f"the hint {hint!r} is known exactly of toy-cars only; for other images pass a folder of hint images")
    if hint in (*HINTS, *EXACT_HINTS):
        return
    if not Path(hint).expanduser().is_dir():
        raise InputError(f"a hint must be one of {', '.join([*HINTS, *EXACT_HINTS])} or a folder of hint images, got {hint!r}")
    if not Path(images).expanduser().is_dir():
        raise InputError(f"a folder of hint images needs a folder of images, got {images!r}")


@dataclass(frozen=True)
class HintedSet(ImageSet):
    """An ImageSet with the hint of each image, (N, H, W, c) uint8; drawn once."""

    hints: np.ndarray | None = None

    @property
    def hint_channels(self) -> int:
        return self.hints.shape[3]

    @cached_property
    def digest(self) -> str:
        """Like ImageSet's, of images and hints."""
        return self.digest_with(0.0)

    def digest_with(self, dropout: float) -> str:
        """Like ImageSet's digest, of images and hints, for a training that drops this share of the hints."""
        parts = ImageSet(self.images, self.labels).digest, ImageSet(self.hints).digest, repr(dropout)
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def with_hints(data: ImageSet, hint: str | Hint, images: str | Path = "", how: str = "crop") -> HintedSet:
    """The images with their hints: a name of HINTS or EXACT_HINTS, a function like those of HINTS, or a folder of hint images.

    images, how: where `data` came from and how it became square, needed for a folder.
    """
    if hint in EXACT_HINTS:
        if not isinstance(data, CarSet):
            raise InputError(f"the hint {hint!r} is known exactly of toy-cars only; for other images pass a folder of hint images")
        hints = _uint8(one_hot(data.segmentation)) if hint == "segmentation" else (data.depth * 255).round().astype(np.uint8)[..., None]
    elif callable(hint) or hint in HINTS:
        draw = HINTS[hint] if isinstance(hint, str) else hint
        chunks = range(0, len(data), 256)
        bar = tqdm(chunks, desc="drawing hints", unit="chunk", leave=False, disable=None)
        hints = np.concatenate([_uint8(draw(to_float(np.array(data.images[i : i + 256])))) for i in bar])
    else:
        hints = folder_hints(hint, images, data.size, how)
    if hints.shape[:3] != data.images.shape[:3]:
        raise InputError(f"hints must have the number and size of the images, {data.images.shape[:3]}, got {hints.shape[:3]}")
    return HintedSet(data.images, data.labels, data.classes, hints)


def _uint8(hint: Tensor) -> np.ndarray:
    """(B, c, H, W) in [0, 1] -> (B, H, W, c) uint8."""
    return (hint * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
