"""Chapter 08: hints, images that say what a generated image should look like, and measures of how well it follows them.

A hint is (B, c, H, W) float32 in [0, 1] at the size of the image that it belongs to. `HINTS` names those that are drawn from an image
(B, 3, H, W) in [-1, 1]; each is a function of the image alone, whatever else is in the batch. Segmentation and depth are exact, so that
they need images whose parts are known: the toy cars. Any other function of images will do, and a folder of hint images.
"""

import zlib
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from ddpm_utils import choices
from ddpm_utils.data.images import LUMINANCE, fit
from ddpm_utils.data.synthetic.vehicles import PARTS
from ddpm_utils.errors import InputError

Hint = Callable[[Tensor], Tensor]  # (B, C, H, W) in [-1, 1] -> (B, c, H, W) in [0, 1]


# --- hints drawn from images ---


def canny(images: Tensor, sigma: float = 2.0) -> Tensor:
    """Edges as Canny (1986) finds them on the grey image: (B, C, H, W) -> (B, 1, H, W), 0 or 1.

    sigma: of the Gaussian before it, in pixels; more gives fewer edges. At 1, edges cover a seventh of an image of 32 px, so that those of
    any two images agree by chance for a good part, and a measure can hardly tell whether a hint is followed.
    """
    return _stacked([_edges(grey, sigma) for grey in _grey(images)])


def lines(images: Tensor) -> Tensor:
    """Straight pieces of the edges, found by the probabilistic Hough transform and drawn antialiased: (B, C, H, W) -> (B, 1, H, W)."""
    from skimage.draw import line_aa
    from skimage.transform import probabilistic_hough_line

    drawn = []
    for grey in _grey(images):
        side, canvas = min(grey.shape), np.zeros(grey.shape, np.float32)
        least = max(4, side // 6)
        found = probabilistic_hough_line(_edges(grey, 1.0), threshold=least, line_length=least, line_gap=1 + side // 64, rng=0)
        for (x0, y0), (x1, y1) in found:
            row, column, value = line_aa(y0, x0, y1, x1)
            inside = (row >= 0) & (row < grey.shape[0]) & (column >= 0) & (column < grey.shape[1])
            row, column = row[inside], column[inside]
            canvas[row, column] = np.maximum(canvas[row, column], value[inside])
        drawn.append(canvas)
    return _stacked(drawn)


def scribble(images: Tensor, seed: int = 0) -> Tensor:
    """Edges as a hand would draw them: the long ones, smoothed, a little off, with a pen of random thickness. -> (B, 1, H, W).

    The hand's randomness depends on (seed, image) alone.
    """
    drawn = []
    for grey in _grey(images):
        rng = np.random.default_rng([seed, zlib.crc32((grey * 255).round().astype(np.uint8).tobytes())])
        side = min(grey.shape)
        pieces, n = ndimage.label(_edges(grey, 1.2 + side / 128), np.ones((3, 3)))
        lengths = np.bincount(pieces.ravel(), minlength=n + 1)
        kept = (lengths >= side / 6)[pieces] & (pieces > 0)
        away = ndimage.distance_transform_edt(~kept) if kept.any() else np.full(grey.shape, np.inf)
        waver = [ndimage.gaussian_filter(rng.standard_normal(grey.shape), side / 10, mode="wrap") for _ in range(2)]
        waver = [w / (w.std() + 1e-9) * side / 80 for w in waver]  # pixels
        away = ndimage.map_coordinates(away, np.indices(grey.shape) + waver, order=1, mode="nearest") if kept.any() else away
        thickness = rng.uniform(0.4, 1.3) * max(1.0, side / 48)
        drawn.append(np.clip(thickness + 0.5 - away, 0, 1))
    return _stacked(drawn)


HINTS: dict[str, Hint] = dict(zip(choices.HINTS, (canny, lines, scribble), strict=True))


def one_hot(segmentation: np.ndarray, classes: int = len(PARTS)) -> Tensor:
    """Part numbers (B, H, W) -> (B, classes, H, W), 1 in the channel of the pixel's part."""
    return torch.nn.functional.one_hot(torch.from_numpy(np.asarray(segmentation, np.int64)), classes).permute(0, 3, 1, 2).float()


def _grey(images: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> (B, H, W) in [0, 1], as bright as an eye sees it."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"hints are drawn from images (B, 3, H, W) or (B, 1, H, W), got shape {tuple(images.shape)}")
    weights = torch.tensor(LUMINANCE if images.shape[1] == 3 else (1.0,))
    grey = (images.detach().float().cpu() * weights[:, None, None]).sum(1)
    return (grey.clamp(-1, 1) / 2 + 0.5).numpy()


def _edges(grey: np.ndarray, sigma: float) -> np.ndarray:
    from skimage.feature import canny as detect

    return detect(grey, sigma, low_threshold=0.1, high_threshold=0.2, mode="nearest")


def _stacked(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images).astype(np.float32))[:, None]


# --- hints that a user brings ---


def user_scribble(image: np.ndarray, size: int) -> Tensor:
    """What somebody drew, as a hint (1, 1, size, size): white on black, whatever the colours were.

    image: (H, W), (H, W, 3) or (H, W, 4), uint8 or float in 0 .. 1. With transparency the ink is what isn't transparent; without, what
    differs from the most frequent brightness, which is taken for the paper.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or min(image.shape[:2]) < 1:
        raise InputError(f"a scribble must be (H, W), (H, W, 3) or (H, W, 4), got shape {image.shape}")
    values = image / 255 if image.dtype == np.uint8 else image.astype(np.float64)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise InputError(f"a scribble must be uint8 or lie in 0 .. 1, got values from {values.min():g} to {values.max():g}")
    if image.ndim == 3 and image.shape[2] == 4 and values[..., 3].min() < 1:
        ink = values[..., 3]
    else:
        grey = values[..., :3].mean(-1) if image.ndim == 3 else values
        paper = np.bincount((grey * 255).round().astype(int).ravel()).argmax() / 255
        ink = np.abs(grey - paper)
        ink = ink / max(ink.max(), 1e-9) if ink.max() > 0.05 else np.zeros_like(ink)  # less is paper's own unevenness
    small = np.asarray(fit(Image.fromarray(ink.astype(np.float32)), size)).clip(0, 1)
    return _stacked([small / max(small.max(), 1e-9) if small.max() > 0.05 else small])
