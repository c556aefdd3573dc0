"""Frequency separation against closed forms: a wave keeps the share of its amplitude that the two Gaussians leave."""

import numpy as np
import pytest

from ddpm_utils.restoration.frequency import AMOUNT, COARSE, FINE, frequency_change, frequency_residual
from ddpm_utils.restoration.full_resolution import apply_change
from ddpm_utils.restoration.settings import RetouchSettings


@pytest.mark.parametrize("wavelength", [4, 10, 64])
def test_a_wave_loses_what_lies_in_the_band(wavelength):
    size = 256
    wave = 30 * np.cos(2 * np.pi * np.arange(size) / wavelength)
    image = np.broadcast_to((128 + wave)[None, :, None], (size, size, 3))
    k = 2 * np.pi / wavelength
    share = AMOUNT * (np.exp(-((k * FINE) ** 2) / 2) - np.exp(-((k * COARSE) ** 2) / 2))
    middle = slice(size // 4, 3 * size // 4)
    error = frequency_residual(image)[middle, middle, 0] + share * wave[middle]
    assert np.abs(error).max() < 0.02 * 30, "Gaussians are sampled, and cut at four standard deviations"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_only_what_the_mask_allows_is_smoothed(dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (80, 120, 3)).astype(dtype)
    mask = np.zeros((80, 120), np.float32)
    mask[:, :60] = 1
    residual = frequency_change(image, RetouchSettings(short_side=64)).residual
    changed = (apply_change(image, residual, mask=mask) != image).any(2)
    assert changed[:, :60].mean() > 0.9
    assert not changed[:, 60:].any()
