"""Chapter 04: training, one step after the other.

Randomness is a function of (seed, step): the images, flips, timesteps, noise and dropped labels of step n come from generators keyed by
(seed, n) and are drawn for the whole batch on the CPU. What ran before has no influence, so that a run which is cut and resumed
anywhere ends in the same bits, and the same draws reach every kind of device.

Equations: Ho et al. 2020 (2006.11239), algorithm 1.
"""

import copy
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_utils.data import ImageSet, to_float
from ddpm_utils.diffusion import LOSSES, WEIGHTINGS, check_prediction, training_loss
from ddpm_utils.ema import EMA
from ddpm_utils.errors import InputError
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import UNet, UNetConfig

OPTIMIZERS = ("adamw", "adam")
DECAYS = ("constant", "cosine")


@dataclass(frozen=True)
class TrainConfig:
    """A run, completely described but for its images. It travels inside every checkpoint and exported model."""

    network: UNetConfig = field(default_factory=UNetConfig)
    timesteps: int = 1000
    schedule: str = "cosine"
    zero_terminal_snr: bool = False
    prediction: str = "eps"
    loss: str = "l2"
    weighting: str = "plain"
    epochs: int = 100
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-4
    warmup: int = 500  # steps over which the learning rate rises
    lr_decay: str = "constant"  # after the warm-up; "cosine" falls to 0 at the last step
    clip_norm: float = 1.0  # gradients are scaled down to this norm
    ema_decay: float = 0.9999
    ema_start: int = 0  # step at which averaging begins
    label_dropout: float = 0.1  # share of labels replaced by the null label, drawn for each image
    flip: bool = True  # mirror images left to right half of the time
    mean: tuple[float, ...] = (0.5,)  # of the pixels' 0 .. 1, by channel; with std 0.5 images lie in [-1, 1]
    std: tuple[float, ...] = (0.5,)
    seed: int = 0

    def __post_init__(self):
        for name in ("mean", "std"):  # JSON brings lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        choices = {"loss": LOSSES, "weighting": WEIGHTINGS, "optimizer": OPTIMIZERS, "lr_decay": DECAYS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        limits = {"epochs": 1, "batch_size": 1, "warmup": 0, "ema_start": 0, "seed": 0}
        for name, least in limits.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("lr", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.label_dropout <= 1:
            raise InputError(f"label_dropout must lie in [0, 1], 0.1 is usual; got {self.label_dropout}")
        counts = {1, self.network.channels}
        if len(self.mean) not in counts or len(self.std) != len(self.mean):
            allowed = " or ".join(map(str, sorted(counts)))
            raise InputError(f"mean and std need {allowed} values each, got {self.mean} and {self.std}")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise InputError(f"mean and std must be finite and std above 0, got {self.mean} and {self.std}")
        check_prediction(self.noise_schedule(), self.prediction)

    def noise_schedule(self) -> NoiseSchedule:
        schedule = NoiseSchedule.named(self.schedule, self.timesteps)
        return schedule.with_zero_terminal_snr() if self.zero_terminal_snr else schedule

    @property
    def in_unit_range(self) -> bool:
        """Whether images lie in [-1, 1], so that clipping to it makes sense."""
        return set(self.mean) == {0.5} == set(self.std)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        values = json.loads(text)
        known, known_network = {f.name for f in fields(cls)}, {f.name for f in fields(UNetConfig)}
        if unknown := (values.keys() - known) | (values["network"].keys() - known_network):
            raise InputError(f"the file was written by another version of ddpm_utils: it has an unknown setting {sorted(unknown)[0]!r}")
        return cls(**{**values, "network": UNetConfig(**values["network"])})

    def check_same_run(self, other: "TrainConfig") -> None:
        """Refuse to continue `other`'s run with these settings. More or fewer epochs are fine while the learning rate doesn't depend on them."""
        if self.lr_decay == "constant":
            other = replace(other, epochs=self.epochs)
        for name, mine, theirs in _differences(asdict(self), asdict(other)):
            raise InputError(
                f"the checkpoint is of another run: its {name} is {theirs!r}, this run's is {mine!r}; match it or use another --out"
            )


def _differences(a: dict, b: dict, prefix: str = "") -> Iterator[tuple]:
    for key in a:
        if isinstance(a[key], dict):
            yield from _differences(a[key], b[key], f"{prefix}{key}.")
        elif a[key] != b[key]:
            yield prefix + key, a[key], b[key]


# --- what a step trains on: a pure function of (seed, step) ---


class Batch(NamedTuple):
    x0: Tensor  # (B, C, H, W) float32
    t: Tensor  # (B,) int64
    eps: Tensor  # (B, C, H, W) float32
    label: Tensor | None  # (B,) int64, null label where dropped


def keyed_generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """A CPU generator that depends on nothing but (seed, purpose, index), well mixed."""
    key = [seed, int.from_bytes(purpose.encode(), "little"), index]
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


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
    images = data.images[rows]  # (B, H, W, C) uint8
    if config.flip:
        mirrored = torch.rand(B, generator=generator).numpy() < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    x0 = to_float(images, config.mean, config.std)  # (B, C, H, W)
    t = torch.randint(0, config.timesteps, (B,), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    label = None
    if config.network.classes is not None:
        dropped = torch.rand(B, generator=generator) < config.label_dropout  # for each image, not for the batch
        label = torch.from_numpy(data.labels[rows]).masked_fill(dropped, config.network.null_label)
    return Batch(x0, t, eps, label)


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate of step `step` (from 0) out of `total`: a line up over the warm-up, then constant or half a cosine down."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.lr_decay == "constant":
        return config.lr * rise
    done = max(0, step - config.warmup) / max(1, total - config.warmup)
    return config.lr * rise * 0.5 * (1 + math.cos(math.pi * done))


# --- the loop ---


class StepResult(NamedTuple):
    step: int  # steps done, counting this one
    t: Tensor  # (B,) on the CPU
    losses: Tensor  # (B,) on the training device
    lr: float
    grad_norm: Tensor  # before clipping


class Trainer:
    """Network, average, optimizer and step counter of one run."""

    def __init__(self, config: TrainConfig, data: ImageSet, device: str | torch.device = "cpu"):
        check_data(config, data)
        self.config, self.data, self.device = config, data, torch.device(device)
        self.schedule = config.noise_schedule()
        with torch.random.fork_rng(devices=[]):  # the caller's global generator stays as it was
            torch.manual_seed(keyed_generator(config.seed, "weights", 0).initial_seed())
            self.network = UNet(config.network).to(self.device)
        self.ema = EMA(self.network, config.ema_decay, config.ema_start)
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
        self.optimizer = kind(self.network.parameters(), lr=config.lr, fused=True)
        self.step = 0

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the data set; the images left over rotate, because each epoch has its own order."""
        return len(self.data) // self.config.batch_size

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    def train_step(self) -> StepResult:
        """One step of Ho's algorithm 1: noise a batch, ask the network, follow the gradient, move the average."""
        config, network = self.config, self.network.train()
        batch = draw_batch(config, self.data, self.step)
        x0, t, eps = (v.to(self.device) for v in (batch.x0, batch.t, batch.eps))
        conditions = {} if batch.label is None else {"label": batch.label.to(self.device)}
        lr = learning_rate(config, self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with self._dropout_keyed_by_step():
            losses = training_loss(network, self.schedule, x0, t, eps, config.prediction, config.loss, config.weighting, **conditions)
        losses.mean().backward()
        grad_norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(network, self.step)
        return StepResult(self.step, batch.t, losses.detach(), lr, grad_norm)

    def run(self, until: int | None = None) -> Iterator[StepResult]:
        """Train up to step `until` (default: to the end), yielding every step."""
        while self.step < (self.total_steps if until is None else until):
            yield self.train_step()

    def average_network(self) -> UNet:
        """A copy of the network with the averaged weights, in eval mode: the one to sample from."""
        return self.ema.copy_to(copy.deepcopy(self.network)).eval()

    @contextmanager
    def _dropout_keyed_by_step(self):
        """Dropout draws from torch's global generators: seed them by (seed, step), and give the caller's back afterwards."""
        if self.config.network.dropout == 0:
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(keyed_generator(self.config.seed, "dropout", self.step).initial_seed())
            yield


def check_data(config: TrainConfig, data: ImageSet) -> None:
    """Refuse images that don't fit the run, before anything starts."""
    if len(data) < config.batch_size:
        raise InputError(f"batch size {config.batch_size} is larger than the data set of {len(data)} images; lower --batch-size")
    if data.size != config.network.image_size or data.channels != config.network.channels:
        raise InputError(
            f"the network takes {config.network.image_size} px and {config.network.channels} channels, "
            f"the images have {data.size} px and {data.channels} channels"
        )
    if config.network.classes is not None and (data.labels is None or data.labels.max() >= config.network.classes):
        raise InputError(
            f"the network takes labels 0 .. {config.network.classes - 1}, the images have {'no' if data.labels is None else 'other'} labels"
        )
