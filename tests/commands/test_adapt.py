"""`python -m ddpm_utils adapt`: a model is written where it is better on photographs that it hasn't seen, and only there."""

import numpy as np
import pytest
from PIL import Image
from retouchers import make_model
from scipy.ndimage import gaussian_filter

from ddpm_utils.__main__ import main
from ddpm_utils.evaluation.image_metrics import psnr_in
from ddpm_utils.models import load_model, save_model, weights_digest
from ddpm_utils.restoration import retouch
from ddpm_utils.training.adaptation import Gain, deal, decibels, is_better


def photographs(folder, n, edit, size=96):
    """n photographs of cloth and what `edit` (random numbers, cloth) makes of each: two folders."""
    for i in range(n):
        rng = np.random.default_rng(i)
        cloth = rng.uniform(110, 160, 3) + rng.normal(0, 1.5, (size, size, 1))
        source, target = edit(rng, cloth)
        for name, image in (("photos", source), ("retouched", target)):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")


def creased(rng, cloth):
    """Dark creases at any place, that the retoucher takes away."""
    field = np.zeros(cloth.shape[:2])
    for row in rng.integers(4, 92, 9):
        field[row : row + 2, rng.integers(0, 40) : rng.integers(56, 96)] = 60
    return cloth - gaussian_filter(field, 1.2)[..., None], cloth


def unforeseeable(rng, cloth):
    """Spots that the retoucher makes brighter or darker, and nothing in the photograph tells where or which."""
    spots = gaussian_filter(rng.standard_normal(cloth.shape[:2]), 4)
    return cloth, cloth + 25 * np.sign(spots)[..., None] * (np.abs(spots) > np.quantile(np.abs(spots), 0.6))[..., None]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A model that says nothing of any photograph."""
    path = tmp_path_factory.mktemp("fresh") / "model.safetensors"
    model = make_model("regression")
    save_model(model.network, model.config, (), path)
    return path


def adapt(folder, model, *words):
    flags = ["--model", model, "--out", folder / "mine.safetensors", "--folds", 2, "--steps", 40, "--lr", 4e-3, "--batch-size", 8]
    return main(["adapt", *map(str, [folder / "photos", folder / "retouched", *flags, "--device", "cpu", *words])])


def test_a_model_that_gains_on_photographs_it_has_not_seen_is_written(tmp_path, fresh, capsys):
    photographs(tmp_path, 2, creased)
    assert adapt(tmp_path, fresh) == 2
    assert "at least 3 pairs are needed to fit to some and judge by the others, got 2; add more" in capsys.readouterr().err
    photographs(tmp_path, 4, lambda rng, cloth: (cloth, cloth))
    assert adapt(tmp_path, fresh) == 2
    assert "the two folders hold nearly the same images, there is nothing to learn; name the" in capsys.readouterr().err
    photographs(tmp_path, 4, creased)
    assert adapt(tmp_path, fresh) == 0
    said = capsys.readouterr().out
    assert sum(f"\n{i}: in the mask +0.00 -> +" in said for i in range(4)) > 2
    assert "\nmean: in the mask +0.00 -> +" in said
    model = load_model(tmp_path / "mine.safetensors")
    assert model.config.start == weights_digest(load_model(fresh).network)
    rng = np.random.default_rng(99)
    source, target = (np.clip(image, 0, 255).astype(np.uint8) for image in creased(rng, 140 + rng.normal(0, 1.5, (96, 96, 3))))
    after = retouch(model, source)
    assert np.square(after - target.astype(float)).sum() < np.square(source - target.astype(float)).sum()


def test_a_model_that_does_not_is_not(tmp_path, fresh, capsys):
    photographs(tmp_path, 4, unforeseeable)
    assert adapt(tmp_path, fresh) == 1
    said = capsys.readouterr().out
    assert "no model is written: on photographs that it hasn't seen the fitted one is no better than" in said
    assert not (tmp_path / "mine.safetensors").exists()


def test_a_retouched_photograph_that_is_shifted_is_refused_by_its_name(tmp_path, fresh, capsys):
    photographs(tmp_path, 3, creased)
    Image.fromarray(np.roll(np.asarray(Image.open(tmp_path / "photos" / "0.png")), 3, 1)).save(tmp_path / "retouched" / "0.png")
    assert adapt(tmp_path, fresh) == 2
    assert "'0': the retouched photograph is shifted by 3.0 pixels" in capsys.readouterr().err


def test_a_photograph_that_is_smaller_than_a_crop_is_refused_by_its_name(tmp_path, fresh, capsys):
    photographs(tmp_path, 3, creased, size=96)
    least = load_model(fresh).config.network.image_size
    for folder in ("photos", "retouched"):
        Image.open(tmp_path / folder / "1.png").crop((0, 0, least - 1, 96)).save(tmp_path / folder / "1.png")
    assert adapt(tmp_path, fresh) == 2
    assert f"'1': the photograph's short side is {least - 1} pixels, this model learns from at least {least}" in capsys.readouterr().err


@pytest.mark.parametrize(("n", "folds"), [(3, 5), (20, 5), (23, 5), (7, 7)])
def test_every_photograph_is_judged_once_by_weights_fitted_without_it(n, folds):
    dealt = deal(n, folds, seed=0)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(n))
    assert len(dealt) == min(n, folds)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_decibels_are_the_difference_of_two_psnrs():
    rng = np.random.default_rng(0)
    source, result, target = rng.integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    where = rng.random((16, 16)) < 0.5
    expected = psnr_in(result, target, where, 255) - psnr_in(source, target, where, 255)
    assert decibels(source, result, target, where) == pytest.approx(expected, abs=1e-3), "but for the rounding's share"
    assert np.isnan(decibels(source, result, target, where & False))


def test_better_means_more_in_the_mask_in_the_mean_and_for_most_and_no_less_in_the_whole():
    up, down, nothing = Gain("a", 1.0, 2.0, 0.5, 0.6), Gain("b", 1.0, 0.9, 0.5, 0.5), Gain("c", np.nan, np.nan, 0.0, 0.0)
    assert is_better([up, up, down, nothing])
    assert not is_better([up, down])
    assert not is_better([down, down, Gain("d", 1.0, 9.0, 0.5, 0.9)]), "one photograph doesn't speak for the others"
    assert not is_better([up, up, nothing._replace(whole_after=-3.0)])
