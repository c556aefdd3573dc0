"""Residual lift and tiles, held against closed forms by networks whose output is a known function of the image."""

import itertools
from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image

from ddpm_utils.config import Restoration, TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.restoration import full_resolution as restoration
from ddpm_utils.restoration.formulations import RESIDUAL_SCALE
from ddpm_utils.restoration.full_resolution import apply_change, blend_tiles, enlarge, predict_change, retouch, tile_starts, working_size
from ddpm_utils.restoration.settings import RetouchSettings as Settings
from ddpm_utils.unet import UNetConfig

RetouchSettings = partial(Settings, raw=True)  # what is added is what the network says: test_company.py and faces below look at the rest

CONFIG = TrainConfig(
    network=UNetConfig(32, 3, 8, (1, 2), 1, (), False, groups=4, condition_channels=3, extra_channels=1),
    task=Restoration(form="regression"),
)


class Known(torch.nn.Module):
    """A network that predicts residual(source) (B, 3, H, W) and that the pixels to change are changed(source) (B, 1, H, W) bool."""

    def __init__(self, residual, changed=lambda source: torch.ones_like(source[:, :1])):
        super().__init__()
        self.residual, self.changed, self.seen = residual, changed, []
        self.dummy = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x_t, t, condition):
        self.seen.append(condition)
        logit = torch.where(self.changed(condition) > 0, 20.0, -20.0)  # probabilities of 1 and 0 in float32, far outside the gate's ramp
        return torch.cat([self.residual(condition) / RESIDUAL_SCALE, logit], 1)


def known_model(*said):
    return Model(Known(*said), CONFIG, (), {})


def wave(height, width, amplitude=0.1):
    """A low-frequency field on the unit square, flat at its borders, (3, height, width), at pixel centres."""
    v = (torch.arange(height) + 0.5) / height
    u = (torch.arange(width) + 0.5) / width
    field = torch.cos(2 * torch.pi * v)[:, None] * torch.cos(3 * torch.pi * u)
    return amplitude * torch.stack([field, -field, 0.5 * field])


def lowfrequent(source):
    return wave(*source.shape[-2:])[None]


def noisy_image(height=300, width=420, dtype=np.uint8, channels=3):
    values = np.random.default_rng(0).integers(0.25 * np.iinfo(dtype).max, 0.75 * np.iinfo(dtype).max, (height, width, channels))
    return values.astype(dtype)


# --- the lift ---


@pytest.mark.parametrize(("height", "width"), [(300, 420), (1024, 700), (64, 64), (98, 34), (300, 1200)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_smooth_residual_is_added_at_full_size_and_every_thread_stays(height, width, dtype):
    image = noisy_image(height, width, dtype)
    lifted = retouch(known_model(lowfrequent), image, RetouchSettings(short_side=64))
    assert lifted.shape == image.shape
    assert lifted.dtype == dtype
    levels = np.iinfo(dtype).max / 2 * wave(height, width).permute(1, 2, 0).numpy()
    error = np.abs(lifted - image.astype(float) - levels) * 255 / np.iinfo(dtype).max
    assert error.max() < 0.5 + 0.5, "half a level of rounding, half for the bicubic; the image's noise is 37 levels"


def test_pixels_outside_the_gate_stay_bit_identical():
    def upper_left(source):
        inside = torch.zeros_like(source[:, :1])
        inside[..., : source.shape[2] // 2, : source.shape[3] // 4] = 1
        return inside

    image = noisy_image(1000, 1200)
    lifted = retouch(known_model(lambda source: torch.full_like(source, 0.2), upper_left), image, RetouchSettings(short_side=50))
    changed = (lifted != image).any(2)
    reach = 2 * 20  # a bicubic reaches two working pixels, each 20 wide
    assert changed[: 500 - reach, : 300 - reach].all()
    assert not changed[500 + reach :].any()
    assert not changed[:, 300 + reach :].any()


def test_the_network_sees_the_image_shrunk_and_never_enlarged():
    model = known_model(torch.zeros_like)
    image = noisy_image(400, 600)
    retouch(model, image, RetouchSettings(short_side=100))
    small = np.asarray(Image.fromarray(image).resize((150, 100), Image.Resampling.LANCZOS))
    assert torch.equal(model.network.seen[0][0], torch.tensor(small).permute(2, 0, 1).float().div(255).sub(0.5).div(0.5)), "as in to_float"
    assert working_size(40, 60, 100) == (40, 60)
    assert working_size(4000, 6000, 256) == (256, 384)
    assert working_size(6000, 4000, 256) == (384, 256)
    assert working_size(1000, 20000, 256) == (256, 5120), "a panorama keeps its scale"


def test_a_panorama_is_seen_at_its_scale_in_tiles_that_leave_no_seam():
    model = known_model(lambda source: torch.full_like(source, 0.22))
    image = noisy_image(40, 1000)
    lifted = retouch(model, image, RetouchSettings(short_side=32)).astype(int)
    assert {tuple(seen.shape[-2:]) for seen in model.network.seen} == {(32, 128)}, "LONGEST short sides"
    assert len(model.network.seen) > 800 / 128
    assert (lifted - image == round(0.22 * 127.5)).all()


def test_what_is_said_of_the_mirror_image_counts_as_much(monkeypatch):
    monkeypatch.setattr(restoration, "fitted", lambda change, *_: change)
    image = np.full((64, 48, 3), 100, np.uint8)
    ramp = torch.linspace(-0.1, 0.3, 48)  # from left to right, whatever the image
    model = known_model(lambda source: ramp.expand_as(source))
    residual = predict_change(model, image, Settings(short_side=48)).residual
    assert torch.allclose(residual, torch.full_like(residual, 0.1), atol=1e-6)
    assert torch.allclose(predict_change(model, image, RetouchSettings(short_side=48)).residual, ramp.expand_as(residual), atol=1e-6)


def test_where_a_person_says_that_wrinkles_are_they_need_no_company(monkeypatch):
    monkeypatch.setattr(restoration, "company", None)  # nobody asks
    model, image = known_model(lambda source: torch.full_like(source, 0.2)), noisy_image(64, 96)
    painted = np.zeros((64, 96), np.float32)
    painted[:, :48] = 1
    change = predict_change(model, image, Settings(short_side=32), wrinkles=painted)
    assert (change.residual[:, :, :24].abs().amax(0) > 0.1).all()
    assert not change.residual[:, :, 24:].any()
    with pytest.raises(InputError, match="a mask must have the image's height and width"):
        predict_change(model, image, wrinkles=painted[1:])


def test_fine_structure_goes_at_the_scale_of_the_network_and_threads_stay(monkeypatch):
    looked_at = []

    def finest(image: np.ndarray, gate: np.ndarray) -> np.ndarray:
        looked_at.append(image.shape[:2])
        return np.zeros(image.shape, np.float32)

    monkeypatch.setattr(restoration, "finest_structure", finest)
    model, image = known_model(lambda source: torch.full_like(source, 0.1)), noisy_image(64, 96)
    predict_change(model, image, Settings(short_side=32, detail=True))
    assert looked_at == [(32, 48)], "not in the tiles of 64 x 96"


def test_faces_are_left_alone_unless_asked_for():
    model, image = known_model(lambda source: torch.full_like(source, 0.2)), skimage.data.astronaut()
    changed = {faces: (retouch(model, image, Settings(short_side=64, faces=faces)) != image).any(2) for faces in (False, True)}
    assert not changed[False][70:165, 185:265].any(), "from her forehead to her chin"
    assert changed[False][250:, :150].mean() > 0.95, "her suit"
    assert changed[True][70:165, 185:265].mean() > 0.5, "what isn't too bold for cloth"


@pytest.mark.parametrize("shape", [(40, 60, 300, 401), (64, 64, 64, 64), (10, 30, 77, 999)])
def test_strips_are_the_bicubic_enlargement_and_zeros_stay_exact(shape, monkeypatch):
    monkeypatch.setattr(restoration, "STRIP", 3000)
    h, w, height, width = shape
    field = torch.randn(3, h, w, generator=torch.Generator().manual_seed(0))
    field[:, : h // 2] = 0
    strips = list(restoration.enlarged_strips(field, height, width))
    assert len(strips) > 1
    whole = torch.cat([strip for _, strip in strips], 1)
    expected = F.interpolate(field[None], size=(height, width), mode="bicubic", align_corners=False)[0]
    assert torch.allclose(whole, expected, atol=2e-6), "float32, 16 products of at most about 4"
    assert torch.equal(whole == 0, expected == 0)


def test_strength_scales_what_is_added_and_zero_is_a_copy():
    image, change = noisy_image(), wave(75, 105, amplitude=0.2)
    full = apply_change(image, change, 1.0).astype(int) - image
    for strength in (0.25, 0.5, 0.75):
        part = apply_change(image, change, strength).astype(int) - image
        assert np.abs(part - strength * full).max() <= 0.5 + 0.5 * strength + 1e-4, "both are rounded to whole levels"
    model = known_model(lowfrequent)
    untouched = retouch(model, image, RetouchSettings(strength=0.0))
    assert np.array_equal(untouched, image)
    assert untouched is not image
    assert not model.network.seen, "nothing was computed for it"


def test_brightest_and_darkest_pixels_are_clipped_and_do_not_wrap():
    image = np.tile(np.uint8([0, 255, 128]), (32, 32, 1))
    brighter = retouch(known_model(lambda source: torch.full_like(source, 0.5)), image, RetouchSettings())
    darker = retouch(known_model(lambda source: torch.full_like(source, -0.5)), image, RetouchSettings())
    assert brighter[0, 0].tolist() == [64, 255, 192]
    assert darker[0, 0].tolist() == [0, 191, 64]


def test_a_users_mask_keeps_the_rest_bit_identical():
    image = noisy_image()
    mask = np.zeros(image.shape[:2])
    mask[:, 200:], mask[:, 300:] = 0.5, 1
    everywhere = retouch(known_model(lowfrequent), image, RetouchSettings(short_side=64))
    masked = retouch(known_model(lowfrequent), image, RetouchSettings(short_side=64), mask=mask)
    assert np.array_equal(masked[:, :200], image[:, :200])
    assert np.array_equal(masked[:, 300:], everywhere[:, 300:])
    middle = np.s_[:, 200:300]
    assert np.abs((masked[middle].astype(int) - image[middle]) - 0.5 * (everywhere[middle].astype(int) - image[middle])).max() <= 0.75


def test_grey_images_get_the_residuals_luminance():
    image = noisy_image(channels=1)
    lifted = retouch(known_model(lambda source: torch.tensor([0.2, 0.1, -0.1])[:, None, None].expand_as(source)), image, RetouchSettings())
    assert lifted.shape == image.shape
    assert np.unique(lifted.astype(int) - image).tolist() == [round(127.5 * (0.2 * 0.299 + 0.1 * 0.587 - 0.1 * 0.114))]


def test_16_bits_get_the_same_change_as_8():
    image = noisy_image()
    model = known_model(lowfrequent)
    shallow = retouch(model, image, RetouchSettings(short_side=64)).astype(int)
    deep = retouch(model, image.astype(np.uint16) * 257, RetouchSettings(short_side=64))
    assert np.abs(deep / 257 - shallow).max() <= 0.5 + 1e-3
    assert torch.equal(*model.network.seen)


# --- tiles ---


@pytest.mark.parametrize("side", [1, 2, 5, 16])
def test_tiles_cover_every_pixel_and_end_at_the_last(side):
    for length in range(side, 70):
        overlap = side // 4
        starts = tile_starts(length, side, overlap)
        assert starts[0] == 0
        assert starts[-1] == length - side
        assert all(0 < b - a <= side - overlap for a, b in itertools.pairwise(starts)), "neighbours overlap"


def image_of(height, width):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("height", "width", "side"), [(50, 70, 16), (64, 64, 64), (33, 100, 40), (20, 25, 32)])
def test_constant_answers_come_out_constant_and_zeros_exact(height, width, side):
    constant = blend_tiles(lambda tile: torch.full_like(tile[0], 0.3), image_of(height, width), side)
    assert constant.shape == (3, height, width)
    assert torch.allclose(constant, torch.full_like(constant, 0.3), rtol=1e-6), "float32 sums of four weights, divided by their sum"
    assert not blend_tiles(lambda tile: 0 * tile[0], image_of(height, width), side).any()


def test_the_grid_of_tiles_does_not_matter_to_an_answer_that_is_the_same_everywhere():
    image = image_of(90, 130)
    expected = torch.sin(3 * image[0])
    for side in (16, 31, 64, 200):
        assert torch.allclose(blend_tiles(lambda tile: torch.sin(3 * tile[0]), image, side), expected, atol=1e-6)


def test_no_seam_shows_where_tiles_disagree():
    """Every tile answers another constant, the worst case: the blend then moves from one to the next without a jump."""
    answers = iter([0.0, 1.0] * 50)
    side = 64
    blended = blend_tiles(lambda tile: torch.full_like(tile[0], next(answers)), image_of(200, 200), side)
    jumps = max(blended.diff(dim=1).abs().max(), blended.diff(dim=2).abs().max())
    assert jumps <= 1.5 / (side // 4), "the whole difference, spread over the overlap of a quarter tile"


def test_detail_adds_what_is_left_to_do_after_the_lift():
    """A network that goes half of the way to 0.5 goes three quarters of it with tiles, and both see what they should."""
    model = known_model(lambda source: 0.5 * (0.5 - source))
    image = np.full((300, 500, 3), 100, np.uint8)
    start = 100 / 127.5 - 1
    plain = retouch(model, image, RetouchSettings(short_side=32))
    assert np.abs(plain - 127.5 * (1 + start + 0.5 * (0.5 - start))).max() <= 0.5
    model.network.seen.clear()
    detailed = retouch(model, image, RetouchSettings(short_side=32, detail=True))
    assert np.abs(detailed - 127.5 * (1 + start + 0.75 * (0.5 - start))).max() <= 0.51
    coarse, *tiles = model.network.seen
    assert coarse.shape[2:] == (32, 54), "53, and padded to the network's multiple"
    assert {tile.shape[2:] for tile in tiles} == {(32, 32)}
    assert torch.allclose(tiles[0], torch.tensor(start + 0.5 * (0.5 - start)), atol=1e-5)


def test_detail_reaches_fine_creases_that_the_lift_cannot_see():
    """The network flattens its image towards mid-grey. Creases every 12 px are gone at a short side of 64, and there at 256."""
    image = np.full((512, 512, 3), 128, np.uint8)
    for column in range(3):
        image[:, column::12] = 90
    flatten = known_model(lambda source: source.mean((2, 3), keepdim=True) - source)
    plain = retouch(flatten, image, RetouchSettings(short_side=64)).astype(float)
    detailed = retouch(flatten, image, RetouchSettings(short_side=64, detail=True)).astype(float)
    inner = np.s_[64:-64, 64:-64]
    assert plain[inner].std() > 0.95 * image[inner].std()
    assert detailed[inner].std() < 0.5 * image[inner].std()


def test_detail_at_most_at_the_images_own_size():
    model = known_model(torch.zeros_like)
    predict_change(model, noisy_image(60, 80), RetouchSettings(detail=True, short_side=64))
    assert len(model.network.seen) == 1, "nothing finer to see"
    change = predict_change(model, noisy_image(100, 120), RetouchSettings(detail=True, short_side=64))
    assert change.residual.shape == (3, 100, 120)


def test_what_is_told_about_a_change_has_its_size_and_range():
    model = known_model(lowfrequent, lambda source: source[:, :1] > 0)
    for detail in (False, True):
        change = predict_change(model, noisy_image(), RetouchSettings(detail=detail, short_side=32))
        size = change.residual.shape[1:]
        assert change.mask.shape == change.spread.shape == (1, *size)
        assert change.mask.min() >= 0
        assert change.mask.max() <= 1 + 1e-6
        assert not change.spread.any(), "regression draws nothing"
        if not detail:
            assert (change.residual[:, change.mask[0] < 0.3] == 0).all()


def test_enlarging_to_the_same_size_changes_nothing():
    field = wave(20, 30)
    assert torch.equal(enlarge(field, 20, 30), field)


# --- bad input ---


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 1, 3), np.uint8), "at least 16 pixels wide and high to be retouched, got 1x1"),
        (np.zeros((200, 15, 3), np.uint8), "got 15x200"),
        (np.zeros((64, 64), np.uint8), r"got uint8 \(64, 64\)"),
        (np.zeros((64, 64, 4), np.uint8), "must be an array"),
        (np.zeros((64, 64, 3), np.float32), "got float32"),
        ([[0]], "got list"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        retouch(known_model(lowfrequent), image)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 1.5}, r"strength must lie in \[0, 1\], got 1.5"),
        ({"strength": float("nan")}, "strength"),
        ({"short_side": 8}, "short_side must be at least 16"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63 - 4, "samples": 4}, "seed"),
    ],
)
def test_settings_that_mean_nothing_do_not_come_into_being(settings, message):
    with pytest.raises(InputError, match=message):
        RetouchSettings(**settings)


def test_settings_are_named_and_stay_as_they_are():
    with pytest.raises(TypeError):
        RetouchSettings(0.5)
    with pytest.raises(FrozenInstanceError):
        RetouchSettings().strength = 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": RetouchSettings(steps=0)}, "steps must lie in 1"),
        ({"settings": RetouchSettings(steps=1001)}, "steps must lie in 1 .. T=1, got 1001"),
        ({"mask": np.zeros((10, 10))}, r"height and width \(300, 420\), got \(10, 10\)"),
        ({"mask": np.full((300, 420), 255)}, r"must lie in \[0, 1\]"),
        ({"mask": np.full((300, 420), np.nan)}, r"must lie in \[0, 1\]"),
    ],
)
def test_what_the_model_or_the_image_forbids_is_refused_before_any_work(given, message):
    model = known_model(lowfrequent)
    with pytest.raises(InputError, match=message):
        retouch(model, noisy_image(), **given)
    assert not model.network.seen


# --- numbers that are none ---


@pytest.mark.parametrize("detail", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_answers_with_no_number_is_refused_and_makes_no_black_photograph(value, detail):
    model = known_model(lambda source: torch.full_like(source, value))
    with pytest.raises(InputError, match="values of an image are NaN or infinite"):
        retouch(model, noisy_image(96, 96), RetouchSettings(short_side=64, detail=detail))
    with pytest.raises(InputError, match="1 of 48 values"):
        apply_change(noisy_image(96, 96), torch.zeros(48).index_fill(0, torch.tensor([5]), value).reshape(3, 4, 4))
