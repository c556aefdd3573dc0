"""The command that compares a folder of generated images with real ones."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.classifier import NoisyClassifier, load_classifier, save_classifier
from ddpm_utils.config import Classification, TrainConfig
from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.comparable_sets import with_channels
from ddpm_utils.evaluation.distribution_metrics import coverage, kid
from ddpm_utils.evaluation.features import classifier_features
from ddpm_utils.models import shipped
from ddpm_utils.unet import UNetConfig

NETWORK = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(), groups=4, classes=10)
CONFIG = TrainConfig(network=NETWORK, task=Classification())


def metrics(*words):
    return main(["metrics", *map(str, words), "--device", "cpu"])


@pytest.fixture
def classifier(tmp_path):
    network = NoisyClassifier(NETWORK)
    save_classifier(network, CONFIG, tuple("0123456789"), [], tmp_path / "classifier.safetensors")
    return tmp_path / "classifier.safetensors"


@pytest.fixture
def folder(tmp_path):
    """Forty digits of 8 x 8 pixels, a little darker than they were, as `sample --images` writes them."""
    path = tmp_path / "generated"
    path.mkdir()
    for i, image in enumerate(load_images("digits").images[:40]):
        Image.fromarray(image[..., 0] // 2).save(path / f"{i:05d}.png")
    return path


def test_it_prints_what_the_functions_return_for_these_pixels_and_this_n(classifier, folder, tmp_path, capsys):
    real = tmp_path / "real"
    real.mkdir()
    images = load_images("digits").images
    for i, image in enumerate(images[100:140]):
        Image.fromarray(image[..., 0]).save(real / f"{i:05d}.png")
    assert metrics(folder, real, "--features", classifier) == 0
    said = capsys.readouterr().out
    a, b = (classifier_features(load_classifier(classifier), part)[0] for part in (images[100:140], images[:40] // 2))
    assert str(kid(a, b, subset_size=20)) in said
    assert str(coverage(a, b)) in said
    assert "n = 40 real and 40 generated images of 8 px" in said
    assert "from 40 images these are rough; compare by some hundreds" in said


def test_of_some_hundreds_nobody_says_that_they_are_few(classifier, tmp_path, capsys):
    (tmp_path / "many").mkdir()
    for i, image in enumerate(load_images("digits").images[:200]):
        Image.fromarray(image[..., 0]).save(tmp_path / "many" / f"{i:05d}.png")
    assert metrics(tmp_path / "many", "digits", "--features", classifier) == 0
    assert "rough" not in capsys.readouterr().out


def test_both_sets_are_brought_to_the_size_of_the_smaller(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for size in (24, 48):
        (tmp_path / str(size)).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(tmp_path / str(size) / f"{i}.png")
    for real, size in (("toy-cars:8", 32), (tmp_path / "24", 24)):
        assert metrics(tmp_path / "48", real) == 0
        said = capsys.readouterr().out
        assert f"n = 4 real and 4 generated images of {size} px" in said
        assert "coverage and density need at least 6 images of each set" in said


def test_embedded_sets_and_shipped_classifiers_go_by_name_and_n_is_the_smaller_sets(folder, capsys):
    assert metrics(folder, "mnist5k", "--features", "digits-judge") == 0
    assert "n = 40 real and 40 generated images of 28 px, features: digits-judge" in capsys.readouterr().out


def test_the_seed_decides_which_images_are_compared(classifier, folder, capsys):
    said = []
    for seed in (0, 0, 1):
        assert metrics(folder, "digits", "--features", classifier, "--n", 30, "--seed", seed) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_grey_and_colour_turn_into_each_other_without_loss():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert (with_channels(with_channels(grey, 3), 1) == grey).all()


class Missing(ModuleType):
    """A package that is not there."""

    def __getattr__(self, name):
        raise ModuleNotFoundError(f"no {name}")


class FakeDistance:
    """Stands in for torchmetrics: counts images and adds up their means."""

    seen: list

    def __init__(self, feature, sync_on_compute):
        assert (feature, sync_on_compute) == (2048, False)
        FakeDistance.seen = []

    def to(self, device):
        return self

    def update(self, images, real):
        assert (images.dtype, images.shape[1:]) == (torch.uint8, (3, 8, 8))
        FakeDistance.seen += [real] * len(images)

    def compute(self):
        return torch.tensor(12.5)


def install(monkeypatch, distance):
    module = Missing("torchmetrics.image.fid") if distance is None else ModuleType("torchmetrics.image.fid")
    if distance is not None:
        module.FrechetInceptionDistance = distance
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", module)


def test_fid_hands_both_sets_to_torchmetrics_as_rgb_bytes(monkeypatch, folder, capsys):
    install(monkeypatch, FakeDistance)
    assert metrics(folder, "digits", "--features", "inception-fid") == 0
    assert "FID 12.50 (n = 40 real and 40 generated)" in capsys.readouterr().out
    assert FakeDistance.seen == [True] * 40 + [False] * 40


def without_network(**settings):
    raise OSError("no route to host")


def without_fidelity(**settings):
    raise ModuleNotFoundError("FrechetInceptionDistance metric requires that `Torch-fidelity` is installed")


@pytest.mark.parametrize(
    ("distance", "named"),
    [(None, "pip install torchmetrics"), (without_fidelity, "pip install torchmetrics"), (without_network, "no route to host")],
)
def test_fid_without_its_packages_or_its_weights_costs_one_sentence(monkeypatch, folder, capsys, distance, named):
    install(monkeypatch, distance)
    assert metrics(folder, "digits", "--features", "inception-fid") == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


def test_what_can_not_be_compared_costs_one_sentence(classifier, folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    for words, named in (
        ([tmp_path / "none", "digits"], "no folder of generated images"),
        ([tmp_path / "empty", "digits"], "no images in"),
        ([tmp_path / "broken", "digits"], "can't be read as an image"),
        ([folder, "faces"], "there is no folder 'faces'"),
        ([folder, "digits", "--features", "digits-reader"], "no shipped classifier 'digits-reader'"),
        ([folder, "digits", "--features", tmp_path / "x.safetensors"], "there is no classifier file"),
        ([folder, "digits", "--features", "digits"], "'digits' draws images, here something is needed that reads images"),
        ([folder, "digits", "--features", shipped("digits")], "is not a classifier"),
        ([folder, "digits", "--features", classifier, "--n", 1], "at least 2, got 1"),
        ([folder, "digits", "--features", classifier, "--n", 41], "there are 40 generated images, 41 are needed"),
    ):
        capsys.readouterr()
        assert metrics(*words) == 2
        error = capsys.readouterr().err
        assert named in error, error
        assert error.count("\n") == 1
