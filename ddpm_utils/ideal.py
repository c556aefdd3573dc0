"""Denoisers that are known in closed form: what a perfect network would predict.

For simple data the best possible x0_hat = E[x_0 | x_t] can be written down. These grade samplers, losses and guidance exactly,
with no training, and show in chapter 02 what there is to learn. Each returns a denoiser (x_t, t) -> x0_hat in the dtype of x_t.
"""

from collections.abc import Callable

from torch import Tensor

from ddpm_utils.diffusion import at
from ddpm_utils.errors import InputError
from ddpm_utils.schedules import NoiseSchedule


def gaussian_denoiser(schedule: NoiseSchedule, mean: Tensor | float, variance: Tensor | float) -> Callable:
    """For data N(mean, variance), independent in each value: mean and variance broadcast against x_t.

    x0_hat = mean + variance sqrt(ab) (x_t - sqrt(ab) mean) / (ab variance + 1 - ab).
    """

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        ab = at(schedule.alpha_bar, t, x_t)
        noise = at(1 - schedule.alpha_bar, t, x_t)
        return mean + variance * ab.sqrt() * (x_t - ab.sqrt() * mean) / (ab * variance + noise)

    return denoiser


def mixture_denoiser(schedule: NoiseSchedule, means: Tensor, variances: Tensor, weights: Tensor) -> Callable:
    """For data from a mixture of K isotropic Gaussians: means (K, *shape of one x_0), variances (K,), weights (K,).

    Each component's prediction, weighted by the probability that x_t came from it.
    """
    means, variances, log_weights = means.double(), variances.double(), weights.double().log()

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        posterior = mixture_posterior(schedule, means, variances, log_weights, x_t, t)  # (B, K)
        ab = at(schedule.alpha_bar, t, x_t.double().flatten(1))  # (B, 1)
        x = x_t.double().flatten(1)[:, None]  # (B, 1, D)
        mu = means.flatten(1).to(x.device)[None]  # (1, K, D)
        gain = (variances.to(x.device) * ab.sqrt() / (variances.to(x.device) * ab + 1 - ab))[..., None]  # (B, K, 1)
        each = mu + gain * (x - ab.sqrt()[..., None] * mu)  # (B, K, D)
        return (posterior[..., None] * each).sum(1).reshape(x_t.shape).to(x_t.dtype)

    return denoiser


def mixture_posterior(schedule: NoiseSchedule, means: Tensor, variances: Tensor, log_weights: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Probability of each component given x_t: (B, K), float64. Differentiable in x_t: the perfect noisy-image classifier."""
    x = x_t.double().flatten(1)  # (B, D)
    ab = at(schedule.alpha_bar, t, x)  # (B, 1)
    mu = means.double().flatten(1).to(x.device)  # (K, D)
    spread = ab * variances.double().to(x.device) + 1 - ab  # (B, K)
    distance = ((x[:, None] - ab.sqrt()[..., None] * mu) ** 2).sum(-1)  # (B, K)
    return (log_weights.to(x.device) - 0.5 * x.shape[1] * spread.log() - 0.5 * distance / spread).softmax(1)


def dataset_denoiser(schedule: NoiseSchedule, data: Tensor) -> Callable:
    """For a finite data set (N, *shape of one x_0): the softmax-weighted mean of all its images, the "ideal denoiser".

    A sampler driven by it returns images of the data set: a network that learned its training set perfectly could do no better,
    and one that invents new images has to do worse.
    """
    if len(data) == 0:
        raise InputError("the data set must hold at least one image, got none")
    flat = data.double().flatten(1)  # (N, D)
    squares = (flat**2).sum(1)  # (N,)

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        x = x_t.double().flatten(1)  # (B, D)
        rows, norms = flat.to(x.device), squares.to(x.device)
        ab = at(schedule.alpha_bar, t, x)  # (B, 1)
        # |x - sqrt(ab) row|^2 without the part that is the same for all rows
        distance = ab * norms - 2 * ab.sqrt() * (x @ rows.T)  # (B, N)
        weights = (-0.5 * distance / (1 - ab)).softmax(1)
        return (weights @ rows).reshape(x_t.shape).to(x_t.dtype)

    return denoiser
