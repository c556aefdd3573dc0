"""Answers to the exercises of notebook 05, graded with Gaussian arithmetic, affine stand-ins for samplers, and plain Python."""

import math

import torch

from ddpm_utils.course.exercises import difference


def exercise_1(right_variance) -> str:
    """right_variance(ab, prev, unsure) -> Var[x_s | x_t]: of Gaussian data, by conditioning x_s on x_t, two Gaussians with known covariance."""
    for v, ab, prev in ((0.3, 0.2, 0.7), (1.0, 0.5, 0.6), (2.5, 0.01, 0.3), (0.05, 0.9, 1.0)):
        of_s, of_t = prev * v + 1 - prev, ab * v + 1 - ab
        both = math.sqrt(ab / prev) * of_s
        mine = right_variance(ab, prev, v * (1 - ab) / of_t)
        if mine is None:
            return "nothing is returned yet"
        mine = torch.as_tensor(mine, dtype=torch.float64)
        expected = torch.tensor(of_s - both**2 / of_t, dtype=torch.float64)
        differs = difference(f"the variance of x_s where Var[x_0] = {v}, ab = {ab}, prev = {prev}", mine, expected)
        if differs:
            return differs
    return ""


def exercise_2(law_of) -> str:
    """law_of(run) -> (slope, offset) of an affine run: (B, 1, 1, 1) -> (B, 1, 1, 1)."""
    for slope, offset in ((0.5, 0.25), (1.0, 0.0), (-2.0, 3.0)):

        def run(x_T, slope=slope, offset=offset):
            return slope * x_T + offset

        found = law_of(run)
        if found is None:
            return "nothing is returned yet"
        if len(found) != 2:
            return f"two numbers are wanted, slope and offset, you return {len(found)}"
        for what, mine, expected in zip(("slope", "offset"), found, (slope, offset)):
            mine = mine.reshape(()).double() if isinstance(mine, torch.Tensor) and mine.numel() == 1 else mine
            differs = difference(f"the {what} of x -> {slope} x + {offset}", mine, torch.tensor(expected, dtype=torch.float64))
            if differs:
                return differs
    return ""


def exercise_3(climb) -> str:
    """climb(x, eps, ab, prev) -> x_t, from x one step less noisy, with the same eps and clean image behind both."""
    clean, noise = [0.9, -0.3, 0.1, -1.0], [0.2, -1.4, 0.7, 1.1]

    def mix(power):
        return torch.tensor([math.sqrt(power) * c + math.sqrt(1 - power) * n for c, n in zip(clean, noise)], dtype=torch.float64)

    for prev, ab, where in ((1.0, 0.98, "from a clean image"), (0.9, 0.6, "in the middle"), (0.05, 0.001, "near the end")):
        mine = climb(mix(prev).reshape(1, 1, 2, 2), torch.tensor(noise, dtype=torch.float64).reshape(1, 1, 2, 2), ab, prev)
        differs = difference(f"x_t {where} (prev = {prev}, ab = {ab})", mine, mix(ab).reshape(1, 1, 2, 2))
        if differs:
            return differs
    return ""
