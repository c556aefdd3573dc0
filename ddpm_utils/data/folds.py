"""Chapter 06: folds of real cloth in photographs of garments: lifted off, taken away, laid onto other cloth.

A fold is light: a field F (H, W), the log of how much brighter it makes the cloth, 0 outside of the garment. On plain cloth it is what a band
of the log of luminance holds, F = blur(L, fine) - blur(L, coarse), both inside the garment's mask; lines that are sharp and thin (seams, hems,
buttons) aren't folds and are spared. Cloth under a fold has the colours (x + 10) exp(k F) - 10, where k is how much each channel follows.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ddpm_utils.data.images import LUMINANCE

BLACK = 10  # levels that are added to colours before the logarithm: noise in the dark is no fold
EDGE = 3  # pixels of a garment's rim, at a short side of 400, that hold shadow and background


class Fold(NamedTuple):
    field: np.ndarray  # (H, W) float32, the log of the light
    slopes: np.ndarray  # (3,) how much the log of each channel follows the field
    plain: bool  # whether the cloth is of one colour and little texture, so that the field is fold and not print
    strength: float  # standard deviation of the field on the cloth


def blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) under a Gaussian."""
    return ndimage.gaussian_filter(x.astype(np.float32, copy=False), sigma)


def blurred_inside(x: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """blur(x mask) / blur(mask): a Gaussian that takes nothing from outside of the mask (H, W) float."""
    return blurred(x * mask, sigma) / np.maximum(blurred(mask, sigma), 1e-3)


def lift(photograph: np.ndarray, mask: np.ndarray, fine: float, coarse: float, scale: float = 1.0) -> Fold | None:
    """The folds that a garment has in a photograph (H, W, 3) of 0..255, None for one too small. mask: (H, W) bool, its cloth.

    fine, coarse: of the band, in pixels at a short side of 400 (retouchers take away about 1 to 8 there); scale: this one's, over 400.
    """
    inner = ndimage.binary_erosion(mask, iterations=max(2, round(EDGE * scale))).astype(np.float32)
    on = inner > 0
    if on.sum() < 1500:
        return None
    luminance = np.log(photograph @ np.float32(LUMINANCE) + BLACK)
    sharp = blurred_inside(luminance, inner, fine * scale)
    field = sharp - blurred_inside(luminance, inner, coarse * scale)
    texture = (luminance - sharp) * inner
    field = field * (1 - lines(texture, on, scale)) * inner
    is_coarse = np.square((sharp - blurred_inside(luminance, inner, 2.2 * scale))[on]).sum() < 0.62 * np.square(field[on]).sum()
    values = field[on]
    is_plain = is_coarse and _one_colour(photograph[on]) and texture[on].std() < 0.05 and np.abs(np.percentile(values, [1, 99])).max() < 0.6
    soft = blurred(inner, 1.5 * scale) * inner
    slopes = [_slope(np.log(photograph[..., c] + BLACK), values, inner, on, fine * scale, coarse * scale) for c in range(3)]
    return Fold(field * soft, np.clip(slopes, 0.2, 4), bool(is_plain), float(values.std()))


def lines(texture: np.ndarray, on: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) in 0..1: where fine texture is much stronger than it mostly is on this cloth."""
    strength = np.sqrt(blurred(texture**2, 1.5 * scale))
    over = strength / (np.median(strength[on]) + 1e-4) - 1.6
    return blurred(np.clip(over / 1.6, 0, 1), scale)


def _one_colour(colours: np.ndarray) -> bool:
    """Whether the colours (n, 3) differ in little but how bright they are."""
    chroma = colours - colours.mean(-1, keepdims=True)
    return bool(np.percentile(np.linalg.norm(chroma - np.median(chroma, 0), axis=1), 92) < 16)


def _slope(channel: np.ndarray, values: np.ndarray, inner: np.ndarray, on: np.ndarray, fine: float, coarse: float) -> float:
    """Of a channel's own band over the field, by least squares."""
    band = (blurred_inside(channel, inner, fine) - blurred_inside(channel, inner, coarse))[on]
    return float((band * values).sum() / (np.square(values).sum() + 1e-6))


def lay(cloth: np.ndarray, field: np.ndarray, slopes: np.ndarray, shoulder: bool = False) -> np.ndarray:
    """cloth (H, W, 3) of 0..255 under a fold: (x + 10) exp(k F) - 10. slopes: (3,) or (H, W, 3).

    shoulder: through a film's curve x = 1 - exp(-light), by which bright channels change little, as cameras render saturated cloth.
    """
    exponent = field[..., None] * slopes
    if not shoulder:
        return (cloth + BLACK) * np.exp(exponent) - BLACK
    left = 1 - np.clip(cloth / 256, 1e-4, 0.995)
    return 256 * (1 - left ** np.exp(1.6 * exponent))


def laid_out(rng: np.random.Generator, field: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """A lifted field (h, w), turned, mirrored and scaled at random, over the whole of mask (H, W); None where that holds hardly any cloth."""
    if mask.sum() < 500:
        return None
    field = np.rot90(field.astype(np.float32), rng.integers(4))
    field = field[:, ::-1] if rng.random() < 0.5 else field
    if rng.random() < 0.3:
        field = field - blurred(field, rng.uniform(3, 6))  # the finer ones alone
    height, width = (np.ptp(rows) + 1 for rows in np.nonzero(mask))
    zoom = np.clip(max(height / field.shape[0], width / field.shape[1]) * rng.uniform(0.6, 1.1), 0.55, 1.3)
    field = ndimage.zoom(field, zoom, order=1)
    short = [max(0, need - have) for need, have in zip(mask.shape, field.shape)]
    field = np.pad(field, [(0, n) for n in short], mode="symmetric")
    y, x = (rng.integers(have - need + 1) for need, have in zip(mask.shape, field.shape))
    return field[y : y + mask.shape[0], x : x + mask.shape[1]]
