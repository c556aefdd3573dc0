"""Photographs of garments that are drawn, so that it is known where their cloth is."""

import numpy as np
from PIL import Image
from scipy import ndimage


def photograph(seed: int) -> tuple[Image.Image, np.ndarray]:
    """A shirt with folds on a floor of boards, (400, 300); and where it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:400, :300] / 300
    shirt = (np.abs(x - 0.5) < 0.24) & (np.abs(y - 0.67) < 0.45) | (np.abs(x - 0.5) < 0.4) & (np.abs(y - 0.4) < 0.14)
    folds = ndimage.gaussian_filter(rng.standard_normal(y.shape), 4)
    folds = 1 + 0.1 * folds / folds.std()
    cloth = np.array([(40, 70, 150), (150, 40, 60), (30, 110, 60)])[seed % 3] * folds[..., None]
    floor = np.array([190, 160, 120]) + 12 * np.sign(np.sin(40 * x))[..., None] + rng.normal(0, 4, (400, 300, 1))
    return Image.fromarray(np.where(shirt[..., None], cloth, floor).clip(0, 255).astype(np.uint8)), shirt
