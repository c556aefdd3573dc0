"""Answers to the exercises of notebook 09, graded on Gaussian data, where a step is a factor, and on points whose two ends are known.

A step of DDPM is graded by another route than the chapter's: as the product of two Gaussian densities. Means of blocks are taken one by one.
"""

import torch

from ddpm_utils.course.exercises import difference

MEAN, VARIANCE = 0.3, 0.5


def exercise_1(heun_step) -> str:
    """heun_step(z, sigma, next_sigma, clean_at) -> z at next_sigma (B, 2)."""

    def clean_at(z, sigma):
        return MEAN + VARIANCE * (z - MEAN) / (VARIANCE + sigma**2)

    def steepness(sigma):  # the slope is this times z - MEAN
        return sigma / (VARIANCE + sigma**2)

    z = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    for sigma, after, where in ((4.0, 2.5, "in much noise"), (0.5, 0.2, "in little noise"), (0.2, 0.0, "in the last step, to sigma 0")):
        length, here = after - sigma, steepness(sigma)
        factor = 1 + length * (here + steepness(after) * (1 + length * here)) / 2 if after else 1 + length * here
        differs = difference(f"z {where}", heun_step(z.clone(), sigma, after, clean_at), MEAN + factor * (z - MEAN))
        if differs:
            return differs
    return ""


def exercise_2(straight_step) -> str:
    """straight_step(x, x0_hat, s, r) -> x at r (B, 2)."""
    clean = torch.tensor([[0.9, -0.3], [0.1, -1.0]], dtype=torch.float64)
    noise = torch.tensor([[0.2, -1.4], [0.7, 1.1]], dtype=torch.float64)
    for s, r, where in ((1.0, 0.7, "from pure noise"), (0.6, 0.25, "in the middle"), (0.1, 0.0, "at the clean end")):
        mine = straight_step((1 - s) * clean + s * noise, clean.clone(), s, r)
        differs = difference(f"x {where} (s = {s}, r = {r})", mine, (1 - r) * clean + r * noise)
        if differs:
            return differs
    return ""


def exercise_3(round_trip) -> str:
    """round_trip(x, clean, ab, ab_s, z) -> x at t again (B, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    x, clean, *z = torch.randn(4, 2, 1, 2, 3, generator=generator, dtype=torch.float64)
    for ab, ab_s in ((0.3, 0.5), (0.01, 0.04), (0.9, 0.99)):
        kept = ab / ab_s  # of the signal's power, from s to t
        prior, seen = 1 / (1 - ab_s), kept / (1 - kept)  # precisions of x_s given the clean image, and given x_t
        down = (prior * ab_s**0.5 * clean + seen * x / kept**0.5) / (prior + seen) + z[0] / (prior + seen) ** 0.5
        for noise, after in ((torch.zeros_like(x), "without the noise of the way up"), (z[1], "after the way up")):
            expected = kept**0.5 * down + (1 - kept) ** 0.5 * noise
            differs = difference(
                f"x {after} (ab = {ab}, ab_s = {ab_s})", round_trip(x, clean, ab, ab_s, torch.stack([z[0], noise])), expected
            )
            if differs:
                return differs
    return ""


def exercise_4(with_means) -> str:
    """with_means(x0_hat, small) -> x0_hat with these means (B, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    for k, (h, w) in ((2, (2, 2)), (4, (2, 3)), (3, (1, 2))):
        x0_hat = torch.randn(2, 3, k * h, k * w, generator=generator, dtype=torch.float64)
        small = torch.randn(2, 3, h, w, generator=generator, dtype=torch.float64)
        expected = x0_hat.clone()
        for i in range(h):
            for j in range(w):
                block = expected[:, :, k * i : k * i + k, k * j : k * j + k]
                block += small[:, :, i, j, None, None] - block.mean((2, 3), keepdim=True)
        differs = difference(f"x0_hat with blocks of {k} x {k}", with_means(x0_hat.clone(), small), expected)
        if differs:
            return differs
    return ""
