"""What the trials of published mistakes share: one small network, one recipe, one way to judge what comes out.

A trial trains this network on digits of 14x14 pixels with one line changed, beside `right()`, the same run with no line changed: the same first
weights, the same images, noises and timesteps in the same order. Networks lie in out/mistakes once they are trained.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from ddpm_utils.classifier import load_classifier
from ddpm_utils.data.images import to_float, to_uint8
from ddpm_utils.data.sources import load_images
from ddpm_utils.diffusion import by_quarter, q_sample
from ddpm_utils.evaluation.distribution_metrics import label_agreement
from ddpm_utils.evaluation.features import classifier_features
from ddpm_utils.figures import sample_grid
from ddpm_utils.models import shipped
from ddpm_utils.sampling import ddpm, make_denoiser, static_threshold
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

KEPT = Path(__file__).parents[3] / "out" / "mistakes"
SIDE = 14  # pixels: MNIST's 28 halved, so that a minute of one core is enough to learn digits that can be read
NETWORK = UNetConfig(image_size=SIDE, channels=1, width=16, multipliers=(1, 2), blocks=1, attention=(7,), groups=8, classes=10)
LINEAR = NoiseSchedule.linear(1000)
STEPS, BATCH, RATE, WARMUP, DECAY = 1200, 32, 3e-3, 50, 0.99
LABELS = torch.arange(100) % 10
NULL = 10


@dataclass(frozen=True)
class Mistake:
    """One mistake: the chapter that shows it, and the trial that shows what happens."""

    name: str  # of its picture, and its row
    chapter: str
    what: str
    trial: Callable[[], "Seen"]


@dataclass(frozen=True)
class Seen:
    """What a trial gave: a sentence of figures, and a picture if there is something to see."""

    said: str
    picture: Figure | None = None


@dataclass
class Trained:
    """The average of a run's weights, as a network, and its losses step by step."""

    network: nn.Module
    losses: list[float]


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (4500, 1, 14, 14) and labels to train on, and 500 of each that are held out."""
    data = load_images("mnist5k")
    order = np.random.default_rng(0).permutation(len(data))
    x, y = F.avg_pool2d(to_float(data.images[order]), 2), torch.from_numpy(np.array(data.labels[order]))
    return x[500:], y[500:], x[:500], y[:500]


def fresh() -> UNet:
    """The network before training, the same for every trial."""
    torch.manual_seed(0)
    return UNet(NETWORK).to(memory_format=torch.channels_last)


def forward(x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t as it should be, (B, 1, 14, 14)."""
    return q_sample(LINEAR, x0, t, eps)


def usual_rate(step: int, steps: int = STEPS) -> float:
    """Warm-up, then half a cosine."""
    return RATE * min(1, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def same(values, *_):
    """What a hook is where a trial changes nothing."""
    return values


def train(
    name: str,
    network: nn.Module | None = None,
    *,
    corrupt: Callable[[Tensor, Tensor, Tensor], Tensor] = forward,  # (x0, t, eps) -> x_t
    tell: Callable[[Tensor], Tensor] = same,  # the t that the network hears
    draw_t: Callable[[Tensor], Tensor] = same,  # what becomes of t, uniform in 0 .. T - 1
    labels: Callable[[Tensor, Tensor, int], Tensor] | None = None,  # (label, its coin, step) -> label, in place of a tenth dropped
    seed_of: Callable[[int], int] = same,  # the key of a step's draws
    rate: Callable[[int], float] | None = None,
    before: Callable[[int, nn.Module, torch.optim.Optimizer], None] = lambda *_: None,
    T: int = 1000,
    batch: int = BATCH,
    steps: int = STEPS,
) -> Trained:
    """Train on eps with the plain loss, every draw a function of its step; resumed from out/mistakes if it was done before."""
    network = fresh() if network is None else network
    file = KEPT / f"{name}.pt"
    if file.is_file():
        kept = torch.load(file, weights_only=True)
        network.load_state_dict(kept["weights"])
        return Trained(network.eval(), kept["losses"])
    images, classes, _, _ = digits()
    average = {key: value.detach().clone() for key, value in network.state_dict().items()}
    optimizer, losses = torch.optim.AdamW(network.parameters(), RATE), []
    network.train()
    for step in range(steps):
        g = torch.Generator().manual_seed(seed_of(step))
        rows = torch.randint(0, len(images), (batch,), generator=g)
        t, coin = torch.randint(0, T, (batch,), generator=g), torch.rand(batch, generator=g)
        eps = torch.randn(batch, 1, SIDE, SIDE, generator=g)
        t = draw_t(t)
        label = classes[rows].masked_fill(coin < 0.1, NULL) if labels is None else labels(classes[rows], coin, step)
        optimizer.param_groups[0]["lr"] = usual_rate(step, steps) if rate is None else rate(step)
        before(step, network, optimizer)
        loss = (network(corrupt(images[rows], t, eps), tell(t), label=label) - eps).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        keep = min(DECAY, (2 + step) / (11 + step))
        for key, value in network.state_dict().items():
            average[key] = average[key].lerp(value.detach(), 1 - keep) if value.is_floating_point() else value
    network.load_state_dict(average)
    KEPT.mkdir(parents=True, exist_ok=True)
    torch.save({"weights": network.state_dict(), "losses": losses}, file)
    return Trained(network.eval(), losses)


def right() -> Trained:
    """The run without a mistake."""
    return train("right")


@torch.no_grad()
def held_out(network: nn.Module, tell: Callable[[Tensor], Tensor] = same) -> list[float]:
    """The eps loss on held-out digits with the right x_t: in all, then by quarter of t, least noise first."""
    _, _, x0, label = digits()
    g = torch.Generator().manual_seed(1)
    t, eps = torch.randint(0, 1000, (len(x0),), generator=g), torch.randn(x0.shape, generator=g)
    losses = (network(forward(x0, t, eps), tell(t), label=label) - eps).square().flatten(1).mean(1)
    return [losses.mean().item(), *by_quarter(losses, t, 1000)]


def denoiser_of(network: nn.Module, schedule: NoiseSchedule = LINEAR, tell=same, label: Tensor = LABELS):
    """x0_hat of a network trained on eps, clipped to [-1, 1]."""
    heard = lambda x, t, **of: network(x, tell(t), **of)  # noqa: E731
    return static_threshold(make_denoiser(_Module(heard), schedule, "eps", clip=False, label=label))


class _Module(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arguments, **named):
        return self.function(*arguments, **named)


def noise(n: int = 100, seed: int = 0) -> Tensor:
    """x_T, (n, 1, 14, 14)."""
    return torch.randn(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def draw(network: nn.Module, schedule: NoiseSchedule = LINEAR, tell=same, steps: int = 50) -> Tensor:
    """A hundred samples by DDPM, ten of each digit: (100, 1, 14, 14)."""
    network.eval()
    *_, last = ddpm(denoiser_of(network, schedule, tell), noise(), schedule, steps=steps, generator=torch.Generator().manual_seed(1))
    return last.x


@cache
def judge():
    """The classifier that reads samples; it guides nothing here."""
    return load_classifier(shipped("digits-judge"))


def read(x: Tensor, labels: Tensor = LABELS) -> int:
    """How many of 100 samples the judge reads as the digit that was asked for."""
    large = F.interpolate(x, scale_factor=28 // x.shape[-1], mode="bilinear").clamp(-1, 1) if x.shape[-1] < 28 else x
    return round(100 * label_agreement(classifier_features(judge(), to_uint8(large))[1], labels.numpy()).share)


def beside(rows: dict[str, Tensor]) -> Figure:
    """Twenty samples a row, each row with its name."""
    return sample_grid(np.concatenate([to_uint8(x[:20]) for x in rows.values()]), 20, tuple(rows))


def compared(wrong: nn.Module, tell=same, schedule: NoiseSchedule = LINEAR, loss: bool = True) -> Seen:
    """The usual end of a trial: losses, samples and their reading beside those of the right run."""
    fine, mine = draw(right().network), draw(wrong, schedule, tell)
    said = f"the judge reads {read(mine)} of 100 samples as asked (right run: {read(fine)}); "
    said += f"their mean is {mean_of(mine)} ({mean_of(fine)}; digits: {mean_of(digits()[2])})"
    if loss:
        said = f"held-out loss {quarters(held_out(wrong, tell))} (right run: {quarters(held_out(right().network))}); {said}"
    return Seen(said, beside({"right": fine, "mistake": mine}))


def mean_of(x: Tensor) -> str:
    """The mean pixel."""
    return f"{x.mean():+.2f}"


def quarters(losses: list[float]) -> str:
    """A loss and its quarters, in words."""
    return f"{losses[0]:.4f}, by quarter {', '.join(f'{q:.3f}' for q in losses[1:])}"
