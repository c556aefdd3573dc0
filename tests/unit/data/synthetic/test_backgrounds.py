"""What is not cloth in the synthetic pictures: it must look rough, solid and varied, and be the same for a seed."""

import numpy as np
import pytest
from scipy import fft

from ddpm_utils.data.synthetic import backgrounds
from ddpm_utils.data.synthetic.garments import still

PAINTERS = {
    "material": backgrounds.material,
    "clutter": lambda rng, size: backgrounds.clutter(rng, size, 60),
    "things": lambda rng, size: backgrounds.things(rng, np.full((size, size, 3), 0.5, np.float32), 4),
    "background": backgrounds.background,
}


@pytest.mark.parametrize("name", PAINTERS)
def test_pictures_are_seeded_within_range_and_not_blank(name):
    pictures = [PAINTERS[name](np.random.default_rng([1, i]), 48) for i in range(25)]
    again = [PAINTERS[name](np.random.default_rng([1, i]), 48) for i in range(25)]
    for picture, same in zip(pictures, again):
        assert picture.shape == (48, 48, 3)
        assert np.array_equal(picture, same)
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        assert picture.max() < 2  # uneven light: exp(0.15 n) with n under 5 standard deviations; the camera clips
    assert np.median([picture.std() for picture in pictures]) > 0.03


def test_fractal_noise_falls_with_frequency_as_its_slope_says():
    """The mean amplitude at frequency f is c f^-slope: a line of slope -1.3 in logarithms, over 40 pictures of 64 x 64."""
    f = np.hypot(*np.meshgrid(fft.fftfreq(64, 1 / 64), fft.fftfreq(64, 1 / 64)))
    mean = np.mean([np.abs(fft.fft2(backgrounds.fractal(np.random.default_rng([2, i]), 64, 1.3))) for i in range(40)], axis=0)
    used = (f >= 1) & (f <= 30)
    slope, _ = np.polyfit(np.log(f[used]), np.log(mean[used]), 1)
    assert abs(slope + 1.3) < 0.02  # each amplitude is known to 52 % / sqrt(40), and there are 2,800 of them


def test_fractal_noise_is_longer_along_its_angle():
    """Stretched 6 times along x: differences between neighbours in a row are smaller than in a column."""
    noise = backgrounds.fractal(np.random.default_rng(3), 128, 1.0, 0.0, 6.0)
    along, across = (np.abs(np.diff(noise, axis=axis)).mean() for axis in (1, 0))
    assert along < 0.5 * across
    assert abs(noise.std() - 1) < 1e-3


def test_joints_are_where_rows_of_tiles_meet():
    """Tiles of a quarter by an eighth of the frame: lines at the pitch, thin, and the rest free; every other row moved by half a tile."""
    lines = backgrounds.joints(np.random.default_rng(4), 256, 0.25, 0.5, 0.5)
    joints = (lines.mean(1) > 0.99).astype(int)  # rows of pixels along which a horizontal joint runs
    assert np.abs(np.diff(joints, prepend=joints[-1])).sum() == 2 * 8  # eight joints, each with two sides
    assert 0.02 < lines.mean() < 0.35
    first, second = lines[16] > 0.5, lines[48] > 0.5  # the middles of the first two rows
    assert np.array_equal(np.roll(first, 32), second)


def test_things_hide_what_is_behind_them_and_throw_shadows():
    empty = np.full((96, 96, 3), 0.5, np.float32)
    shown = backgrounds.things(np.random.default_rng(5), empty, 3)
    assert np.array_equal(empty, np.full((96, 96, 3), 0.5, np.float32))  # the caller's picture stays
    changed = np.abs(shown - empty).max(-1) > 0.02
    assert 0.02 < changed.mean() < 0.98
    assert ((shown < empty - 0.02).all(-1) & (np.ptp(shown, axis=-1) < 1e-3)).any()  # grey, darker: a shadow on the grey wall


def test_still_scenes_hold_no_cloth():
    for i in range(10):
        scene = still(np.random.default_rng([6, i]), 32)
        assert not scene.cloth.any()
        assert np.isfinite(scene.pressed()).all()
