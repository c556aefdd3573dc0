"""Chapter 04: what a step trains on, a pure function of (seed, step)."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm_utils.config import TrainConfig
from ddpm_utils.control.hinted_images import HintedSet
from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.runtime.rng import keyed_generator


class Batch(NamedTuple):
    x0: Tensor  # (B, C, H, W) float32
    t: Tensor  # (B,) int64
    eps: Tensor  # (B, C, H, W) float32
    label: Tensor | None  # (B,) int64, null label where dropped
    source: Tensor | None = None  # (B, C, H, W), of pairs: what x0 was retouched from
    mask: Tensor | None = None  # (B, 1, H, W) float32, of pairs: 1 where they differ
    hint: Tensor | None = None  # (B, c, H, W) float32 in [0, 1], of hinted images: zeros where dropped


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """A permutation of 0 .. n-1, the order of this epoch's images."""
    return torch.randperm(n, generator=keyed_generator(seed, "order", epoch)).numpy()


def draw_batch(config: TrainConfig, data: ImageSet, step: int) -> Batch:
    """Everything random about step `step` (from 0), for the whole batch, on the CPU."""
    B = config.batch_size
    epoch, i = divmod(step, len(data) // B)
    rows = epoch_order(config.seed, epoch, len(data))[i * B : (i + 1) * B]
    generator = keyed_generator(config.seed, "step", step)
    mirrored = torch.rand(B, generator=generator).numpy() < 0.5 if config.flip else np.zeros(B, bool)

    def pick(images: np.ndarray) -> np.ndarray:  # (N, H, W, C) uint8 -> (B, H, W, C)
        images = images[rows]
        return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)

    x0 = to_float(pick(data.images), config.mean, config.std)  # (B, C, H, W)
    t = torch.randint(0, config.timesteps, (B,), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    label = None
    if config.network.classes is not None:
        dropped = torch.rand(B, generator=generator) < config.label_dropout  # for each image, not for the batch
        label = torch.from_numpy(data.labels[rows]).masked_fill(dropped, config.network.null_label)
    if config.form is None:
        hint = None
        if isinstance(data, HintedSet):
            hidden = torch.rand(B, generator=generator) < data.dropout
            hint = to_float(pick(data.hints), (0.0,), (1.0,)).masked_fill(hidden[:, None, None, None], 0.0)  # (B, c, H, W)
        return Batch(x0, t, eps, label, hint=hint)
    if config.form == "anchored":
        first = torch.rand(B, generator=generator) < config.first_step_share
        t = t.masked_fill(first, config.timesteps - 1)
    mask = torch.from_numpy(pick(data.masks[..., None])).permute(0, 3, 1, 2).float()  # (B, 1, H, W)
    return Batch(x0, t, eps, label, to_float(pick(data.sources), config.mean, config.std), mask)
