"""What one photograph tells about its own wrinkles, which a network of small pictures can't know.

*Wrinkles come in company.* A garment has many, on cloth of one colour; the edge of a bed, a hand or a lock of hair looks like a single one. So
a pixel counts by the mean of the change mask over pixels of its colour around it, which a bilateral grid gives (Chen et al. 2007).

*The colour of a fold is that of the shading around it.* On saturated cloth the channels follow the light unequally, and each camera renders that
in its own way: how far each channel follows luminance is fitted to the photograph itself, in the band that folds lie in.
"""

import numpy as np
from scipy import ndimage

from ddpm_utils.data.images import LUMINANCE

NEAR = 128  # pixels: cells of the grid, at the network's scale
LIKE = (12, 10, 10)  # and in CIELAB's lightness, a and b
LEAST, MOST = 0.14, 0.73  # mean of the mask below which nothing is changed: this much, and this share of the photograph's own most
RAMP = 0.35  # all is changed where it is larger by this share
BAND = (0.8, 6.0)  # standard deviations in pixels between which light tells how channels follow it
AROUND = 24  # pixels, the standard deviation of "around"
EVEN = 0.05  # weight of the assumption that all channels follow alike, over that of the mean evidence


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


def _band(field: np.ndarray) -> np.ndarray:
    """(H, W) between the two Gaussians of BAND."""
    fine, coarse = (ndimage.gaussian_filter(field, sigma) for sigma in BAND)
    return fine - coarse
