"""Chapter 05: a trained model changes images that are there: fills holes, varies, blends, enlarges. Nothing is trained for it.

Two of them are denoisers again, which every sampler takes: where something of the clean image is known, x0_hat is set to it. Two are other
starts for a sampler: a noised image instead of noise, and the noise that two images come from.

Equations: Lugmayr et al. 2022, RePaint (2201.09865); Meng et al. 2021, SDEdit (2108.01073); Wang et al. 2022, DDNM (2212.00490);
Song et al. 2020, DDIM (2010.02502).
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_utils.diffusion import q_sample
from ddpm_utils.errors import InputError
from ddpm_utils.sampling import Denoiser, Step, ancestral_step, moves, normal_like
from ddpm_utils.schedules import NoiseSchedule

# --- what is known of the clean image ---


def keeping(denoiser: Denoiser, known: Tensor, hole: Tensor) -> Denoiser:
    """x0_hat with the pixels of `known` (B or 1, C, H, W) wherever `hole` (B or 1, 1, H, W) is 0; 1: to be filled, between: mixed."""
    return lambda x_t, t: hole.to(x_t) * denoiser(x_t, t) + (1 - hole.to(x_t)) * known.to(x_t)


def averaging_to(denoiser: Denoiser, small: Tensor) -> Denoiser:
    """x0_hat whose blocks have the means that `small` (B or 1, C, h, w) says: the rest of each block is the model's (DDNM, eq. 13).

    x0_hat + enlarged(small - blockwise mean of x0_hat), for images of a whole multiple of its size, which is checked when it is called.
    """

    def denoiser_of_means(x_t: Tensor, t: Tensor) -> Tensor:
        x0_hat = denoiser(x_t, t)
        factor = check_multiple(x0_hat, small)
        missing = small.to(x0_hat) - F.avg_pool2d(x0_hat, factor)
        return x0_hat + missing.repeat_interleave(factor, 2).repeat_interleave(factor, 3)

    return denoiser_of_means


def check_multiple(large: Tensor, small: Tensor) -> int:
    """How many times `large` (B, C, H, W) is as wide and high as `small`; InputError where that is no whole number, or not one."""
    (H, W), (h, w) = large.shape[2:], small.shape[2:]
    if H % h or W % w or H // h != W // w:
        raise InputError(f"an image of {h} x {w} pixels can't be enlarged to {H} x {W}, which must be a whole multiple of both sides")
    return H // h


# --- samplers ---


@torch.no_grad()
def inpaint(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    known: Tensor,
    hole: Tensor,
    steps: int | None = None,
    resamplings: int = 10,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Fill the hole of an image (RePaint, algorithm 1 with jumps of one step): ancestral sampling that goes over each step several times.

    After a step down the image is noised one step up again, and the step is repeated, so that what fills the hole has heard of what lies around
    it: with one pass it has not, and is wrong by as much as the two depend on each other. With many resamplings of many steps the law of the
    result comes near the conditional one; it isn't reached. What is known of x_t is drawn from its posterior given `known`, whose mean and
    variance at each timestep are the paper's.

    x_T: (B, C, H, W) standard normal. known, hole: as in `keeping`. Noise comes from `generator`. Yields every step down, (steps - 1)
    resamplings + 1 of them.
    """
    if resamplings < 1:
        raise InputError(f"resamplings must be at least 1, 10 are usual; got {resamplings}")
    kept, x = keeping(denoiser, known, hole), x_T
    for t, ab, ab_prev in moves(schedule, steps):
        for left in reversed(range(resamplings if ab_prev < 1 else 1)):  # a clean image stays
            x0_hat = kept(x, torch.full((len(x),), t, device=x.device))
            x = ancestral_step(x, x0_hat, ab, ab_prev, generator=generator)
            yield Step(t, x, x0_hat)
            if left:
                x = (ab / ab_prev) ** 0.5 * x + (1 - ab / ab_prev) ** 0.5 * normal_like(x, generator)  # RePaint, eq. 7: one step up


# --- other starts ---


def noised(schedule: NoiseSchedule, image: Tensor, share: float, eps: Tensor) -> tuple[Tensor, NoiseSchedule]:
    """An image at the timestep share * T, and the schedule up to there: what a sampler makes of the two is the image, varied (SDEdit).

    image: (B or 1, C, H, W). share: in (0, 1]; 0.2 changes details, 0.8 leaves the rough layout. eps: (B, C, H, W) standard normal.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of noise must lie in (0, 1], 0.4 is usual; got {share:g}")
    t = max(1, round(share * schedule.T) - 1)
    return q_sample(schedule, image.expand_as(eps), t, eps), schedule.up_to(t)


def between(a: Tensor, b: Tensor, n: int) -> Tensor:
    """n points from a to b, both (1, C, H, W) and included: (n, C, H, W), on the great circle between them (DDIM, appendix D.5).

    Noise has a length, about the root of its number of values: a straight line would run through shorter ones, which no sampler expects.
    sin((1 - w) angle) / sin(angle) a + sin(w angle) / sin(angle) b, w = 0 .. 1; straight where the two point the same way.
    """
    w = torch.linspace(0, 1, n, dtype=a.dtype, device=a.device).view(-1, 1, 1, 1)
    angle = torch.arccos(F.cosine_similarity(a.flatten(1), b.flatten(1)).clamp(-1, 1)).view(-1, 1, 1, 1)
    if (angle.sin() < 1e-4).all():
        return (1 - w) * a + w * b
    return (((1 - w) * angle).sin() * a + (w * angle).sin() * b) / angle.sin()
