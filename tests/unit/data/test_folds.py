"""Folds of real cloth, held against folds that were put there: lifted, laid, and made into pairs."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ddpm_utils.data import fold_pairs as drawing
from ddpm_utils.data.fold_pairs import draw_pair, find_garments, fold_pairs
from ddpm_utils.data.folds import BLACK, laid_out, lay, lift
from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.data.pairs import change_mask
from ddpm_utils.errors import InputError


def garment(seed=0, size=200, folds=0.12, colour=(170, 90, 60)):
    """A plain garment with known folds on a striped floor: photograph (H, W, 3) in 0..255, mask, the folds' field."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size), bool)
    mask[size // 6 : -size // 6, size // 5 : -size // 5] = True
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), 3)
    field = (folds / field.std() * (field - ndimage.gaussian_filter(field, 7)) * mask).astype(np.float32)
    floor = 120 + 60 * np.sign(np.sin(np.arange(size) / 5))[:, None, None] * np.ones(3)
    return lay(np.where(mask[..., None], np.float32(colour), floor.astype(np.float32)), field, np.ones(3)), mask, field


def test_a_lifted_fold_is_the_one_that_was_laid():
    photograph, mask, field = garment()
    fold = lift(photograph, mask, 0.7, 14)
    inside = ndimage.binary_erosion(mask, iterations=14)
    assert fold.plain
    assert np.corrcoef(fold.field[inside], field[inside])[0, 1] > 0.95
    assert np.allclose(fold.slopes, 1, atol=0.15), "all channels follow alike"
    assert (fold.field[~mask] == 0).all()


def test_laying_a_fold_and_its_opposite_gives_the_cloth_back():
    photograph, mask, _ = garment(folds=0)
    for slopes in (np.ones(3), np.array([0.5, 1.0, 2.0])):
        folded = lay(photograph, 0.2 * mask.astype(np.float32), slopes)
        assert np.allclose((folded[mask] + BLACK) / (photograph[mask] + BLACK), np.exp(0.2 * slopes), rtol=1e-5)
        assert np.allclose(lay(folded, -0.2 * mask.astype(np.float32), slopes), photograph, atol=1e-3)
        assert np.array_equal(folded[~mask], photograph[~mask])


def test_a_film_s_shoulder_spares_what_is_bright():
    bright, dim = (np.full((1, 1, 3), level, np.float32) for level in (250, 100))
    fold = np.full((1, 1), -0.2, np.float32)
    lost = [(cloth - lay(cloth, fold, np.ones(3), shoulder=True)).max() / cloth.max() for cloth in (bright, dim)]
    assert 0 < lost[0] < lost[1] / 3


def test_prints_and_small_scraps_lend_no_folds():
    photograph, mask, _ = garment()
    photograph[:, ::20, 2] = 250
    photograph[:, 1::20, 2] = 250
    assert not lift(photograph, mask, 0.7, 14).plain
    assert lift(photograph, mask & (np.arange(200) < 52), 0.7, 14) is None
    assert laid_out(np.random.default_rng(0), np.ones((50, 50)), mask & (np.arange(200) < 42)) is None


def wardrobe_in(root, size, folds):
    """Three garments of `garment` as files: photographs/ and masks/ in root."""
    for folder in ("photographs", "masks"):
        (root / folder).mkdir()
    for i in range(3):
        photograph, mask, _ = garment(i, size, folds, np.roll((170, 90, 60), i))
        Image.fromarray(photograph.clip(0, 255).astype(np.uint8)).save(root / "photographs" / f"{i}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def wardrobe(tmp_path_factory):
    return wardrobe_in(tmp_path_factory.mktemp("wardrobe"), 300, 0.12)


def drawn(out):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.rglob("*.png"))]


def test_pairs_are_made_of_photographs_and_depend_on_the_seed_alone(wardrobe, tmp_path):
    said = fold_pairs(wardrobe / "photographs", wardrobe / "masks", tmp_path / "out", 8, 128, seed=1)
    assert "8 pairs of 128 px out of 3 garments" in said
    pairs = load_pairs(tmp_path / "out", 128)
    assert len(pairs) == 8
    shares = pairs.masks.mean((1, 2))
    assert 0 < (shares > 0).sum() <= 8
    assert shares.max() < 0.33
    for source, target, mask in zip(pairs.sources, pairs.images, pairs.masks):
        far = ~ndimage.binary_dilation(mask, iterations=9)
        assert np.array_equal(source[far], target[far])
        assert np.array_equal(mask, change_mask(source, target))
    fold_pairs(wardrobe / "photographs", wardrobe / "masks", tmp_path / "again", 8, 128, seed=1)
    assert drawn(tmp_path / "again") == drawn(tmp_path / "out")


def test_what_pairs_cannot_be_made_of_is_refused_in_a_sentence(wardrobe, tmp_path):
    def refused(match, photographs=wardrobe / "photographs", masks=wardrobe / "masks", out=tmp_path / "new", n=1, size=128):
        with pytest.raises(InputError, match=match):
            fold_pairs(photographs, masks, out, n, size)

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    refused("holds something", out=tmp_path / "full")
    refused("at least 1, got 0", n=0)
    refused("from 64 to 256 pixels a side, got 32", size=32)
    (tmp_path / "others").mkdir()
    Image.new("L", (300, 300)).save(tmp_path / "others" / "none.png")
    refused("has a mask of its name", masks=tmp_path / "others")
    Image.new("L", (30, 90)).save(tmp_path / "others" / "1.png")
    refused("is 30x90, which isn.t the shape of its photograph, 300x300", masks=tmp_path / "others")


# --- the facts on real photographs ---


def wavelength(difference):
    """Pixels, weighted by power: sum(power) / sum(power * frequency)."""
    height, width = difference.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    power = np.abs(np.fft.fft2(difference)) ** 2
    return power.sum() / (power * frequency).sum()


def test_whole_frames_have_the_wavelength_and_strength_of_retouched_figures(tmp_path, monkeypatch):
    """Measured on figures at a short side of 512, whose clothes are as wide there as a garment is in a frame of 256: wavelengths of 7 to 15 px,
    differences with a standard deviation of 7 to 15 levels, 1 to 5 % of the frame changed, of which clothes are about a third.

    Here a garment fills 40 % of the frame; the generator touches about twice as much of it as retouchers do.
    """
    monkeypatch.setattr(drawing, "SCALES", (0.64, 0.64))  # 256 pixels are the whole photograph
    garments = find_garments(wardrobe_in(tmp_path, 400, 0.06) / "photographs", tmp_path / "masks")
    lent = [field for field in map(drawing._lent_by, garments) if field is not None]
    pairs = [draw_pair(np.random.default_rng((5, i)), garments, lent, 256) for i in range(40)]
    masks = [change_mask(*pair) for pair in pairs]
    differences = [source.astype(float) - target for source, target in pairs]
    wavelengths = [wavelength(d.mean(-1)) for d, mask in zip(differences, masks) if mask.any()]
    levels = [d[mask].std() for d, mask in zip(differences, masks) if mask.any()]
    shares = [mask.mean() for mask in masks if mask.any()]
    assert 7 < np.median(wavelengths) < 15
    assert np.mean([5 < length < 20 for length in wavelengths]) > 0.75
    assert 7 < np.median(levels) < 15
    assert max(levels) < 25
    assert 0.05 < np.median(shares) < 0.2
    assert 0.1 < np.mean([not mask.any() for mask in masks]) < 0.45, "about a quarter has nothing to remove; 40 pairs scatter by 0.07"
