"""What one photograph tells about its own wrinkles, which a network of small pictures can't know.

*Wrinkles come in company.* A garment has many, on cloth of one colour; the edge of a bed, a hand or a lock of hair looks like a single one. So
a pixel counts by the mean of the change mask over pixels of its colour around it, which a bilateral grid gives (Chen et al. 2007).

*The colour of a fold is that of the shading around it.* On saturated cloth the channels follow the light unequally, and each camera renders that
in its own way: how far each channel follows luminance is fitted to the photograph itself, in the band that folds lie in.

*What is bolder than cloth is left alone.* Bricks, a badge, grass and prints of high contrast have a finest structure that weaves don't have.

*Where a fold goes, the finest structure goes in part.* Retouchers heal and smooth: on two real pairs what they took away follows what is finer
than folds better than any network does (correlation .7), at a share of about a third. No pair that is drawn teaches this.
"""

import numpy as np
from scipy import ndimage

from ddpm_utils.data.folds import blurred_inside, lines
from ddpm_utils.data.images import LUMINANCE

NEAR = 128  # pixels: cells of the grid, at the network's scale
LIKE = (12, 10, 10)  # and in CIELAB's lightness, a and b
LEAST, MOST = 0.14, 0.64  # mean of the mask below which nothing is changed: this much, and this share of the photograph's own most
RAMP = 0.48  # all is changed where it is larger by this share
BAND = (0.8, 6.0)  # standard deviations in pixels between which light tells how channels follow it
AROUND = 24  # pixels, the standard deviation of "around"
EVEN = 0.05  # weight of the assumption that all channels follow alike, over that of the mean evidence
FINEST = 2.0  # pixels, the standard deviation below which lies the finest structure
TAKEN = 0.3  # share of it that goes where a fold does
BOLDEST = 19.0  # levels, its standard deviation on cloth at most; where it is twice as large, nothing is changed
NEARBY = 4.0  # pixels, the standard deviation of the place that it is measured in


def company(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]: how much each pixel's wrinkles have others of their kind. mask: (H, W) in [0, 1]; image: (H, W, 3) uint8."""
    from skimage.color import rgb2lab  # only here: half a second

    height, width = mask.shape
    rows, columns = np.indices((height, width)) / NEAR
    points = np.dstack([rows, columns, rgb2lab(image) / LIKE]).reshape(-1, 5).T  # (5, H W)
    points -= np.floor(points.min(1, keepdims=True))
    shape = tuple(np.ceil(points.max(1)).astype(int) + 1)
    place = np.ravel_multi_index(np.rint(points).astype(int), shape)
    size = np.prod(shape)
    sums, counts = (np.bincount(place, weights, size).reshape(shape) for weights in (mask.ravel(), None))
    sums, counts = (ndimage.gaussian_filter(grid.astype(np.float32), 1.0, mode="constant", truncate=2.0) for grid in (sums, counts))
    sums, counts = (ndimage.map_coordinates(grid, points, order=1) for grid in (sums, counts))
    mean = (sums / np.maximum(counts, 1e-6)).reshape(height, width)
    least = max(LEAST, MOST * np.quantile(mean, 0.99))
    return np.clip((mean / least - 1) / RAMP, 0, 1).astype(np.float32)


def in_the_colours_of_shading(residual: np.ndarray, image: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """The luminance of residual (H, W, 3), each channel as large as it follows light in image (H, W, 3) uint8 where gate (H, W) is open.

    k_c = sum(gate band_c band_Y) / sum(gate band_Y^2), in a Gaussian around each pixel; the result is k_c residual_Y.
    """
    values, weights = image.astype(np.float32), gate + 1e-4
    even = EVEN * weights.mean()
    light = _band(values @ np.float32(LUMINANCE))
    power = ndimage.gaussian_filter(weights * light**2, AROUND) + even
    out = np.empty_like(residual)
    for channel in range(3):
        follows = (ndimage.gaussian_filter(weights * light * _band(values[..., channel]), AROUND) + even) / power
        out[..., channel] = np.clip(follows, 0, 4) * (residual @ np.float32(LUMINANCE))
    return out


def bold(image: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]: where image (H, W, 3) uint8 has finest structure that no cloth has: bricks, a badge, grass, a print of high contrast.

    clip(s / BOLDEST - 1, 0, 1), s the standard deviation around each pixel of what is finer than FINEST pixels where gate (H, W) is open.
    """
    strength = np.sqrt(ndimage.gaussian_filter((_finer(image, gate) @ np.float32(LUMINANCE)) ** 2, NEARBY))
    return ndimage.gaussian_filter(np.clip(strength / BOLDEST - 1, 0, 1), NEARBY)


def finest_structure(image: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """What goes of the finest structure of image (H, W, 3) uint8 where gate (H, W) is open, in levels, (H, W, 3); lines that stand out stay."""
    open_ = gate > 0.5
    if not open_.any():
        return np.zeros(image.shape, np.float32)
    structure = _finer(image, gate)
    return (TAKEN * gate * (1 - lines(structure @ np.float32(LUMINANCE), open_, 1.0)))[..., None] * structure


def _finer(image: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """image - blur(gate image) / blur(gate), (H, W, 3): the Gaussian takes nothing from where the gate is shut, other cloth or a background."""
    return np.dstack([channel - blurred_inside(channel, gate, FINEST) for channel in np.moveaxis(image.astype(np.float32), -1, 0)])


def _band(field: np.ndarray) -> np.ndarray:
    """(H, W) between the two Gaussians of BAND."""
    fine, coarse = (ndimage.gaussian_filter(field, sigma) for sigma in BAND)
    return fine - coarse
