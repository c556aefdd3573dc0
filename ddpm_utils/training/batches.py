"""Chapter 04: what a step trains on, a pure function of (seed, step).

The images, flips, timesteps, noise and dropped labels of step n come from generators keyed by (seed, n) and are drawn for the whole batch
on the CPU. What ran before has no influence, so that a run which is cut and resumed anywhere ends in the same bits, and the same draws
reach every kind of device; each of several processes takes its slice. With draws="device" the noise, nearly all of what is drawn, comes from
the device's own generator instead, keyed alike: it is never copied, but only the same model of device draws it again.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.runtime.rng import keyed_generator

T = TypeVar("T")


class Batch(NamedTuple):
    x0: Tensor  # (B, C, H, W) float32
    t: Tensor  # (B,) int64
    eps: Tensor  # (B, C, H, W) float32
    label: Tensor | None  # (B,) int64, null label where dropped
    source: Tensor | None = None  # (B, C, H, W), of pairs: what x0 was retouched from
    mask: Tensor | None = None  # (B, 1, H, W) float32, of pairs: 1 where they differ
    hint: Tensor | None = None  # (B, c, H, W) float32 in [0, 1], of hinted images: zeros where dropped


@dataclass(frozen=True)
class Draw:
    """The random choices of one step: which images, which of them mirrored, and the generator that everything else comes from."""

    rows: np.ndarray  # (B,) int
    mirrored: np.ndarray  # (B,) bool
    generator: torch.Generator

    def pick(self, images: np.ndarray) -> np.ndarray:
        """The chosen ones of images (N, H, W, C) uint8, mirrored where they are to be: (B, H, W, C)."""
        images = images[self.rows]
        return np.where(self.mirrored[:, None, None, None], images[:, :, ::-1], images)

    def chance(self, share: float) -> Tensor:
        """(B,) bool, each True with this probability."""
        return torch.rand(len(self.rows), generator=self.generator) < share


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """A permutation of 0 .. n-1, the order of this epoch's images."""
    return torch.randperm(n, generator=keyed_generator(seed, "order", epoch)).numpy()


def draw_batch(task, data: ImageSet, step: int, device: str = "cpu") -> Batch:
    """Everything random about step `step` (from 0) of a task (training/task.py), for the whole batch, on the CPU.

    device: where the noise is drawn, and lies, if the run has draws="device".
    """
    config, B = task.config, task.config.batch_size
    epoch, i = divmod(step, len(data) // B)
    rows = epoch_order(config.seed, epoch, len(data))[i * B : (i + 1) * B]
    generator = keyed_generator(config.seed, "step", step)
    mirrored = torch.rand(B, generator=generator).numpy() < 0.5 if config.flip else np.zeros(B, bool)
    draw = Draw(rows, mirrored, generator)
    x0 = to_float(draw.pick(data.images), config.mean, config.std)  # (B, C, H, W)
    t = torch.randint(0, config.timesteps, (B,), generator=generator)
    by_device = config.draws == "device"
    noise = keyed_generator(config.seed, "noise", step, device) if by_device else generator
    eps = torch.randn(x0.shape, generator=noise, device=noise.device)
    label = None if config.network.classes is None else torch.from_numpy(data.labels[rows])
    return task.complete(Batch(x0, t, eps, label), data, draw)


class Ahead(Generic[T]):
    """`draw`, a function of the step, whose next value is drawn by a thread while a GPU computes with this one.

    It returns what `draw` does, and raises what it raises, at the same step. Any step may follow any other, as where a run is resumed: one that
    wasn't expected is drawn when it is asked for.
    """

    def __init__(self, draw: Callable[[int], T]):
        self.draw = draw
        self.thread = ThreadPoolExecutor(1)
        self.coming: dict[int, Future[T]] = {}

    def __call__(self, step: int) -> T:
        """The value of this step."""
        drawn = self.coming.pop(step, None) or self.thread.submit(self.draw, step)
        value = drawn.result()
        self.coming = {step + 1: self.thread.submit(self.draw, step + 1)}
        return value
