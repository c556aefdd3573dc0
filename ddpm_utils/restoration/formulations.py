"""Chapter 06: four ways to make a conditional image model out of one U-Net, and what the network of each of them predicts.

The *source* y is the image with wrinkles, the *target* x_0 the retouched one, both (B, C, H, W) in [-1, 1]. Every form concatenates the
source to the network's input x_t, and every network has one more output channel: the logit of the change mask, its gaps closed.

- regression: one prediction from the source, in one step. The loss decides what it means (l1: the median, l2: the mean).
- palette: the target from pure noise, the source beside it (Saharia et al. 2021, 2111.05826).
- residual: the difference target - source from pure noise.
- resshift: the chain leads from the target to the source plus a little noise, and is walked back in a few steps (Yue et al. 2023,
  ResShift, 2307.12348, eq. 1 to 7).

Whatever a form's network predicts, `restore` turns it into a residual times a gate that is exactly 0 where the predicted mask is low.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_utils.choices import FORMS
from ddpm_utils.config import Restoration
from ddpm_utils.diffusion import DISTANCES, at, q_sample
from ddpm_utils.diffusion import target as prediction_target
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model, load_model
from ddpm_utils.sampling import ddim, make_denoiser, timesteps

RESIDUAL_SCALE = 0.1  # retouching changes a pixel by about this much (of -1 .. 1): the unit of predicted residuals
MASK_LOSS = 0.3  # weight of the mask's cross-entropy beside the image's loss
GATE = (0.1, 0.3)  # predicted probability below which a pixel is left alone, and above which it gets the whole residual
STEPS = dict(zip(FORMS, (1, 50, 10, 1)))  # sampling steps (NFE), unless asked otherwise


# --- a network's input and its target ---


def shift_fractions(T: int, kappa: float, power: float = 0.3, last: float = 0.999) -> Tensor:
    """eta_t, (T,) float64: the share of the way from target to source at each t, rising from near 0 to near 1.

    A geometric series in sqrt(eta), bent by `power` (ResShift, eq. 9 and 10); the first is so small that kappa sqrt(eta) is at most 0.04.
    """
    first = min(min(0.04 / kappa, 1.0) ** 2, 0.001)  # the square of a larger one can overflow
    bend = torch.linspace(0, 1, T, dtype=torch.float64) ** power  # (T,)
    return first * (last / first) ** bend


def x_t_of(task: Restoration, source: Tensor, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """x_t, the input at t of this form's network, beside the source. source, x0, eps: (B, C, H, W). t: (B,) int64."""
    if task.form == "regression":
        return source
    if task.form == "palette":
        return q_sample(task.noise_schedule(), x0, t, eps)
    if task.form == "residual":
        return q_sample(task.noise_schedule(), (x0 - source) / RESIDUAL_SCALE, t, eps)
    eta = at(shift_fractions(task.timesteps, task.kappa), t, x0)  # (B, 1, 1, 1)
    return x0 + eta * (source - x0) + task.kappa * eta.sqrt() * eps  # ResShift, eq. 2


def target_of(task: Restoration, source: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The training target of this form's network, given x_t, in its image channels: (B, C, H, W)."""
    residual = (x0 - source) / RESIDUAL_SCALE
    if task.form in ("regression", "resshift"):
        return residual
    clean = x0 if task.form == "palette" else residual
    return prediction_target(task.noise_schedule(), clean, x_t, t, eps, task.prediction)


def restoration_loss(network, task: Restoration, source: Tensor, x0: Tensor, mask: Tensor, *, t: Tensor, eps: Tensor) -> Tensor:
    """Loss of each pair, (B,): the distance of the prediction to its target, retouched pixels counting more, plus the mask's cross-entropy.

    network: called as network(x_t, t, condition=source). mask: (B, 1, H, W), 1 where the pair differs.
    """
    x_t = x_t_of(task, source, x0, t, eps)  # (B, C, H, W)
    target = target_of(task, source, x0, x_t, t, eps)  # (B, C, H, W)
    output = network(x_t, network_timesteps(task, t), condition=source).to(target.dtype)  # (B, C + 1, H, W)
    predicted, logit = output[:, :-1], output[:, -1:]
    region = closed_mask(mask)  # (B, 1, H, W)
    distance = DISTANCES[task.loss](predicted, target, reduction="none")
    weighted = distance * (1 + task.mask_weight * region)
    in_mask = F.binary_cross_entropy_with_logits(logit, region, reduction="none")
    return weighted.flatten(1).mean(1) + MASK_LOSS * in_mask.flatten(1).mean(1)


def closed_mask(mask: Tensor) -> Tensor:
    """The change mask (B, 1, H, W) with gaps of up to 6 pixels closed (morphology's closing), one pixel wider: the mask channel's target.

    A wrinkle's difference changes its sign across the fold, and is small there; a gate with stripes would leave their edges behind.
    """
    wide = F.max_pool2d(mask, 7, stride=1, padding=3)
    return -F.max_pool2d(-F.pad(wide, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def network_timesteps(task: Restoration, t: Tensor) -> Tensor:
    """The timesteps that the network is conditioned on: t, or zeros for regression, which has none."""
    return torch.zeros_like(t) if task.form == "regression" else t


# --- from a trained network to a retouched image ---


class RestorationStep(NamedTuple):
    """Like sampling.Step, in image space, with the predicted change mask."""

    t: int
    x: Tensor  # (B, C, H, W), the image after the step
    x0_hat: Tensor  # (B, C, H, W), the retouched image as predicted before it
    mask: Tensor  # (B, 1, H, W), probability that the retoucher worked here


class Restored(NamedTuple):
    residual: Tensor  # (B, C, H, W), to add to the source; exactly 0 where the gate is closed
    mask: Tensor  # (B, 1, H, W), probability that the retoucher worked here
    spread: Tensor  # (B, 1, H, W), standard deviation of the samples, mean over the channels; 0 if there is only one


def check_restorer(model: Model) -> None:
    """Refuse models that were not trained on pairs."""
    if not model.config.retouches:
        raise InputError("this model generates images from noise; retouching needs one that was trained on pairs (train --form resshift)")


def load_restorer(path: Path, device: str = "cpu") -> Model:
    """The model file at `path`, to the device; one that doesn't retouch is refused by its name."""
    model = load_model(path, device)
    try:
        check_restorer(model)
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
    return model


@torch.no_grad()
def restoration_steps(model: Model, source: Tensor, steps: int | None = None, seed: int = 0) -> Iterator[RestorationStep]:
    """The reverse process for source (B, C, H, W), H and W multiples of the network's, on its device; yields every step.

    steps: sampling steps, each one network evaluation (default: the form's own; regression has one whatever is asked).
    """
    check_restorer(model)
    task = model.config.task
    steps = STEPS[task.form] if steps is None else steps
    visited = timesteps(task.timesteps or 1, steps)  # refuses wrong numbers
    generator = torch.Generator().manual_seed(seed)
    last_mask = None

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal last_mask
        output = model.network(x_t, network_timesteps(task, t), condition=source)
        last_mask = output[:, -1:].sigmoid()
        return output[:, :-1]

    if task.form == "regression":
        x0_hat = source + RESIDUAL_SCALE * network(source, torch.zeros(len(source), dtype=torch.int64, device=source.device))
        yield RestorationStep(0, x0_hat, x0_hat, last_mask)
    elif task.form == "resshift":
        for t, x, x0_hat in _walk_back(task, network, source, visited, generator):
            yield RestorationStep(t, x, x0_hat, last_mask)
    else:
        offset, scale = (0, 1) if task.form == "palette" else (source, RESIDUAL_SCALE)
        schedule = task.noise_schedule()
        denoiser = make_denoiser(network, schedule, task.prediction, clip=task.form == "palette")
        for t, x, x0_hat in ddim(denoiser, _noise_like(source, generator), schedule, steps):
            yield RestorationStep(t, offset + scale * x, offset + scale * x0_hat, last_mask)


def _walk_back(task: Restoration, network, source: Tensor, visited: list[int], generator) -> Iterator[tuple]:
    """The anchored chain from source plus noise to the target: yields (t, x, x0_hat) for every step."""
    etas = shift_fractions(task.timesteps, task.kappa)
    x = source + task.kappa * etas[visited[0]].sqrt().to(source) * _noise_like(source, generator)
    for t, s in zip(visited, [*visited[1:], None]):
        x0_hat = source + RESIDUAL_SCALE * network(x, torch.full((len(x),), t, device=x.device))
        x0_hat = x0_hat.clamp(-1, 1)
        if s is None:
            x = x0_hat
        else:  # ResShift, eq. 6: q(x_s | x_t, x_0), for any s < t
            kept = (etas[s] / etas[t]).to(x)
            noise = task.kappa * (etas[s] * (1 - etas[s] / etas[t])).sqrt().to(x)
            x = kept * x + (1 - kept) * x0_hat + noise * _noise_like(x, generator)
        yield t, x, x0_hat


def _noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise, drawn on the CPU so that a seed means the same on every device."""
    return torch.randn(x.shape, generator=generator).to(x)


def gate(mask: Tensor) -> Tensor:
    """How much of the residual a pixel gets, by the predicted probability that it should change: 0, a ramp, 1."""
    low, high = GATE
    return ((mask - low) / (high - low)).clamp(0, 1)


@torch.no_grad()
def restore(model: Model, source: Tensor, steps: int | None = None, samples: int = 1, seed: int = 0) -> Restored:
    """What to add to source (B, C, H, W), of any H and W, on the model's device.

    samples: how many times to draw; the residual is their mean (regression draws nothing, so one will do), the spread their standard
    deviation. Pixels outside the gate get exactly 0, so that they stay bit-identical.
    """
    if samples < 1:
        raise InputError(f"samples must be at least 1, got {samples}")
    check_restorer(model)
    height, width = source.shape[-2:]
    padded = pad_to_multiple(source, model.config.network.multiple)
    residuals, masks = [], []
    for k in range(samples):
        for step in restoration_steps(model, padded, steps, seed + k):
            last = step
        residuals.append(last.x - padded)
        masks.append(last.mask)
    drawn = torch.stack(residuals)[..., :height, :width]  # (samples, B, C, H, W)
    mask = torch.stack(masks).mean(0)[..., :height, :width]  # (B, 1, H, W)
    spread = drawn.std(0, correction=0).mean(1, keepdim=True)  # (B, 1, H, W)
    return Restored(gate(mask) * drawn.mean(0), mask, spread)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """x (B, C, H, W) with its border repeated to the right and below until H and W are multiples."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
