"""Chapter 07: training a classifier of noisy images."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_utils.classifier import BATCH, NoisyClassifier
from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.diffusion import by_quarter, q_sample
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.rng import keyed_generator
from ddpm_utils.training.batches import draw_batch
from ddpm_utils.training.trainer import check_data, learning_rate


class ClassifierStep(NamedTuple):
    step: int  # steps done, counting this one
    t: Tensor  # (B,) int64 on the CPU
    losses: Tensor  # (B,) cross entropy in nats
    correct: Tensor  # (B,) float, 1 where the likeliest label was the right one
    lr: float


def new_classifier(config: TrainConfig) -> NoisyClassifier:
    """An untrained classifier whose weights depend on the seed alone."""
    if config.network.dropout:
        raise InputError(f"classifiers are trained without dropout, it must be 0, got {config.network.dropout}")
    with torch.random.fork_rng(devices=[]):  # the caller's global generator stays as it was
        torch.manual_seed(keyed_generator(config.seed, "weights", 0).initial_seed())
        return NoisyClassifier(config.network)


def train_steps(network: NoisyClassifier, config: TrainConfig, data: ImageSet) -> Iterator[ClassifierStep]:
    """Train `network`, on its device, for all epochs of the run; yields every step. No label may be dropped: label_dropout=0."""
    check_data(config, data)
    if config.label_dropout:
        raise InputError(f"a classifier needs every label, label_dropout must be 0, got {config.label_dropout}")
    schedule, device = config.noise_schedule(), network.head.weight.device
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    optimizer = kind(network.parameters(), lr=config.lr)
    total = config.epochs * (len(data) // config.batch_size)
    network.train()
    for step in range(total):
        batch = draw_batch(config, data, step)
        x_t = q_sample(schedule, batch.x0, batch.t, batch.eps).to(device)
        t, label = batch.t.to(device), batch.label.to(device)
        lr = learning_rate(config, step, total)
        for group in optimizer.param_groups:
            group["lr"] = lr
        logits = network(x_t, t)
        losses = F.cross_entropy(logits, label, reduction="none")
        optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        yield ClassifierStep(step + 1, batch.t, losses.detach(), (logits.argmax(1) == label).float(), lr)


def hold_out(data: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """(images to learn from, images to test on), the latter `share` of all, drawn by the seed."""
    if not 0 < share < 1:
        raise InputError(f"the share of images that is held out must lie between 0 and 1, 0.1 is usual; got {share}")
    order = torch.randperm(len(data), generator=keyed_generator(seed, "hold out", 0)).numpy()
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise InputError(f"a share of {share} holds out {count} of {len(data)} images; at least one must be on each side")
    parts = (order[count:], order[:count])
    learn, test = (replace(data, images=data.images[rows], labels=None if data.labels is None else data.labels[rows]) for rows in parts)
    return learn, test


@torch.no_grad()
def accuracy_by_quarter(network: NoisyClassifier, config: TrainConfig, data: ImageSet, rounds: int = 4) -> list[float]:
    """Share of right answers about noisy images in each quarter of 0 .. T-1, from least to most noise.

    Every image is seen `rounds` times in each quarter, at random timesteps of it, with noise that depends on the seed alone.
    """
    network.eval()
    schedule, device, T = config.noise_schedule(), network.head.weight.device, config.timesteps
    if T < 4:
        raise InputError(f"accuracy by quarter of t needs at least 4 timesteps, got {T}")
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
