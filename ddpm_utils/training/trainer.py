"""Chapter 04: training, one step after the other. What a step trains on is in batches.py, what is trained in tasks/.

Equations: Ho et al. 2020 (2006.11239), algorithm 1.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.ema import EMA, power_decay, standard_decay
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.device import Execution
from ddpm_utils.runtime.memory import keep_freed_memory
from ddpm_utils.runtime.rng import keyed_generator
from ddpm_utils.training.batches import Ahead, Batch, draw_batch
from ddpm_utils.training.task import Task
from ddpm_utils.unet import Encoder


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate of step `step` (from 0) out of `total`: a line up over the warm-up, then constant or half a cosine down."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.lr_decay == "constant":
        return config.lr * rise
    done = max(0, step - config.warmup) / max(1, total - config.warmup)
    return config.lr * rise * 0.5 * (1 + math.cos(math.pi * done))


class StepResult(NamedTuple):
    """What a step did, for logs and notebooks. With several processes t and losses are this process's share."""

    step: int  # steps done, counting this one
    t: Tensor  # (b,) int64 on the CPU
    losses: Tensor  # (b,) on the training device
    lr: float
    grad_norm: Tensor  # before clipping


class Trainer:
    """Network, averages, optimizer and step counter of one run of a task (training/task.py).

    start: weights to begin with instead of random ones, by their names in the network.
    """

    def __init__(self, task: Task, data: ImageSet, execution: Execution | None = None, start: dict[str, Tensor] | None = None):
        execution, config = execution or Execution(), task.config
        check_data(task, data)
        if config.batch_size % (parts := execution.world_size * execution.accumulate):
            raise InputError(f"batch size must be a multiple of {parts} (processes times micro-batches), got {config.batch_size}")
        self.task, self.config, self.data, self.execution = task, config, data, execution
        if execution.device_type == "cpu":
            keep_freed_memory()
        with torch.random.fork_rng(devices=[]):  # the caller's global generator stays as it was
            torch.manual_seed(keyed_generator(config.seed, "weights", 0).initial_seed())
            self.network = task.build(execution)
        if start is not None:
            self.network.load_state_dict(start)
        for module in self.network.modules():
            if isinstance(module, Encoder):
                module.checkpoint_blocks = execution.checkpoint_blocks
        self.network.to(execution.device, memory_format=execution.memory_format)
        self.parallel = DistributedDataParallel(self.network) if execution.world_size > 1 else None
        self.forward = torch.compile(self.parallel or self.network) if execution.compiled else self.parallel or self.network
        rules = [power_decay(sigma, config.ema_every) for sigma in config.ema_sigmas]
        rules = rules or [standard_decay(config.ema_decay, config.ema_start, config.ema_every)]
        self.averages = [EMA(self.network, rule, config.ema_every) for rule in rules]  # the first is the one to sample from
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
        self.optimizer = kind(self.network.parameters(), lr=config.lr, fused=True)
        self.scaler = torch.amp.GradScaler(execution.device_type, enabled=execution.precision == "fp16")
        # on a CPU, which has nothing else to wait for, a thread would only take turns with the network's
        self.parts_of = Ahead(self._drawn) if execution.device_type == "cuda" else self._drawn
        self.step = 0

    @cached_property
    def digest(self) -> str:
        """Recognises what the run is trained on."""
        return self.task.digest(self.data)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the data set; the images left over rotate, because each epoch has its own order."""
        return len(self.data) // self.config.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    def train_step(self) -> StepResult:
        """One step of Ho's algorithm 1: noise a batch, predict, follow the gradient, move the averages."""
        parts = self.parts_of(self.step)
        lr = learning_rate(self.config, self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        losses = torch.cat([self._backward(part, k, last=k == len(parts) - 1) for k, part in enumerate(parts)])
        self.scaler.unscale_(self.optimizer)
        grad_norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        for average in self.averages:
            average.update(self.network, self.step)
        return StepResult(self.step, torch.cat([part.t for part in parts]), losses, lr, grad_norm)

    def run(self, until: int | None = None) -> Iterator[StepResult]:
        """Train up to step `until` (default: to the end), yielding every step."""
        while self.step < (self.total_steps if until is None else until):
            yield self.train_step()

    @torch.no_grad()
    def loss_ahead(self, nothing: bool = False) -> float:
        """The mean loss that the network, as it is now, has on the first micro-batch of the next step. nothing: what all zeros have."""
        batch = draw_batch(self.task, self.data, self.step, self.execution.device)
        part = self._placed(rows_of(batch, slice(0, len(batch.t) // (self.execution.world_size * self.execution.accumulate))))
        self.network.eval()

        def predict(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
            with self.execution.autocast():
                predicted = self.task.predict(self.network, x_t, t, **conditions)
            return torch.zeros_like(predicted) if nothing else predicted

        return self.task.losses(predict, part).mean().item()

    def average_network(self, index: int = 0) -> nn.Module:
        """A copy of the network with averaged weights, in eval mode: the one to sample from."""
        return self.averages[index].copy_to(copy.deepcopy(self.network)).eval()

    def _drawn(self, step: int) -> list[Batch]:
        """This process's micro-batches of a step, staged for the device."""
        parts = self._micro_batches(draw_batch(self.task, self.data, step, self.execution.device))
        return [Batch(*(None if value is None else self.execution.stage(value) for value in part)) for part in parts]

    def _micro_batches(self, batch: Batch) -> list[Batch]:
        """This process's slice of the batch, in as many equal parts as gradients are accumulated over."""
        size = len(batch.t) // (self.execution.world_size * self.execution.accumulate)
        first = self.execution.rank * self.execution.accumulate
        slices = [slice(k * size, (k + 1) * size) for k in range(first, first + self.execution.accumulate)]
        return [rows_of(batch, s) for s in slices]

    def _placed(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return Batch(*(None if value is None else self.execution.place(value) for value in batch))

    def _backward(self, part: Batch, k: int, last: bool) -> Tensor:
        """Add one micro-batch's share of the gradient; returns its losses (b,). Processes exchange gradients after the last."""
        batch = self._placed(part)
        self.network.train()

        def predict(x_t: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
            with self.execution.autocast():
                return self.task.predict(self.forward, x_t, t, **conditions)

        exchange_later = self.parallel.no_sync() if self.parallel is not None and not last else nullcontext()
        with exchange_later, self._dropout_keyed_by_step(k):
            losses = self.task.losses(predict, batch)
            self.scaler.scale(losses.mean() / self.execution.accumulate).backward()
        return losses.detach()

    @contextmanager
    def _dropout_keyed_by_step(self, k: int) -> Iterator[None]:
        """Dropout draws from torch's global generators: seed them by (seed, step, part), and give the caller's back afterwards."""
        if self.config.network.dropout == 0:
            yield
            return
        device = self.execution.device
        with torch.random.fork_rng(devices=[device] if self.execution.device_type == "cuda" else []):
            part = f"dropout {self.execution.rank} {k}"
            torch.manual_seed(keyed_generator(self.config.seed, part, self.step).initial_seed())
            yield


def rows_of(batch: Batch, rows: slice) -> Batch:
    """A part of a batch."""
    return Batch(*(None if value is None else value[rows] for value in batch))


def check_data(task: Task, data: ImageSet) -> None:
    """Refuse images that don't fit the run, before anything starts."""
    config = task.config
    if len(data) < config.batch_size:
        raise InputError(f"batch size {config.batch_size} is larger than the data set of {len(data)} images; lower --batch-size")
    if data.size != config.network.image_size or data.channels != config.network.channels:
        raise InputError(
            f"the network takes {config.network.image_size} px and {config.network.channels} channels, "
            f"the images have {data.size} px and {data.channels} channels"
        )
    task.check(data)
    if config.network.classes is not None and (data.labels is None or data.labels.max() >= config.network.classes):
        raise InputError(
            f"the network takes labels 0 .. {config.network.classes - 1}, the images have {'no' if data.labels is None else 'other'} labels"
        )
