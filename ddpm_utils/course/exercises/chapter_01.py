"""Answers to the exercises of notebook 01, graded against plain Python arithmetic."""

import math

import torch

from ddpm_utils.course.exercises import difference
from ddpm_utils.schedules import NoiseSchedule


def exercise_1(first_below) -> str:
    """first_below(alpha_bar, ratio) -> the first t with SNR < ratio, or None."""
    for name, schedule in {"linear": NoiseSchedule.linear(1000), "cosine": NoiseSchedule.cosine(300)}.items():
        values = schedule.alpha_bar.tolist()
        for ratio in (10.0, 1.0, 0.01):
            expected = next(t for t, ab in enumerate(values) if ab / (1 - ab) < ratio)
            found = first_below(schedule.alpha_bar, ratio)
            if found is None:
                return f"nothing is returned for the {name} schedule and ratio {ratio:g}"
            if int(found) != expected:
                return (
                    f"for the {name} schedule (T = {schedule.T}) and ratio {ratio:g} you say {int(found)}, the first such t is {expected}"
                )
    if first_below(torch.tensor([0.9, 0.8, 0.7]), 1e-3) is not None:
        return "where the SNR never falls below the ratio, the answer should be None"
    return ""


def exercise_2(betas_of) -> str:
    """betas_of(alpha_bar) -> betas, the inverse of the cumulative product."""
    for T in (2, 10, 300):
        alpha_bar = [math.exp(-5 * ((t + 1) / T) ** 1.5) for t in range(T)]
        before = [1.0, *alpha_bar[:-1]]
        expected = torch.tensor([1 - now / then for now, then in zip(alpha_bar, before)], dtype=torch.float64)
        differs = difference(f"beta (T = {T})", betas_of(torch.tensor(alpha_bar, dtype=torch.float64)), expected)
        if differs:
            return differs
    return ""


def exercise_3(straight) -> str:
    """straight(T, first, last) -> alpha_bar whose log SNR is a straight line between the logarithms of first and last."""
    for T, first, last in ((2, 4.0, 0.25), (5, 100.0, 0.01), (1000, 1e4, 4e-5)):
        snr = [first * (last / first) ** (t / (T - 1)) for t in range(T)]  # equal factors from step to step
        expected = torch.tensor([ratio / (1 + ratio) for ratio in snr], dtype=torch.float64)
        differs = difference(f"alpha_bar (T = {T}, SNR from {first:g} to {last:g})", straight(T, first, last), expected)
        if differs:
            return differs
    return ""
