"""Chapter 05: from noise to an image.

A denoiser is the one interface: a callable (x_t, t) -> x0_hat, x_t (B, C, H, W), t (B,) int64, 0-based. A trained network becomes
one with `make_denoiser`; ideal.py has some that are known in closed form. Guidance, thresholding and control are functions from
denoiser to denoiser, so that every sampler works with all of them.

A sampler is a generator that yields every `Step`: the timestep that it left, the image after the step, and the clean image that the
denoiser saw in it. `sample` runs one to its end. Each sampler ends in its denoiser's last x0_hat: no noise after the last step.

Equations: Ho et al. 2020 (2006.11239); Song et al. 2020, DDIM (2010.02502); Lu et al. 2022, DPM-Solver++ (2211.01095);
Karras et al. 2022, EDM (2206.00364) for Heun; Saharia et al. 2022, Imagen (2205.11487) for dynamic thresholding.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ddpm_utils.choices import VARIANCES
from ddpm_utils.diffusion import check_prediction, to_x0
from ddpm_utils.errors import InputError
from ddpm_utils.schedules import NoiseSchedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
SIGMA_MAX = 80.0  # Karras et al., table 1: beyond it an image of size 1 can't be seen any more
SPACINGS = ("trailing", "leading", "linspace", "quadratic")


class Step(NamedTuple):
    t: int  # the timestep that this step left, 0-based
    x: Tensor  # (B, C, H, W), the image after the step
    x0_hat: Tensor  # (B, C, H, W), the clean image that the denoiser saw before it


# --- denoisers ---


def make_denoiser(
    network: nn.Module, schedule: NoiseSchedule, prediction: str = "eps", clip: bool = True, **conditions: Tensor
) -> Denoiser:
    """Turn a network into a denoiser (x_t, t) -> x0_hat.

    network: called as network(x_t, t, **conditions) with fixed conditions such as label=(B,); evaluated without gradients and in
    eval mode, whatever mode it is in. prediction: what it was trained to output, in {"eps", "x0", "v", "mean", "flow"}.
    clip: keep x0_hat in [-1, 1] (as in Ho's code).
    """
    check_prediction(schedule, prediction)

    @torch.no_grad()
    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        training = getattr(network, "training", False)
        if training:
            network.eval()
        output = network(x_t, t, **conditions).to(x_t.dtype)
        if training:
            network.train()
        return to_x0(schedule, x_t, t, output, prediction)

    return static_threshold(denoiser) if clip else denoiser


def static_threshold(denoiser: Denoiser) -> Denoiser:
    """Clip x0_hat to [-1, 1]."""
    return lambda x_t, t: denoiser(x_t, t).clamp(-1, 1)


def dynamic_threshold(denoiser: Denoiser, quantile: float = 0.995) -> Denoiser:
    """Clip x0_hat of each image at this quantile of its own magnitudes, if above 1, and divide by it (Imagen, section 2.3).

    Keeps strong guidance from saturating pixels. The denoiser should not be clipped before.
    """
    if not 0 < quantile <= 1:
        raise InputError(f"quantile must lie in (0, 1], 0.995 is usual; got {quantile}")

    def thresholded(x_t: Tensor, t: Tensor) -> Tensor:
        x0_hat = denoiser(x_t, t)
        bound = x0_hat.flatten(1).abs().quantile(quantile, dim=1).clamp(min=1)  # (B,)
        bound = bound.reshape(-1, *[1] * (x0_hat.ndim - 1))
        return x0_hat.clamp(-bound, bound) / bound

    return thresholded


# --- samplers ---


def timesteps(T: int, steps: int | None, spacing: str = "trailing") -> list[int]:
    """The timesteps that a sampler visits, from noisy to clean: `steps` different ones out of 0 .. T-1 (None: all).

    "trailing" starts at T-1 and is even; "linspace" has both T-1 and 0; "leading" has 0 but stops short of T-1, so
    that sampling starts from an image that is noisier than its timestep says; "quadratic" is denser near 0 (DDIM, appendix D.2).
    """
    steps = T if steps is None else steps
    if not 1 <= steps <= T:
        raise InputError(f"steps must lie in 1 .. T={T}, got {steps}")
    if spacing not in SPACINGS:
        raise InputError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    if spacing == "trailing":
        return [T - 1 - i * T // steps for i in range(steps)]
    if spacing == "leading":
        return [i * T // steps for i in reversed(range(steps))]
    if steps == 1:
        return [T - 1]
    power = 1 if spacing == "linspace" else 2
    curve = [round((T - 1) * (i / (steps - 1)) ** power) for i in range(steps)]
    return [max(t, i) for i, t in enumerate(curve)][::-1]  # max: the dense end of a quadratic must not repeat a t


@torch.no_grad()
def ddpm(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    variance: str = "small",
    steps: int | None = None,
    spacing: str = "trailing",
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Ancestral sampling (Ho, algorithm 2): draw x_{t-1} from the posterior given x_t and x0_hat.

    x_T: (B, C, H, W) standard normal. variance: "small" (beta~_t) or "large" (beta_t). With `steps` below T the betas are those of
    the longer strides (Nichol & Dhariwal 2021, eq. 19). Noise comes from `generator`, on its device.
    """
    if variance not in VARIANCES:
        raise InputError(f"variance must be one of {', '.join(VARIANCES)}, got {variance!r}")
    x = x_T
    for t, ab, ab_prev in moves(schedule, steps, spacing):
        x0_hat = denoiser(x, _batch(t, x))
        x = ancestral_step(x, x0_hat, ab, ab_prev, variance, generator)
        yield Step(t, x, x0_hat)


def ancestral_step(
    x: Tensor, x0_hat: Tensor, ab: float, ab_prev: float, variance: str = "small", generator: torch.Generator | None = None
) -> Tensor:
    """A draw from the posterior given x (B, C, H, W) at alpha_bar = ab and its x0_hat, at ab_prev > ab; its mean where that is 1."""
    beta = 1 - ab / ab_prev
    mean = ab_prev**0.5 * beta / (1 - ab) * x0_hat + (1 - beta) ** 0.5 * (1 - ab_prev) / (1 - ab) * x  # Ho, eq. 7
    var = beta if variance == "large" else beta * (1 - ab_prev) / (1 - ab)
    return mean if ab_prev == 1 else mean + var**0.5 * normal_like(x, generator)


@torch.no_grad()
def ddim(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    steps: int | None = 50,
    eta: float = 0.0,
    spacing: str = "trailing",
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """DDIM (Song et al., eq. 12 and 16): deterministic for eta = 0, DDPM with small variance for eta = 1.

    x_T: (B, C, H, W) standard normal. The direction is derived again from x0_hat, so that clipping x0_hat stays consistent.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta must lie in [0, 1] (0 is deterministic, 1 is DDPM), got {eta}")
    x = x_T
    for t, ab, ab_prev in moves(schedule, steps, spacing):
        x0_hat = denoiser(x, _batch(t, x))
        eps = (x - ab**0.5 * x0_hat) / (1 - ab) ** 0.5
        sigma = eta * ((1 - ab_prev) / (1 - ab) * (1 - ab / ab_prev)) ** 0.5
        x = ab_prev**0.5 * x0_hat + max(1 - ab_prev - sigma**2, 0.0) ** 0.5 * eps
        if sigma > 0:
            x = x + sigma * normal_like(x, generator)
        yield Step(t, x, x0_hat)


@torch.no_grad()
def ddim_invert(
    denoiser: Denoiser, x0: Tensor, schedule: NoiseSchedule, steps: int | None = 50, spacing: str = "trailing"
) -> Iterator[Step]:
    """DDIM backwards: from an image (B, C, H, W) to the noise that `ddim` with the same steps would turn into it.

    The noise seen at x_{t-1} stands in for the one at x_t, so the round trip closes as the steps get shorter. Don't clip the
    denoiser: noise alone is not an image.
    """
    x = x0
    for t, ab, ab_prev in reversed(moves(schedule, steps, spacing)):
        x0_hat = denoiser(x, _batch(t, x))
        eps = (x - ab**0.5 * x0_hat) / (1 - ab) ** 0.5
        clean = (x - (1 - ab_prev) ** 0.5 * eps) / ab_prev**0.5
        x = ab**0.5 * clean + (1 - ab) ** 0.5 * eps
        yield Step(t, x, x0_hat)


@torch.no_grad()
def dpm_solver(
    denoiser: Denoiser, x_T: Tensor, schedule: NoiseSchedule, steps: int = 20, order: int = 2, spacing: str = "trailing"
) -> Iterator[Step]:
    """DPM-Solver++ multistep, order 1 (equal to deterministic DDIM) or 2 (Lu et al., algorithm 2). Deterministic.

    x_T: (B, C, H, W) standard normal. With alpha = sqrt(alpha_bar), sigma = sqrt(1 - alpha_bar) and lambda = log(alpha / sigma):
    x_next = sigma_next / sigma x - alpha_next (exp(-h) - 1) D, h = lambda_next - lambda; the last step is of order 1.
    """
    if order not in (1, 2):
        raise InputError(f"order must be 1 or 2, got {order}")
    x, x0_before, h_before = x_T, None, 0.0
    for t, ab, ab_prev in moves(schedule, steps, spacing):
        x0_hat = denoiser(x, _batch(t, x))
        h = _log_snr_half(ab_prev) - _log_snr_half(ab)
        direction = x0_hat
        if order == 2 and x0_before is not None and ab_prev < 1:
            r = h_before / h
            direction = x0_hat + (x0_hat - x0_before) / (2 * r)
        shrink = ((1 - ab_prev) * ab / ((1 - ab) * ab_prev)) ** 0.5  # exp(-h), finite also where lambda is not
        x = ((1 - ab_prev) / (1 - ab)) ** 0.5 * x + ab_prev**0.5 * (1 - shrink) * direction
        x0_before, h_before = x0_hat, h
        yield Step(t, x, x0_hat)


@torch.no_grad()
def heun(denoiser: Denoiser, x_T: Tensor, schedule: NoiseSchedule, steps: int = 18, spacing: str = "trailing") -> Iterator[Step]:
    """Heun's method for the probability flow (Karras et al., algorithm 1). Deterministic; calls the denoiser twice a step, once in the last.

    x_T: (B, C, H, W) standard normal. With z = x / sqrt(alpha_bar) and sigma = sqrt(1 / alpha_bar - 1) the flow is dz/dsigma = eps_hat, and
    Euler's step in sigma is DDIM's. Heun's takes the mean of the eps_hat at both of its ends. The correction grows with the step in sigma,
    so that steps from above SIGMA_MAX, where a schedule may reach thousands or infinity, do without.
    """
    x, visited = x_T, timesteps(schedule.T, steps, spacing)
    for (t, ab, ab_prev), after in zip(moves(schedule, steps, spacing), [*visited[1:], None]):
        x0_hat = denoiser(x, _batch(t, x))
        eps = (x - ab**0.5 * x0_hat) / (1 - ab) ** 0.5
        x = ab_prev**0.5 * x0_hat + (1 - ab_prev) ** 0.5 * eps
        if after is not None and 1 - ab <= SIGMA_MAX**2 * ab:
            eps_after = (x - ab_prev**0.5 * denoiser(x, _batch(after, x))) / (1 - ab_prev) ** 0.5
            stride = (1 - ab_prev) ** 0.5 - (ab_prev * (1 - ab) / ab) ** 0.5  # from sigma to sigma, times sqrt(ab_prev)
            x = x + stride * (eps_after - eps) / 2
        yield Step(t, x, x0_hat)


def sample(steps_iterable: Iterable[Step], total: int | None = None) -> Tensor:
    """Run a sampler to its end, with a progress bar, and return the image after its last step."""
    x = None
    for step in tqdm(steps_iterable, total=total, desc="sampling", unit="step", leave=False, disable=None):
        x = step.x
    if x is None:
        raise InputError("the sampler yielded no steps; was it run before? A generator runs once")
    return x


def moves(schedule: NoiseSchedule, steps: int | None, spacing: str = "trailing") -> list[tuple[int, float, float]]:
    """(t, alpha_bar there, alpha_bar at the next timestep visited) from noisy to clean; 1 behind the last: a clean image."""
    visited = timesteps(schedule.T, steps, spacing)
    ab = schedule.alpha_bar.tolist()
    return [(t, ab[t], ab[after] if after is not None else 1.0) for t, after in zip(visited, [*visited[1:], None])]


def _batch(t: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.int64, device=x.device)


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of the shape, dtype and device of x, drawn on the generator's device."""
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)


def _log_snr_half(ab: float) -> float:
    """lambda = log(sqrt(ab) / sqrt(1 - ab)); infinite for a clean image and for pure noise."""
    return torch.tensor(ab, dtype=torch.float64).logit().item() / 2
