"""Answers to the exercises of notebook 04, graded against plain Python arithmetic."""

import torch

from ddpm_utils.course.exercises import difference
from ddpm_utils.schedules import NoiseSchedule


def exercise_1(bound_weights) -> str:
    """bound_weights(alpha_bar) -> (T - 1,): the weight of the squared error in eps in the bound, at t = 1 .. T - 1."""
    for name, schedule in {"linear": NoiseSchedule.linear(1000), "cosine": NoiseSchedule.cosine(50)}.items():
        ab, betas = schedule.alpha_bar.tolist(), schedule.betas.tolist()
        expected = []
        for t in range(1, schedule.T):
            variance = betas[t] * (1 - ab[t - 1]) / (1 - ab[t])
            expected.append(betas[t] ** 2 / (2 * variance * (1 - betas[t]) * (1 - ab[t])))
        weights = bound_weights(schedule.alpha_bar)
        expected = torch.tensor(expected, dtype=torch.float64)
        if isinstance(weights, torch.Tensor) and weights.shape == (schedule.T,):
            return "there are T - 1 weights, for t = 1 .. T - 1: the term of t = 0 is a likelihood and no distance"
        differs = difference(f"the weight ({name}, T = {schedule.T}; index 0 is t = 1)", weights, expected, tolerance=1e-6)
        if differs:
            return differs
    return ""


def exercise_2(drop_labels) -> str:
    """drop_labels(labels, rate, null, generator) -> a copy in which each label is `null` with probability `rate`."""
    labels = torch.arange(2000) % 10
    dropped = drop_labels(labels, 0.3, 10, torch.Generator().manual_seed(0))
    if dropped is None or dropped is ...:
        return "the labels are still missing"
    if dropped.shape != labels.shape or dropped.dtype != labels.dtype:
        return f"the result should be {tuple(labels.shape)} {labels.dtype}, like the labels, it is {tuple(dropped.shape)} {dropped.dtype}"
    if not torch.equal(labels, torch.arange(2000) % 10):
        return "the labels that were passed in have changed; return a copy"
    null = dropped == 10
    if not torch.equal(dropped[~null], labels[~null]):
        return "a label that is kept should stay as it is"
    share = null.double().mean().item()
    if share in (0.0, 1.0):
        return f"all labels of the batch share one fate: the share of null labels is {share:.0f}; draw for each image"
    if abs(share - 0.3) > 0.06:  # six standard deviations
        return f"at rate 0.3, {share:.0%} of 2000 labels became null; about 30 % should"
    if not torch.equal(dropped, drop_labels(labels, 0.3, 10, torch.Generator().manual_seed(0))):
        return "the same generator gave other labels the second time; draw from the generator that is passed in"
    for rate, expected in ((0.0, 0), (1.0, 2000)):
        count = (drop_labels(labels, rate, 10, torch.Generator().manual_seed(1)) == 10).sum().item()
        if count != expected:
            return f"at rate {rate:g}, {count} of 2000 labels became null, it should be {expected}"
    return ""


def exercise_3(stratified) -> str:
    """stratified(B, T, generator) -> (B,) timesteps, one in each of B equal slices of 0 .. T - 1, in random order."""
    first = stratified(4, 8, torch.Generator().manual_seed(0))
    if first is None or first is ...:
        return "the timesteps are still missing"
    if first.dtype != torch.int64 or first.shape != (4,):
        return f"for B = 4 there should be 4 numbers of int64, you return shape {tuple(first.shape)} of {first.dtype}"
    places = []
    for B, T in ((10, 1000), (64, 1000), (3, 7)):
        drawn = [stratified(B, T, torch.Generator().manual_seed(seed)) for seed in range(400)]
        for t in drawn:
            ordered = t.sort().values.tolist()
            outside = [k for k, value in enumerate(ordered) if not k * T // B <= value < (k + 1) * T / B]
            if outside:
                return f"for B = {B} and T = {T}, slice {outside[0]} holds {ordered[outside[0]]}, it should hold one of its own numbers"
        means = torch.stack([t.sort().values for t in drawn]).double().mean(0)
        middles = (torch.arange(B) + 0.5) * T / B - 0.5
        if (means - middles).abs().max() > 0.25 * T / B + 0.5:
            return f"for B = {B} and T = {T} the draws don't fill their slices evenly"
        places.append(torch.stack(drawn).double().mean(0))
    if (places[0] - 499.5).abs().max() > 80:
        return "a place in the batch gets small or large t more often than others: shuffle them"
    if not torch.equal(stratified(10, 1000, torch.Generator().manual_seed(1)), stratified(10, 1000, torch.Generator().manual_seed(1))):
        return "the same generator should give the same timesteps"
    return ""


def exercise_4(memory_of) -> str:
    """memory_of(rule, steps) -> (steps + 1,): the share of the weights after each step in the average; index 0 is the start."""
    rules = {
        "a constant 0.9": lambda step: 0.9,
        "a copy at step 2, then 0.5": lambda step: 0.0 if step <= 2 else 0.5,
        "1 - 1 / step": lambda step: 1 - 1 / step,
    }
    for name, rule in rules.items():
        for steps in (1, 2, 5, 40):
            shares = [1.0]
            for step in range(1, steps + 1):
                keep = rule(step)
                shares = [share * keep for share in shares] + [1 - keep]
            expected = torch.tensor(shares, dtype=torch.float64)
            differs = difference(f"the share (decay {name}, {steps} steps)", memory_of(rule, steps), expected)
            if differs:
                return differs
    return ""
