"""The synthetic wrinkle pairs: seeded, wrinkles on cloth only, and statistics like those of retouched photographs."""

import math
import os
import sys

import numpy as np
import pytest
from scipy import fft, ndimage

from ddpm_utils.data.pairs import CHANGE_THRESHOLD, change_mask
from ddpm_utils.data.synthetic import creases, wrinkles
from ddpm_utils.data.synthetic.fabrics import frame, resample, smooth_noise
from ddpm_utils.data.synthetic.garments import empty_scene
from ddpm_utils.data.synthetic.people import figure
from ddpm_utils.data.synthetic.wrinkles import Pair, synthetic_pairs, wrinkle_pair
from ddpm_utils.errors import InputError

REACH = 2 + 64 // 32 + 3  # pixels from the mask at 64 px, in which fainter differences stay: a dilation, and the softening of its edge


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / ((a.astype(float) - b) ** 2).mean())


def gradient_energy(picture: np.ndarray, mask: np.ndarray) -> float:
    grey = picture.astype(float).mean(-1)
    return sum((np.gradient(grey, axis=axis) ** 2)[mask].mean() for axis in (0, 1))


def share_within(values, low: float, high: float) -> float:
    return float(np.mean([low <= v <= high for v in values]))


@pytest.fixture(scope="module")
def crops() -> list[Pair]:
    return [wrinkle_pair(128, (7, i), "crop") for i in range(100)]


@pytest.fixture(scope="module")
def figures() -> list[Pair]:
    return [wrinkle_pair(128, (7, i), "figure") for i in range(60)]


@pytest.fixture(scope="module")
def mixed() -> list[Pair]:
    """Small pairs of all kinds, as they come."""
    return [wrinkle_pair(64, (8, i)) for i in range(160)]


# --- the facts on real photographs ---


def test_crops_have_the_statistics_of_retouched_garment_crops(crops):
    """Measured on crops of real pairs: 15 to 50 % changed, 25.5 to 35.1 dB, log-ratio std .097, wavelength 14 px at 128 px."""
    changed = [p.mask.mean() for p in crops]
    levels = [psnr(p.source, p.target) for p in crops]
    logs = [np.log((p.source.astype(float).mean(-1) + 2) / (p.target.astype(float).mean(-1) + 2))[p.mask].std() for p in crops]
    assert share_within(changed, 0.10, 0.72) > 0.85
    assert 0.15 < np.median(changed) < 0.50
    assert share_within(levels, 25.5, 35.1) > 0.75
    assert 28 < np.median(levels) < 33
    assert abs(np.median(logs) - 0.097) < 0.02
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    lengths = []
    for p in crops:
        power = np.abs(np.fft.fft2((p.source.astype(float) - p.target).mean(-1))) ** 2
        lengths.append(power.sum() / (power * f).sum())
    assert abs(np.median(lengths) - 14) < 3


def test_figures_have_the_statistics_of_retouched_whole_frames(figures):
    """Measured on whole frames: copying the source scores 38 to 45 dB, 26 to 31 dB inside the mask, 2 to 5 % of the pixels change."""
    levels = [psnr(p.source, p.target) for p in figures]
    inside = [psnr(p.source[p.mask], p.target[p.mask]) for p in figures]
    changed = [p.mask.mean() for p in figures]
    assert share_within(levels, 33, 46) > 0.8
    assert 37 < np.median(levels) < 42
    assert share_within(inside, 24, 31) > 0.7
    assert 26 < np.median(inside) < 29
    assert share_within(changed, 0.004, 0.2) > 0.85
    assert 0.02 < np.median(changed) < 0.1


def test_wrinkles_hardly_change_the_mean_colour(crops, figures):
    """Measured: at most 2 levels on average inside the mask, with a standard deviation of 7 to 13."""
    differences = [(p.source.astype(float) - p.target)[p.mask] for p in crops + figures]
    assert np.abs(np.mean([d.mean(0) for d in differences], axis=0)).max() < 2
    assert np.mean([np.abs(d.mean(0)).mean() for d in differences]) < 2
    assert 7 < np.median([d.std() for d in differences]) < 13


def test_target_is_smoother_inside_the_mask(crops, figures):
    ratios = [gradient_energy(p.source, p.mask) / gradient_energy(p.target, p.mask) for p in crops + figures]
    assert share_within(ratios, 1, np.inf) > 0.85  # moving a fine weave softens it, in some by more than the wrinkles add
    assert np.median(ratios) > 1.15


def test_no_whites_are_clipped(crops, figures, mixed):
    assert max((p.source == 255).mean() for p in crops + figures + mixed) < 0.01
    assert max((p.target == 255).mean() for p in crops + figures + mixed) < 0.01


def test_about_a_quarter_of_the_pairs_has_nothing_to_remove(mixed):
    """A binomial share of 160 pairs: three standard deviations are 0.104."""
    same = [np.array_equal(p.source, p.target) for p in mixed]
    assert abs(np.mean(same) - wrinkles.KINDS["kept"]) < 0.104
    assert not any(p.mask.any() for p, equal in zip(mixed, same) if equal)
    assert np.median([p.target.astype(float).std() for p, equal in zip(mixed, same) if equal]) > 15  # they aren't blank


# --- where the pictures of a pair differ ---


def test_mask_is_the_change_mask(mixed):
    assert all(np.array_equal(p.mask, change_mask(p.source, p.target)) and p.mask.dtype == bool for p in mixed)


def test_far_from_the_mask_pictures_are_equal_to_the_bit(monkeypatch):
    monkeypatch.setattr(wrinkles, "_as_jpeg", lambda picture, quality: picture)
    faint = []
    for i in range(50):
        source, target, mask = wrinkle_pair(64, (9, i))
        far = ~ndimage.binary_dilation(mask, iterations=REACH)
        assert np.array_equal(source[far], target[far])
        difference = np.abs(source.astype(int) - target).max(-1)
        faint.append((difference[~mask] <= CHANGE_THRESHOLD).mean())
    assert np.mean(faint) > 0.92  # the rest are lines that the opening of the mask takes away


def test_jpeg_touches_a_minority_of_the_pairs(mixed):
    far = [~ndimage.binary_dilation(p.mask, iterations=REACH) for p in mixed]
    coded = [(p.source != p.target)[f].any() for p, f in zip(mixed, far)]
    assert 0 < np.mean(coded) < 0.2
    assert max(np.abs(p.source.astype(int) - p.target)[f].max(initial=0) for p, f in zip(mixed, far)) < 40  # ringing, no wrinkles


def test_wrinkles_are_on_cloth_only():
    bare = 0
    for i in range(20):
        rng = np.random.default_rng([10, i])
        scene = figure(rng, 64)
        difference = np.abs(wrinkles._wrinkled(rng, scene, "figure") - scene.pressed()).max(-1)
        bare += (scene.cloth == 0).sum()
        assert difference[scene.cloth == 0].max(initial=0) < 0.25 / 255  # less than rounding shows
        assert difference.max() > 8 / 255 or scene.cloth.mean() < 0.02
    assert bare > 10000


def test_lights_and_shadows_change_sides_with_the_light():
    """Lambert: turning the light by 180 degrees swaps bright and dark slopes."""
    scene = empty_scene(np.random.default_rng(0), np.full((64, 64, 3), 0.5, np.float32), 1.0, 1.0)
    height, region = creases.film(np.random.default_rng(1), scene), np.ones((64, 64), np.float32)
    one = wrinkles._shading(np.random.default_rng(2), height, region, scene)
    scene.light = -scene.light
    other = wrinkles._shading(np.random.default_rng(2), height, region, scene)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < -0.3
    slope = -(np.gradient(height, axis=1) * scene.light[0] + np.gradient(height, axis=0) * scene.light[1])
    assert np.corrcoef(other.ravel(), slope.ravel())[0, 1] > 0.7
    assert abs(other.mean()) < 1e-3
    assert abs(other.std() - 1) < 1e-3


# --- the fields ---


def test_smooth_noise_is_blurred_white_noise():
    """White noise after a Gaussian of standard deviation s has the correlation exp(-d^2 / (4 s^2)) at distance d; stretched s along `angle`."""
    size, scale, stretch = 128, 0.03, 2.0
    fields = [smooth_noise(np.random.default_rng([1, i]), size, scale, np.pi / 2, stretch) for i in range(60)]
    for lag in (2, 4, 6):
        for axis, s in ((0, stretch * scale), (1, scale)):  # pi / 2 is along y
            measured = np.mean([(f * np.roll(f, lag, axis)).mean() for f in fields])
            assert abs(measured - np.exp(-((lag / size) ** 2) / (4 * s**2))) < 0.03  # about three standard errors
    assert all(abs(f.std() - 1) < 1e-3 for f in fields)


@pytest.mark.parametrize(("n", "size"), [(8, 32), (9, 33), (16, 16), (8, 31)])
def test_resample_is_exact_up_to_the_highest_frequency(n, size):
    def wave(points: int) -> np.ndarray:
        t = 2 * np.pi * np.arange(points) / points
        return np.cos(2 * t[None] - t[:, None] + 0.3) + 0.5 * np.sin((n - 1) // 2 * t[:, None]) + 0.25

    field = resample(fft.rfft2(wave(n).astype(np.float32)), size)
    np.testing.assert_allclose(field, wave(size), atol=5e-6)  # float32 sums of up to 1,024 terms


def test_film_has_the_wavelength_asked_for(monkeypatch):
    """The Swift-Hohenberg equation grows k0 = 2 pi / wavelength; bending spreads the peak."""
    monkeypatch.setattr(creases, "wavelength_of", lambda rng, scene: 0.125)
    scene = empty_scene(np.random.default_rng(0), np.zeros((128, 128, 3), np.float32), 1.0, 1.0)
    power = np.mean([np.abs(np.fft.fft2(creases.film(np.random.default_rng(i), scene))) ** 2 for i in range(12)], axis=0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(128, 1 / 128), np.fft.fftfreq(128, 1 / 128)))
    rings = [power[(f > k - 0.5) & (f <= k + 0.5)].sum() for k in range(1, 40)]
    assert 6 <= 1 + int(np.argmax(rings)) <= 10  # 8 periods a frame


@pytest.mark.parametrize("draw", creases.HEIGHTS)
def test_every_kind_of_wrinkle_is_smaller_than_what_stays(draw):
    """More than 60 % of the slopes' energy lies in wavelengths under half a chest's width, and no field is flat."""
    x, _ = frame(96)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(96, 1 / 96), np.fft.fftfreq(96, 1 / 96)))
    shares = []
    for i in range(12):
        scene = empty_scene(np.random.default_rng(i), np.zeros((96, 96, 3), np.float32), 1.0, 1.0)
        height = draw(np.random.default_rng([2, i]), scene)
        assert height.shape == x.shape
        assert np.isfinite(height).all()
        assert height.std() > 0
        power = (f * np.abs(np.fft.fft2(height * np.hanning(96)[None] * np.hanning(96)[:, None]))) ** 2
        shares.append(power[f > 2].sum() / power.sum())
    assert np.mean(shares) > 0.6


# --- seeds, sizes, many pairs ---


def test_a_pair_is_a_function_of_size_and_seed():
    np.random.seed(1)  # noqa: NPY002 (nothing may depend on the global generator)
    first = [wrinkle_pair(32, (3, i)) for i in range(8)]
    np.random.seed(2)  # noqa: NPY002
    again = [wrinkle_pair(32, (3, i)) for i in reversed(range(8))][::-1]
    assert all(np.array_equal(a, b) for one, other in zip(first, again) for a, b in zip(one, other))
    others = [wrinkle_pair(32, (4, i)) for i in range(8)]
    assert not any(np.array_equal(one.target, other.target) for one, other in zip(first, others))


@pytest.mark.parametrize("size", [16, 33, 97, 256])
def test_pairs_of_any_size(size):
    for i in range(4):
        pair = wrinkle_pair(size, (5, i))
        assert pair.source.shape == pair.target.shape == (size, size, 3)
        assert pair.source.dtype == pair.target.dtype == np.uint8
        assert pair.mask.shape == (size, size)


def test_sets_hold_the_pairs_of_their_seed_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path))
    n = wrinkles.CHUNK + 3  # two processes, the last chunk not full
    pairs = synthetic_pairs(n, 24, seed=6)
    assert len(pairs) == n
    for i in (0, wrinkles.CHUNK - 1, wrinkles.CHUNK, n - 1):
        source, target, mask = wrinkle_pair(24, (6, i))
        assert np.array_equal(pairs.sources[i], source)
        assert np.array_equal(pairs.images[i], target)
        assert np.array_equal(pairs.masks[i], mask)
    assert isinstance(pairs.images, np.memmap)
    assert [p.name for p in tmp_path.iterdir()] == [f"wrinkles-v{wrinkles.VERSION}-{n}x24-seed6"]
    monkeypatch.setattr(wrinkles, "_draw_into_cache", None)  # a second look draws nothing
    assert np.array_equal(synthetic_pairs(n, 24, seed=6).sources, pairs.sources)


def test_an_interrupted_set_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path))
    monkeypatch.setattr(wrinkles, "wrinkle_pair", lambda size, seed: 1 / 0)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ZeroDivisionError):
        synthetic_pairs(4, 24)
    assert os.listdir(tmp_path) == []


def test_bad_requests_are_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="at least 1, got 0"):
        synthetic_pairs(0, 64)
    with pytest.raises(InputError, match="negative, got -1"):
        synthetic_pairs(1, 64, seed=-1)
    with pytest.raises(InputError, match="at least 16 pixels a side, got 8"):
        synthetic_pairs(1, 8)
    with pytest.raises(InputError, match="at least 16 pixels a side, got 15"):
        wrinkle_pair(15, 0)
    with pytest.raises(InputError, match="crop, figure, kept, got 'shirt'"):
        wrinkle_pair(64, 0, "shirt")
    with pytest.raises(InputError, match="GB free"):
        synthetic_pairs(10**9, 256)
    assert os.listdir(tmp_path) == []
