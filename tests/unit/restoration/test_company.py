"""What a photograph tells about its own wrinkles: those that stand alone are dropped, and colours follow the shading's."""

import numpy as np

from ddpm_utils.restoration.company import BOLDEST, LEAST, MOST, RAMP, TAKEN, bold, company, finest_structure, in_the_colours_of_shading

RED, GREEN = np.uint8([200, 40, 40]), np.uint8([40, 160, 60])


def halves(size=128):
    image = np.empty((size, size, 3), np.uint8)
    image[:, : size // 2], image[:, size // 2 :] = RED, GREEN
    return image


def test_wrinkles_stay_on_the_cloth_that_has_many_and_go_where_one_stands_alone():
    image, mask = halves(), np.zeros((128, 128), np.float32)
    mask[::2, :64] = 0.8  # on the red half, half of the pixels
    mask[60, 64:] = 0.8  # on the green one, a line
    allowed = company(mask, image)
    assert (allowed[:, :60] > 0.9).all()
    assert (allowed[:, 68:] == 0).all(), "though they are near to one another"


def test_company_rises_from_its_least_over_a_ramp():
    image = np.full((64, 64, 3), 120, np.uint8)
    for mean, expected in ((0.9 * LEAST, 0), ((1 + RAMP / 2) * LEAST, 0.5), ((1 + 1.1 * RAMP) * LEAST, 1)):
        allowed = company(np.full((64, 64), mean, np.float32), image)
        assert np.allclose(allowed, expected, atol=1e-4), "float32"


def test_the_company_of_the_most_wrinkled_cloth_sets_the_measure():
    image, mask = halves(), np.full((128, 128), 0.3, np.float32)
    assert (company(mask, image) == 1).all()
    mask[:, :64] = 0.3 / (0.9 * MOST) * np.ones(64)
    allowed = company(mask, image)
    assert (allowed[:, :60] == 1).all()
    assert (allowed[:, 68:] < 0.01).mean() > 0.9, "less than the share MOST of the other half's"


def test_a_fold_gets_the_colour_that_shading_has_in_the_photograph():
    """Red stands still, green follows luminance half again as far, blue as far as it must so that all three make up the luminance."""
    size = 128
    light = 12 * np.sin(np.arange(size) / 2)[None, :] * np.ones((size, 1))
    follow = np.array([0.0, 1.5, (1 - 0.587 * 1.5) / 0.114])
    image = np.rint(np.array([250, 150, 60]) + light[..., None] * follow).clip(0, 255).astype(np.uint8)
    grey = np.broadcast_to(0.1 * np.ones((size, size, 1), np.float32), (size, size, 3))
    coloured = in_the_colours_of_shading(np.array(grey), image, np.ones((size, size), np.float32))
    middle = coloured[size // 4 : -size // 4, size // 4 : -size // 4] / 0.1
    assert np.abs(middle - follow).max() < 0.1, "the assumption that channels follow alike has a weight of a twentieth"


def test_where_a_photograph_has_no_shading_a_fold_is_grey():
    residual = np.random.default_rng(0).normal(0, 0.1, (64, 64, 3)).astype(np.float32)
    coloured = in_the_colours_of_shading(residual, np.full((64, 64, 3), 99, np.uint8), np.ones((64, 64), np.float32))
    luminance = residual @ np.float32([0.299, 0.587, 0.114])
    assert np.allclose(coloured, luminance[..., None], atol=1e-6)


def test_the_finest_structure_goes_in_part_where_the_gate_is_open_and_a_seam_stays():
    weave = 5 * (-1.0) ** np.indices((64, 128)).sum(0)  # to and fro from pixel to pixel: its mean is 0 under any Gaussian
    image = np.repeat((120 + weave)[..., None], 3, 2)
    image[:, 30] += 90
    gate = np.zeros((64, 128), np.float32)
    gate[:, :64] = 1
    taken = finest_structure(image.astype(np.uint8), gate)
    assert np.abs(taken[8:-8, 44:54, 1] / (TAKEN * weave[8:-8, 44:54]) - 1).max() < 0.01
    assert np.abs(taken[8:-8, 30]).max() < 0.01 * TAKEN * 90
    assert (taken[:, 64:] == 0).all()
    assert not finest_structure(image.astype(np.uint8), 0.4 * gate).any(), "nothing is open"


def test_what_is_bolder_than_cloth_is_left_alone():
    weave, gate = (-1.0) ** np.indices((64, 128)).sum(0), np.ones((64, 128), np.float32)
    strengths = {0.9 * BOLDEST: 0, 1.5 * BOLDEST: 0.5, 2.5 * BOLDEST: 1}  # of a pattern to and fro the standard deviation is the amplitude
    for strength, expected in strengths.items():
        image = np.repeat(np.rint(120 + strength * weave)[..., None], 3, 2).astype(np.uint8)
        assert np.abs(bold(image, gate) - expected).max() < 0.03, "rounded to whole levels"
