"""Chapter 07: guidance, as functions from denoisers to a denoiser.

They mix unclipped predictions: clip or threshold once, around the whole. Each works with every sampler, and around or inside each other.
Scales have one meaning: 0 is the weaker prediction (no label, no classifier, the bad model), 1 the better one, above 1 goes further that way.

Equations: Ho & Salimans 2022 (2207.12598); Dhariwal & Nichol 2021 (2105.05233); Kynkaanniemi et al. 2024 (2404.07724) for the interval;
Lin et al. 2023 (2305.08891) for the rescaling; Karras et al. 2024 (2406.02507) for a bad model as guide.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm_utils.diffusion import at
from ddpm_utils.errors import InputError
from ddpm_utils.sampling import Denoiser, make_denoiser, timesteps
from ddpm_utils.schedules import NoiseSchedule

LogProb = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> (B, classes), log p(label | x_t)

# --- without a classifier ---


def classifier_free(conditional: Denoiser, unconditional: Denoiser, scale: float, rescale: float = 0.0) -> Denoiser:
    """Away from what fits any label, towards what fits this one: u + scale (c - u) (Ho & Salimans, eq. 6; scale = 1 + w).

    Scale 1 is the conditional denoiser, 0 the unconditional one, above 1 exaggerates the label. Mixing x0_hat or eps is the same,
    because one is an affine function of the other at a given x_t. Clip afterwards, not before. rescale: see `mix`.
    """
    check_scale(scale, rescale)
    if scale == 1:
        return conditional
    if scale == 0 and rescale == 0:
        return unconditional
    return lambda x_t, t: mix(conditional(x_t, t), unconditional(x_t, t), scale, rescale)


def classifier_free_batched(
    network: nn.Module, schedule: NoiseSchedule, prediction: str, label: Tensor, scale: float, rescale: float = 0.0
) -> Denoiser:
    """`classifier_free` of a network with and without its label (B,), in one pass over 2B images instead of two over B. Not clipped.

    network: its `config.null_label` stands for "no label". The result is the same but for rounding.
    """
    check_scale(scale, rescale)
    no_label = torch.full_like(label, network.config.null_label)
    if scale == 1:
        return make_denoiser(network, schedule, prediction, clip=False, label=label)
    if scale == 0 and rescale == 0:
        return make_denoiser(network, schedule, prediction, clip=False, label=no_label)
    both = make_denoiser(network, schedule, prediction, clip=False, label=torch.cat([label, no_label]))

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = both(torch.cat([x_t, x_t]), torch.cat([t, t])).chunk(2)
        return mix(conditional, unconditional, scale, rescale)

    return guided


def mix(conditional: Tensor, unconditional: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """u + scale (c - u), with its contrast brought back towards that of c by the share `rescale` (Lin et al., eq. 15 and 16).

    c, u: (B, C, H, W). A large scale stretches the values of an image; rescale 1 gives each its standard deviation in c again, 0 leaves it,
    0.7 is usual. Lin et al. do this to the network's output, here it is done to x0_hat, whatever the network predicts.
    """
    mixed = unconditional + scale * (conditional - unconditional)
    if rescale == 0:
        return mixed
    axes = tuple(range(1, mixed.ndim))
    ratio = conditional.std(axes, keepdim=True) / mixed.std(axes, keepdim=True)
    return rescale * ratio * mixed + (1 - rescale) * mixed


def autoguided(good: Denoiser, bad: Denoiser, scale: float) -> Denoiser:
    """Away from the mistakes that a worse model of the same images makes more of: bad + scale (good - bad) (Karras et al. 2024).

    The same sum as `classifier_free`, but both are given the label (or neither is), so that images get better and not only more typical.
    bad: the same network after a fraction of its training, or a smaller one. Scale 1 is the good model, 1.5 to 3 are usual.
    """
    return classifier_free(good, bad, scale)


def within_interval(guided: Denoiser, plain: Denoiser, low: int, high: int) -> Denoiser:
    """Guided where low <= t <= high, plain elsewhere, at the price of the plain one (Kynkaanniemi et al.).

    At high t guidance throws away variety, at low t it changes next to nothing. Both ends in timesteps, 0-based.
    """
    if not 0 <= low <= high:
        raise InputError(f"the guidance interval must be two timesteps, the lower first, got {low} and {high}")

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        inside = (t >= low) & (t <= high)  # (B,)
        if inside.all():
            return guided(x_t, t)
        if not inside.any():
            return plain(x_t, t)
        return torch.where(inside.view(-1, *[1] * (x_t.ndim - 1)), guided(x_t, t), plain(x_t, t))

    return denoiser


# --- with a classifier of noisy images ---


def classifier_guided(denoiser: Denoiser, log_prob: LogProb, label: Tensor, schedule: NoiseSchedule, scale: float) -> Denoiser:
    """Towards images that a classifier takes for the label: x0_hat + scale (1 - ab) / sqrt(ab) grad log p(label | x_t).

    The form for scores, which every sampler can use: eps - scale sqrt(1 - ab) grad (Dhariwal & Nichol, algorithm 2), as a prediction of x_0.
    log_prob: (x_t, t) -> (B, classes), differentiable in x_t. label: (B,) int64. With the unconditional denoiser and an exact
    classifier it is `classifier_free` of that scale. Raises InputError for a schedule that ends in pure noise: sqrt(ab) is 0 there.
    Where it is nearly 0, as at the first steps of the cosine schedule, a trained classifier's errors become thousands of times larger:
    leave those steps to `within_interval`.
    """
    if schedule.has_zero_terminal_snr:
        raise InputError("classifier guidance can't be used with a zero-terminal-SNR schedule, it would divide by 0 at T-1")
    return _pushed(denoiser, log_prob, label, (1 - schedule.alpha_bar) / schedule.alpha_bar.sqrt(), scale)


def classifier_mean_shifted(
    denoiser: Denoiser,
    log_prob: LogProb,
    label: Tensor,
    schedule: NoiseSchedule,
    scale: float,
    steps: int | None = None,
    spacing: str = "trailing",
) -> Denoiser:
    """The other form of classifier guidance, only for `ddpm` with its small variance and these steps: mean + scale variance grad.

    (Dhariwal & Nichol, algorithm 1.) The variance over the weight of x_0 in the mean of eq. 7 of Ho is (1 - ab') / sqrt(ab'), with ab' where the
    step leads to: the same push as in `classifier_guided`, but with the next step's noise, so that the last step isn't guided. With all
    timesteps the two agree, with few this one guides too little. (DDPM and DDIM differ under guidance in either form.)
    """
    visited = timesteps(schedule.T, steps, spacing)
    ab_next = torch.ones_like(schedule.alpha_bar)
    ab_next[visited[:-1]] = schedule.alpha_bar[visited[1:]]
    return _pushed(denoiser, log_prob, label, (1 - ab_next) / ab_next.sqrt(), scale)


def _pushed(denoiser: Denoiser, log_prob: LogProb, label: Tensor, strength: Tensor, scale: float) -> Denoiser:
    """x0_hat + scale strength[t] grad log p(label | x_t)."""
    check_scale(scale)
    if scale == 0:
        return denoiser

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        push = at(strength, t, x_t) * label_gradient(log_prob, x_t, t, label)
        return denoiser(x_t, t) + scale * push

    return guided


def label_gradient(log_prob: LogProb, x_t: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """grad of log p(label | x_t) by x_t, (B, C, H, W): of the sum over the batch, since no image decides another's label."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        picked = log_prob(x, t).gather(1, label[:, None])  # (B, 1)
        (gradient,) = torch.autograd.grad(picked.sum(), x)
    return gradient


def check_scale(scale: float, rescale: float = 0.0) -> None:
    """Refuse scales that are no numbers, and shares outside [0, 1]."""
    if not math.isfinite(scale):
        raise InputError(f"guidance scale must be a finite number, 1 to 5 is usual; got {scale}")
    if not 0 <= rescale <= 1:
        raise InputError(f"guidance rescale must lie in [0, 1], 0.7 is usual; got {rescale}")
