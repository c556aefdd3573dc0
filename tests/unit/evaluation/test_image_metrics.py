"""Metrics against closed forms and the formulas of their papers."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.image_metrics import PSNR_CAP, bit_identical_share, gradient_ratio, mean_psnr, overlap, psnr, psnr_in, ssim

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
OTHER = np.clip(IMAGE + RNG.normal(0, 20, IMAGE.shape), 0, 255).astype(np.uint8)


def box(share_of_rows=0.5):
    mask = np.zeros(IMAGE.shape[:2], bool)
    mask[: int(len(mask) * share_of_rows), 5:20] = True
    return mask


@pytest.mark.parametrize("error", [1, 7, 245])
def test_psnr_of_a_constant_error_is_its_closed_form_in_both_directions(error):
    a, b = np.full((4, 4, 3), 5 + error, np.uint8), np.full((4, 4, 3), 5, np.uint8)
    expected = 20 * np.log10(255 / error)
    assert psnr(a, b, 255) == pytest.approx(expected, abs=1e-12)
    assert psnr(b, a, 255) == pytest.approx(expected, abs=1e-12)  # uint8 differences would wrap around


def test_psnr_does_not_depend_on_the_unit():
    assert psnr(IMAGE / 255, OTHER / 255, 1) == pytest.approx(psnr(IMAGE, OTHER, 255), abs=1e-10)


def test_equal_images_are_infinitely_good_and_an_empty_mask_says_nothing():
    assert psnr(IMAGE, IMAGE, 255) == np.inf
    assert np.isnan(psnr_in(IMAGE, OTHER, np.zeros(IMAGE.shape[:2], bool), 255))
    assert np.isnan(gradient_ratio(IMAGE, OTHER, np.zeros(IMAGE.shape[:2], bool)))
    assert np.isnan(bit_identical_share(IMAGE, OTHER, np.zeros(IMAGE.shape[:2], bool)))


def test_masked_psnr_is_the_psnr_of_the_masked_pixels_alone():
    inside = psnr_in(IMAGE, OTHER, box(), 255)
    assert inside == pytest.approx(psnr(IMAGE[:20, 5:20], OTHER[:20, 5:20], 255), abs=1e-12)
    ruined = OTHER.copy()
    ruined[~box()] = 0
    assert psnr_in(IMAGE, ruined, box(), 255) == inside


def test_squared_errors_inside_and_outside_add_up_to_the_whole():
    def mse(decibels):
        return 255**2 / 10 ** (decibels / 10)

    share = box().mean()
    parts = share * mse(psnr_in(IMAGE, OTHER, box(), 255)) + (1 - share) * mse(psnr_in(IMAGE, OTHER, ~box(), 255))
    assert parts == pytest.approx(mse(psnr(IMAGE, OTHER, 255)), rel=1e-12)


def test_counting_zeros_outside_a_5_percent_mask_would_flatter_by_13_db():
    mask = np.zeros(IMAGE.shape[:2], bool)
    mask[:2, :] = True  # 2 of 40 rows
    zeroed = np.where(mask[..., None], OTHER, IMAGE)
    assert psnr(IMAGE, zeroed, 255) - psnr_in(IMAGE, OTHER, mask, 255) == pytest.approx(10 * np.log10(20), abs=1e-10)  # 13.01


def test_mean_psnr_is_the_mean_over_images_with_exact_ones_capped_and_unknown_ones_left_out():
    assert mean_psnr([20.0, 40.0]) == 30
    assert mean_psnr([20.0, np.inf, np.nan]) == (20 + PSNR_CAP) / 2
    assert mean_psnr([np.inf, np.nan, np.inf]) == np.inf
    assert np.isnan(mean_psnr([np.nan]))
    assert np.isnan(mean_psnr([]))


def test_a_better_image_never_lowers_the_mean_psnr():
    means = [mean_psnr([25.0, better]) for better in (20, 40, 59, 61, 100, np.inf)]
    assert means == sorted(means)


def wang_ssim(a, b, data_range):
    """SSIM as Wang et al. 2004 write it: an 11 x 11 Gaussian window of sigma 1.5 at every place where it fits, one channel at a time."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for x, y in zip(np.moveaxis(a.astype(float), -1, 0), np.moveaxis(b.astype(float), -1, 0)):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                mx, my = (window * p).sum(), (window * q).sum()
                vx, vy, cov = (window * (p - mx) ** 2).sum(), (window * (q - my) ** 2).sum(), (window * (p - mx) * (q - my)).sum()
                values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_ssim_is_the_formula_of_wang_et_al():
    a, b = IMAGE[:20, :16], OTHER[:20, :16]
    assert ssim(a, b, 255) == pytest.approx(wang_ssim(a, b, 255), abs=1e-10)
    assert ssim((a / 255).astype(np.float32), (b / 255).astype(np.float32), 1) == pytest.approx(ssim(a, b, 255), abs=1e-6)
    assert ssim(a, a, 255) == pytest.approx(1, abs=1e-12)


def test_gradient_ratio_of_an_image_with_less_contrast_is_the_square_of_the_contrast():
    a = IMAGE / 255
    assert gradient_ratio(a, a, box()) == 1
    assert gradient_ratio(0.5 * a + 0.25, a, box()) == pytest.approx(0.25, abs=1e-12)


def test_gradient_ratio_falls_with_blur_and_rises_with_wrinkles():
    smooth = gaussian_filter(IMAGE.astype(float), (2, 2, 0))
    ratios = [gradient_ratio(gaussian_filter(smooth, (s, s, 0)), smooth, box()) for s in (0.5, 1, 2, 4)]
    assert ratios == sorted(ratios, reverse=True)
    assert 0 < ratios[-1] < ratios[0] < 1
    wrinkled = smooth + 20 * np.sin(np.arange(30) / 2)[:, None]
    assert gradient_ratio(wrinkled, smooth, box()) > 1


def test_gradient_ratio_sees_the_mask_only_and_needs_a_gradient_in_the_target():
    blurred = IMAGE.copy()
    blurred[30:] = 0  # rows 0 .. 19 are in the mask, and their neighbours
    assert gradient_ratio(blurred, IMAGE, box()) == 1
    assert np.isnan(gradient_ratio(IMAGE, np.zeros_like(IMAGE), box()))


def test_gradient_energy_of_a_slope_is_its_square():
    row, column = np.mgrid[:20.0, :20.0]
    slope, steeper = np.stack([3 * row + 4 * column] * 3, -1), np.stack([6 * row + 8 * column, 5 * row, 0 * row], -1)
    assert gradient_ratio(steeper, slope, np.ones((20, 20), bool)) == pytest.approx((100 + 25 + 0) / (3 * 25), abs=1e-12)


def test_bit_identical_pixels_are_equal_in_all_channels():
    changed = IMAGE.copy()
    changed[0, :15, 0] ^= 1  # half a row, in one channel, by one bit
    assert bit_identical_share(changed, IMAGE) == 1 - 0.5 / 40
    top = np.zeros(IMAGE.shape[:2], bool)
    top[0] = True
    assert bit_identical_share(changed, IMAGE, top) == 0.5
    assert bit_identical_share(changed, IMAGE, ~top) == 1


def test_overlap_of_masks_counts_pixels():
    true, predicted = np.zeros((2, 10, 10), bool), np.zeros((2, 10, 10), bool)
    true[:, :6] = True  # 120
    predicted[:, 3:7] = True  # 80, of which 60 are true
    assert overlap(predicted, true) == (60 / 80, 60 / 120, 60 / 140)
    assert np.isnan(overlap(np.zeros_like(true), true).precision)
    assert overlap(np.zeros_like(true), true)[1:] == (0, 0)
    assert np.isnan(overlap(predicted, np.zeros_like(true)).recall)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psnr(IMAGE, IMAGE[:5], 255), r"one shape, got \(40, 30, 3\) and \(5, 30, 3\)"),
        (lambda: ssim(IMAGE, IMAGE[..., :1], 255), "one shape"),
        (lambda: psnr(IMAGE, OTHER, 0), "data_range must be positive .* got 0"),
        (lambda: psnr_in(IMAGE, OTHER, box()[:5], 255), r"bool of shape \(40, 30\), got bool of shape \(5, 30\)"),
        (lambda: gradient_ratio(IMAGE, OTHER, box().astype(float)), r"got float64 of shape"),
        (lambda: bit_identical_share(IMAGE, OTHER, box().astype(np.uint8)), r"got uint8 of shape"),
        (lambda: ssim(IMAGE[:10], OTHER[:10], 255), "at least 11 x 11 pixels, got 30 x 10"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
