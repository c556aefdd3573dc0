"""Chapter 02: the forward process, what a network may predict, the losses, and the bound that they come from.

Images are (B, C, H, W) in [-1, 1]; a single image (C, H, W) goes with one whole number t. Timesteps are 0-based.
Coefficients are computed in float64 and cast once to the dtype of the image.

Equations: Ho et al. 2020 (2006.11239); Salimans & Ho 2022 (2202.00512) for v; Hang et al. 2023 (2303.09556) for min-SNR;
Liu et al. 2022 (2209.03003) for flow.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_utils.choices import LOSSES, PREDICTIONS, VARIANCES, WEIGHTINGS
from ddpm_utils.errors import InputError
from ddpm_utils.schedules import NoiseSchedule

DISTANCES: dict[str, Callable[..., Tensor]] = dict(zip(LOSSES, (F.mse_loss, F.l1_loss, F.huber_loss), strict=True))


def at(constants: Tensor, t: int | Tensor, like: Tensor) -> Tensor:
    """constants[t] in the dtype and on the device of `like`, shaped to multiply it: () or (B, 1, 1, 1)."""
    # not blocking: a GPU that is waited for here would stand still several times in each training step
    values = constants.to(device=like.device, dtype=like.dtype, non_blocking=like.is_cuda)[t]
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values


# --- the forward process and its posterior ---


def q_sample(schedule: NoiseSchedule, x0: Tensor, t: int | Tensor, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho, eq. 4): t steps of noise in one.

    x0: (B, C, H, W) with t (B,), or any shape with one whole number t in 0 .. T-1. eps: standard normal, shape of x0.
    Returns x_t with the shape and dtype of x0. Raises InputError where t lies outside the schedule.
    """
    check_timesteps(schedule, t)
    ab = schedule.alpha_bar
    return at(ab.sqrt(), t, x0) * x0 + at((1 - ab).sqrt(), t, x0) * eps


def posterior_mean(schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
    """Mean of q(x_{t-1} | x_t, x_0) (Ho, eq. 7): where one step back leads if x_0 is known. Shape of x_t."""
    return at(schedule.posterior_mean_coef_x0, t, x_t) * x0 + at(schedule.posterior_mean_coef_xt, t, x_t) * x_t


def model_variance(schedule: NoiseSchedule, variance: str) -> Tensor:
    """Variance of the reverse step p(x_{t-1} | x_t), (T,) float64: "small" is beta~_t, "large" is beta_t (Ho, section 3.2).

    Small is right if the data were one point, large if they were N(0, I). Index 0 holds the value of beta~_1, which only
    the likelihood of the last step uses; samplers add no noise there.
    """
    if variance not in VARIANCES:
        raise InputError(f"variance must be one of {', '.join(VARIANCES)}, got {variance!r}")
    rest = schedule.posterior_variance if variance == "small" else schedule.betas
    return torch.cat([schedule.posterior_variance[1:2], rest[1:]])


def check_timesteps(schedule: NoiseSchedule, t: int | Tensor) -> None:
    """Refuse timesteps outside 0 .. T-1 and fractional ones: an index slip would wrap round and go unnoticed.

    Timesteps that already lie on a GPU are trusted: looking at them would stall it at every training step.
    """
    if isinstance(t, Tensor) and t.is_floating_point():
        raise InputError(f"t must hold whole numbers (int64), got dtype {t.dtype}")
    if isinstance(t, Tensor) and t.device.type != "cpu":
        return
    low, high = (t.min().item(), t.max().item()) if isinstance(t, Tensor) else (t, t)
    if low < 0 or high >= schedule.T:
        raise InputError(f"t must lie in 0 .. {schedule.T - 1} for T={schedule.T}, got values from {low} to {high}")


# --- five things a network may predict, each of which gives the others ---


def to_x0(schedule: NoiseSchedule, x_t: Tensor, t: int | Tensor, output: Tensor, prediction: str) -> Tensor:
    """The clean image that a network's output stands for. Shapes as x_t; prediction in {"eps", "x0", "v", "mean", "flow"}.

    "mean" divides by the weight of x_0 in the posterior mean, 1e-4 at high t: exact in float64, rough in float32.
    """
    check_prediction(schedule, prediction)
    ab = schedule.alpha_bar
    if prediction == "x0":
        return output
    if prediction == "eps":  # Ho, eq. 4 solved for x_0
        return (x_t - at((1 - ab).sqrt(), t, x_t) * output) / at(ab.sqrt(), t, x_t)
    if prediction == "v":  # Salimans & Ho, appendix D
        return at(ab.sqrt(), t, x_t) * x_t - at((1 - ab).sqrt(), t, x_t) * output
    if prediction == "flow":  # x_t = (sqrt(ab) + sqrt(1 - ab)) x_0 + sqrt(1 - ab) (eps - x_0)
        return (x_t - at((1 - ab).sqrt(), t, x_t) * output) / at(ab.sqrt() + (1 - ab).sqrt(), t, x_t)
    xt_part = at(schedule.posterior_mean_coef_xt, t, x_t) * x_t  # Ho, eq. 7 solved for x_0
    return (output - xt_part) / at(schedule.posterior_mean_coef_x0, t, x_t)


def to_eps(schedule: NoiseSchedule, x_t: Tensor, t: int | Tensor, output: Tensor, prediction: str) -> Tensor:
    """The noise that a network's output stands for. Shapes as x_t; prediction in {"eps", "x0", "v", "mean", "flow"}."""
    check_prediction(schedule, prediction)
    ab = schedule.alpha_bar
    if prediction == "eps":
        return output
    if prediction == "v":
        return at((1 - ab).sqrt(), t, x_t) * x_t + at(ab.sqrt(), t, x_t) * output
    if prediction == "flow":  # eps = x_0 + (eps - x_0)
        return (x_t + at(ab.sqrt(), t, x_t) * output) / at(ab.sqrt() + (1 - ab).sqrt(), t, x_t)
    x0 = to_x0(schedule, x_t, t, output, prediction)
    return (x_t - at(ab.sqrt(), t, x_t) * x0) / at((1 - ab).sqrt(), t, x_t)


def target(schedule: NoiseSchedule, x0: Tensor, x_t: Tensor, t: int | Tensor, eps: Tensor, prediction: str) -> Tensor:
    """What a perfect network would output for x_t, made from x_0 and eps: the inverse of `to_x0` and `to_eps`."""
    check_prediction(schedule, prediction)
    ab = schedule.alpha_bar
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x0
    if prediction == "v":  # v = sqrt(ab) eps - sqrt(1 - ab) x_0
        return at(ab.sqrt(), t, x0) * eps - at((1 - ab).sqrt(), t, x0) * x0
    if prediction == "flow":  # the velocity of the straight path (1 - s) x_0 + s eps (Liu et al., eq. 1), whatever the schedule
        return eps - x0
    return posterior_mean(schedule, x0, x_t, t)


def check_prediction(schedule: NoiseSchedule, prediction: str) -> None:
    """Refuse unknown predictions, and eps where the last step holds no signal."""
    if prediction not in PREDICTIONS:
        raise InputError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {prediction!r}")
    if prediction == "eps" and schedule.has_zero_terminal_snr:
        raise InputError("prediction 'eps' can't be used with a zero-terminal-SNR schedule, which divides by 0 at T-1; use 'v' or 'x0'")


# --- the losses ---


def training_loss(
    network,
    schedule: NoiseSchedule,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    prediction: str = "eps",
    loss: str = "l2",
    weighting: str = "plain",
    **conditions: Tensor,
) -> Tensor:
    """Loss of each image, (B,): distance between the network's prediction and its target (Ho, eq. 14; algorithm 1).

    network: called as network(x_t, t, **conditions). x0, eps: (B, C, H, W). t: (B,) int64.
    loss: "l2", "l1" or "huber" (delta 1), the mean over an image's values. weighting: "plain", or "min-snr" with gamma 5.
    Take `.mean()` to train; `by_quarter` reads it by noise level. The sum is taken in float32 also under autocast.
    """
    if loss not in LOSSES:
        raise InputError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    x_t = q_sample(schedule, x0, t, eps)  # (B, C, H, W)
    truth = target(schedule, x0, x_t, t, eps, prediction)  # (B, C, H, W)
    output = network(x_t, t, **conditions).to(truth.dtype)  # (B, C, H, W)
    per_image = DISTANCES[loss](output, truth, reduction="none").flatten(1).mean(1)  # (B,)
    return per_image * at(loss_weights(schedule, prediction, weighting), t, per_image)


def loss_weights(schedule: NoiseSchedule, prediction: str, weighting: str, gamma: float = 5.0) -> Tensor:
    """Weight of the loss at each t, (T,) float64: 1, or min-SNR (Hang et al., eq. 9): min(SNR, gamma) seen as a loss on x_0.

    The squared error of each prediction is that of x_0 times a factor, which divides the weight: SNR for eps, SNR + 1 for v,
    1 for x0, the squared weight of x_0 for the posterior mean, (sqrt(SNR) + 1)^2 for flow.
    """
    if weighting not in WEIGHTINGS:
        raise InputError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {weighting!r}")
    check_prediction(schedule, prediction)
    snr = schedule.snr
    if weighting == "plain":
        return torch.ones_like(snr)
    of_mean = schedule.posterior_mean_coef_x0**2
    factors = {"eps": snr, "v": snr + 1, "x0": torch.ones_like(snr), "mean": of_mean, "flow": (snr.sqrt() + 1) ** 2}
    return snr.clamp(max=gamma) / factors[prediction]


def by_quarter(losses: Tensor, t: Tensor, T: int) -> list[float | None]:
    """Mean of losses (B,) in each quarter of 0 .. T-1, from least to most noise; None where no t fell into it."""
    quarter = t * 4 // T
    return [losses[quarter == k].mean().item() if (quarter == k).any() else None for k in range(4)]


# --- the variational bound ---


def gaussian_kl(mean_q: Tensor, var_q: Tensor, mean_p: Tensor, var_p: Tensor) -> Tensor:
    """KL(N(mean_q, var_q) || N(mean_p, var_p)) of each value, in nats."""
    return 0.5 * (var_p.log() - var_q.log() + (var_q + (mean_q - mean_p) ** 2) / var_p - 1)


def vlb_term(schedule: NoiseSchedule, denoiser, x0: Tensor, t: int, eps: Tensor, variance: str | Tensor = "small") -> Tensor:
    """One term of the bound at timestep t, (B,), in bits per dimension (Ho, eq. 5 with eq. 7 and 13).

    t >= 1: KL between the true step back, q(x_{t-1} | x_t, x_0), and the model's. t = 0: the likelihood of 8-bit x_0.
    denoiser: (x_t, t) -> x0_hat. variance: "small", "large", or the model's own variances (T,).
    """
    variances = variance if isinstance(variance, Tensor) else model_variance(schedule, variance)
    x_t = q_sample(schedule, x0, t, eps)
    x0_hat = denoiser(x_t, torch.full((len(x0),), t, device=x0.device))
    model_mean = posterior_mean(schedule, x0_hat, x_t, t)
    model_var = at(variances, t, x0)
    if t == 0:
        nats = -discretized_log_likelihood(x0, model_mean, model_var.sqrt())
    else:
        nats = gaussian_kl(posterior_mean(schedule, x0, x_t, t), at(schedule.posterior_variance, t, x0), model_mean, model_var)
    return nats.flatten(1).mean(1) / math.log(2)


def prior_term(schedule: NoiseSchedule, x0: Tensor) -> Tensor:
    """L_T, (B,) in bits per dimension: how far x_{T-1} still is from N(0, I). No network can lower it (Ho, section 3.1)."""
    ab = schedule.alpha_bar[-1].to(x0)
    nats = gaussian_kl(ab.sqrt() * x0, 1 - ab, torch.zeros_like(x0), torch.ones_like(x0))
    return nats.flatten(1).mean(1) / math.log(2)


def vlb_bits_per_dim(schedule: NoiseSchedule, denoiser, x0: Tensor, generator: torch.Generator, variance: str | Tensor = "small") -> Tensor:
    """The whole bound, (B,) bits per dimension: an upper limit on the bits that a lossless code of 8-bit x0 would need.

    Calls the denoiser once for each of the T timesteps, with one noise draw each from `generator`.
    """
    total = prior_term(schedule, x0)
    for t in range(schedule.T):
        eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=generator.device).to(x0.device)
        total = total + vlb_term(schedule, denoiser, x0, t, eps, variance)
    return total


def discretized_log_likelihood(x0: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log of the Gaussian's mass in the 1/255-wide bin around each 8-bit value (Ho, eq. 13), in nats; open at -1 and 1."""
    upper = torch.special.ndtr((x0 + 1 / 255 - mean) / std)
    lower = torch.special.ndtr((x0 - 1 / 255 - mean) / std)
    upper = torch.where(x0 > 0.999, torch.ones_like(upper), upper)
    lower = torch.where(x0 < -0.999, torch.zeros_like(lower), lower)
    return (upper - lower).clamp(min=1e-12).log()
