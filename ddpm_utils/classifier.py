"""Chapter 07: a classifier of noisy images, (x_t, t) -> log p(label | x_t): a guide for classifier guidance, and features for metrics.

It is the U-Net's way down, with a mean over all pixels and one linear layer in place of the way up (Dhariwal & Nichol 2021, 2105.05233,
section 4). training/tasks/classification.py trains it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_utils.config import Classification, TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.models import blamed_on, check_classes, read_weights, with_weights, write_weights
from ddpm_utils.unet import Encoder
from ddpm_utils.unet_config import UNetConfig

CLASSIFIER_FORMAT = "ddpm_utils classifier 1"
BATCH = 256  # images at a time, where nothing is learned


class NoisyClassifier(nn.Module):
    """(x_t, t) -> logits (B, classes). x_t: (B, channels, H, W), t: (B,) int64; config.classes labels, the other options as in `UNet`."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        if config.classes is None:
            raise InputError("a classifier needs classes, got None")
        self.config = config
        self.encoder = Encoder(replace(config, classes=None))  # without labels: they are what is asked for
        self.norm = nn.GroupNorm(config.groups, config.widths[-1], config.norm_eps)
        self.head = nn.Linear(config.widths[-1], config.classes)

    def features(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The input of the last layer: (B, channels of the coarsest level)."""
        x = self.encoder.with_condition(x_t, None)
        emb = self.encoder.embed(t, None)
        h, _ = self.encoder.encode(x, emb)
        h = self.encoder.middle(h, emb)  # (B, C, h, w)
        return F.silu(self.norm(h)).mean((2, 3))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.head(self.features(x_t, t))

    def log_prob(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(label | x_t) for every label, (B, classes): what `classifier_guided` asks for."""
        return self(x_t, t).log_softmax(1)


# --- files ---


@dataclass(frozen=True)
class Classifier:
    """What `load_classifier` returns: a network in eval mode with frozen weights, the run that made it, and its classes' names."""

    network: NoisyClassifier
    config: TrainConfig
    classes: tuple[str, ...]
    accuracy: list[float]  # on images that it wasn't trained on, by quarter of t


def save_classifier(
    network: NoisyClassifier,
    config: TrainConfig,
    classes: tuple[str, ...],
    accuracy: list[float],
    path: Path,
    snapshot: dict | None = None,
) -> None:
    """Write float16 safetensors with the run in the metadata, as `save_model` does. Appears whole or not at all."""
    check_classes(classes, config.network)
    about = {"config": config.to_json(), "classes": classes, "accuracy": accuracy, "snapshot": snapshot or {}}
    write_weights(network.state_dict(), {"format": CLASSIFIER_FORMAT, **about}, path)


def load_classifier(path: Path, device: str | torch.device = "cpu") -> Classifier:
    """Read a classifier's file; the weights become float32. Raises InputError for a missing, damaged or foreign file, or a model of images."""
    needs = ("config", "classes", "accuracy")
    about, weights = read_weights(path, CLASSIFIER_FORMAT, "classifier", "train-classifier", needs)
    with blamed_on(path):
        config = TrainConfig.from_json(about["config"], like=Classification())
        check_classes(about["classes"], config.network)
        with torch.device("meta"):
            network = NoisyClassifier(config.network)
    network = with_weights(network, weights, path)
    return Classifier(network.to(device).eval().requires_grad_(False), config, tuple(about["classes"]), about["accuracy"])
