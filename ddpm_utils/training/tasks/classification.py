"""Chapter 07: a classifier of noisy images, trained on x_t at all timesteps (Dhariwal & Nichol 2021, 2105.05233, section 4)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_utils.classifier import BATCH, NoisyClassifier, save_classifier
from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.diffusion import by_quarter, q_sample
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.device import Execution
from ddpm_utils.runtime.rng import keyed_generator
from ddpm_utils.training.batches import Batch
from ddpm_utils.training.flops import TRAINING, flops_of, image_and_timestep
from ddpm_utils.training.task import Predict, Preview, UNetTask


class ClassificationTask(UNetTask):
    """A classifier, trained on all images but those held out. config.task: a `Classification`. test: the images held out."""

    result = "classifier.safetensors"
    can_start = False

    def __init__(self, config: TrainConfig, test: ImageSet):
        super().__init__(config)
        self.schedule, self.test = config.noise_schedule(), test

    def check(self, data: ImageSet) -> None:
        """Refuse images without labels."""
        if len(data.classes) < 2:
            raise InputError("a classifier needs images with labels, one folder a class; these have none")

    def build(self, execution: Execution) -> nn.Module:
        """The classifier."""
        return NoisyClassifier(self.config.network)

    def losses(self, predict: Predict, batch: Batch) -> Tensor:
        """The cross-entropy of each image in nats, (B,)."""
        x_t = q_sample(self.schedule, batch.x0, batch.t, batch.eps)  # (B, C, H, W)
        return F.cross_entropy(predict(x_t, batch.t).float(), batch.label, reduction="none")

    def preview(self, network: nn.Module, data: ImageSet, stopped: Callable[[], bool]) -> Preview | None:
        """The accuracy so far."""
        return Preview(text=self._in_words(self._accuracy(network)))

    def save(self, network: nn.Module, data: ImageSet, path: Path, snapshot: dict | None = None) -> str:
        """A classifier's file, with its accuracy."""
        accuracy = self._accuracy(network)
        save_classifier(network, self.config, data.classes, accuracy, path, snapshot)
        return self._in_words(accuracy)

    def training_flops(self) -> int:
        """Operations of one image in training."""
        return TRAINING * flops_of(lambda: NoisyClassifier(self.config.network)(*image_and_timestep(self.config.network)))

    def _accuracy(self, network: nn.Module) -> list[float]:
        return accuracy_by_quarter(network, self.config, self.test)

    def _in_words(self, accuracy: list[float]) -> str:
        shares = " ".join(f"{share:.3f}" for share in accuracy)
        return f"accuracy on {len(self.test):,} images held out, by quarter of t, least to most noise: {shares}"


def hold_out(data: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """(images to train on, images to test on), the latter `share` of all, drawn by the seed."""
    order = torch.randperm(len(data), generator=keyed_generator(seed, "hold out", 0)).numpy()
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise InputError(f"a share of {share} holds out {count} of {len(data)} images; at least one must be on each side")
    parts = (order[count:], order[:count])
    learn, test = (replace(data, images=data.images[rows], labels=None if data.labels is None else data.labels[rows]) for rows in parts)
    return learn, test


@torch.no_grad()
def accuracy_by_quarter(network: nn.Module, config: TrainConfig, data: ImageSet, rounds: int = 4) -> list[float]:
    """Share of right labels of noisy images in each quarter of 0 .. T-1, from least to most noise.

    Every image is used `rounds` times in each quarter, at random timesteps of it, with noise that depends on the seed alone.
    """
    network.eval()
    schedule, device, T = config.noise_schedule(), network.head.weight.device, config.timesteps
    generator = keyed_generator(config.seed, "accuracy", 0)
    edges = [-(-k * T // 4) for k in range(5)]  # t * 4 // T is k from here on
    correct, seen = [], []
    for start in range(0, len(data), BATCH):
        x0 = to_float(data.images[start : start + BATCH], config.mean, config.std)
        label = torch.from_numpy(data.labels[start : start + BATCH])
        for k in list(range(4)) * rounds:
            t = torch.randint(edges[k], edges[k + 1], (len(x0),), generator=generator)
            x_t = q_sample(schedule, x0, t, torch.randn(x0.shape, generator=generator))
            correct.append((network(x_t.to(device), t.to(device)).argmax(1).cpu() == label).float())
            seen.append(t)
    return by_quarter(torch.cat(correct), torch.cat(seen), T)
