"""One pair of photographs: compared, aligned, rid of its bars and cut."""

import numpy as np
import pytest
from retouched import smoothed_pairs

from ddpm_utils.data.crops import STRIP, compare, cut_crops, measure_shift, without_bars
from ddpm_utils.data.pairs import change_mask
from ddpm_utils.errors import InputError

SIZE = 48


@pytest.fixture(scope="module")
def pairs(photographs):
    """Ten pairs of some 300 x 450 pixels."""
    return smoothed_pairs(photographs, scale=3, seed=1) + smoothed_pairs([p[:, ::-1] for p in photographs], scale=3, seed=2)


def test_comparing_in_strips_is_comparing_at_once(pairs):
    source, target = (np.concatenate([picture] * 3)[: 2 * STRIP + 5] for picture in pairs[0])
    mask, numbers = compare(source, target)
    assert (mask == change_mask(source, target)).all()
    squares = np.square(source.astype(float) - target)
    assert numbers["psnr"] == pytest.approx(10 * np.log10(255**2 / squares.mean()), abs=1e-3)
    assert numbers["masked_psnr"] == pytest.approx(10 * np.log10(255**2 / squares[mask].mean()), abs=1e-3)
    assert numbers["changed"] == mask.mean()
    assert compare(source, source)[1] == {"changed": 0, "psnr": None, "masked_psnr": None}


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (1, 0), (2, -1), (-7, 12)])
def test_shifts_are_measured_to_a_fifth_of_a_pixel(pairs, dy, dx):
    for source, target in pairs:
        moved = target[20 + dy : dy - 20, 20 + dx : dx - 20]
        assert measure_shift(source[20:-20, 20:-20], moved) == pytest.approx(np.hypot(dy, dx), abs=0.2)


def test_pictures_without_contrast_count_as_aligned():
    plain = np.full((100, 100, 3), 200, np.uint8)
    assert measure_shift(plain, plain) == 0


def test_only_bars_that_are_black_in_both_are_cut_off(pairs):
    source, target = (picture.clip(30) for picture in pairs[0])
    height, width = source.shape[:2]
    barred = [np.pad(picture, ((10, 21), (5, 0), (0, 0))) for picture in (source, target)]
    assert without_bars(*barred) == (10, 10 + height, 5, 5 + width)
    assert without_bars(barred[0], np.pad(target, ((10, 21), (5, 0), (0, 0)), constant_values=90)) == (0, height + 31, 0, width + 5)
    with pytest.raises(InputError, match="black"):
        without_bars(np.zeros_like(source), np.zeros_like(source))


def test_small_changes_give_fewer_crops_and_none_gives_none(pairs):
    source = pairs[0][0]
    target = source.copy()
    rng = np.random.default_rng(0)
    assert cut_crops(source, target, change_mask(source, target), SIZE, 8, rng) == []
    target[200:203, 100:103] += 60
    assert all(not crop.mask.any() for crop in cut_crops(source, target, change_mask(source, target), SIZE, 8, rng))
    target[200:220, 100:120] = 255 - target[200:220, 100:120]
    crops = cut_crops(source, target, change_mask(source, target), SIZE, 8, rng)
    assert any(crop.mask.any() for crop in crops)
    for crop in crops:
        x, y, side = crop.window
        if crop.mask.any():
            for start, middle, length in ((x, 110, source.shape[1]), (y, 210, source.shape[0])):
                assert start < middle < start + side
                is_free = 0 < start < length - side  # else the border of the photograph pushed the window aside
                assert not is_free or side / 4 - 20 < middle - start < 3 * side / 4 + 20


def test_crops_that_are_not_zoomed_show_the_photograph_pixel_by_pixel(pairs):
    source, target = pairs[0]
    for crop in cut_crops(source, target, change_mask(source, target), SIZE, 8, np.random.default_rng(0), zoomed=False):
        x, y, side = crop.window
        assert side == SIZE
        np.testing.assert_array_equal(crop.source, source[y : y + side, x : x + side])
        np.testing.assert_array_equal(crop.target, target[y : y + side, x : x + side])
