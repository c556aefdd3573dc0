"""What counts as a change between two photographs, and which of two is the smoother."""

import numpy as np
import pytest
from retouched import smoothed_pairs, through_jpeg

from ddpm_utils.data.pairs import change_mask, roughness_ratio


@pytest.fixture(scope="module")
def pairs(photographs):
    return smoothed_pairs(photographs)


def test_the_change_mask_is_what_a_3x3_square_fits_into(pairs):
    source, target = pairs[0]
    differs = np.abs(source.astype(int) - target).max(-1) > 4
    expected = np.zeros_like(differs)
    for y in range(differs.shape[0] - 2):
        for x in range(differs.shape[1] - 2):
            if differs[y : y + 3, x : x + 3].all():
                expected[y : y + 3, x : x + 3] = True
    assert (change_mask(source, target) == expected).all()
    assert 0.01 < expected.mean() < 0.5


def test_saving_a_jpeg_once_more_is_no_retouching(photographs):
    for photograph in photographs:
        once = through_jpeg(photograph)
        assert not (once == through_jpeg(once)).all()
        assert change_mask(once, through_jpeg(once)).mean() < 0.03  # small pictures, so many edges
        assert not change_mask(photograph, photograph).any()


def test_smoothing_lowers_the_gradient_and_roughening_raises_it_by_the_inverse(pairs):
    for source, target in pairs:
        mask = change_mask(source, target)
        assert roughness_ratio(source, target, mask) < 0.9
        assert roughness_ratio(source, target, mask) * roughness_ratio(target, source, mask) == pytest.approx(1)
    assert np.isnan(roughness_ratio(source, source, np.zeros_like(mask)))
