"""Frequency separation, what retouchers do by hand, without a network: a band of middle sizes, which holds folds, is taken away.

residual = amount (blur(image, coarse) - blur(image, fine)). Finer than the band lies the weave, coarser the shape of a body. Nothing in it
knows folds from prints or cloth from hair: it is for places that a person has painted, and the row that a network must beat.
"""

import numpy as np
import torch
from scipy import ndimage

from ddpm_utils.data.images import to_uint8
from ddpm_utils.restoration.full_resolution import Change, check_image, shrink, spare_faces, working_size
from ddpm_utils.restoration.settings import RetouchSettings

FINE, COARSE = 0.8, 4.0  # standard deviations in pixels at a short side of 512: what fits four real retouched pairs best
AMOUNT = 0.7


def frequency_residual(image: np.ndarray) -> np.ndarray:
    """What to add to image (H, W, 3), in its own unit: (H, W, 3) float32."""
    values = image.astype(np.float32)
    fine, coarse = (ndimage.gaussian_filter(values, (sigma, sigma, 0)) for sigma in (FINE, COARSE))
    return AMOUNT * (coarse - fine)


def frequency_change(image: np.ndarray, settings: RetouchSettings) -> Change:
    """What frequency separation would change in image (H, W, 3 or 1), uint8 or uint16, anywhere: as `predict_change`, without a model."""
    check_image(image)
    small = to_uint8(shrink(image, *working_size(*image.shape[:2], settings.short_side)))[0]  # (h, w, 3)
    residual = torch.from_numpy(frequency_residual(small)).permute(2, 0, 1) / 127.5
    everywhere = torch.ones_like(residual[:1])
    return spare_faces(Change(residual, everywhere, torch.zeros_like(everywhere)), image, settings)
