"""Answers to the exercises of notebook 09, graded on Gaussian data, where a step is a factor, and on points whose two ends are known."""

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
