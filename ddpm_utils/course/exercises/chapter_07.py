"""Answers to the exercises of notebook 07, graded by sums over a grid, by plain Python arithmetic and by a classifier whose gradient is known."""

import math

import torch

from ddpm_utils.course.exercises import difference


def exercise_1(sharpened_variance) -> str:
    """sharpened_variance(v, V, s) -> variance of the density in proportion to N(0, V)^(1 - s) N(0, v)^s."""
    grid = [i / 1000 for i in range(-12000, 12001)]
    for v, V, s in ((0.25, 1.0, 2.0), (0.25, 1.0, 1.0), (0.5, 0.8, 3.5), (0.9, 1.0, 0.0), (1.0, 1.0, 5.0)):
        density = [math.exp(-(s / v + (1 - s) / V) * x * x / 2) for x in grid]
        expected = sum(p * x * x for p, x in zip(density, grid)) / sum(density)
        differs = difference(
            f"the variance for v = {v}, V = {V}, s = {s}",
            sharpened_variance(v, V, s),
            torch.tensor(expected, dtype=torch.float64),
            tolerance=1e-6,
        )
        if differs:
            return differs
    return ""


def exercise_2(covered) -> str:
    """covered(real, generated, k) -> share of the real points with a generated one nearer than their k-th nearest real neighbour."""
    generator = torch.Generator().manual_seed(0)

    def cloud(n, d, shift=0.0):
        return shift + torch.randn(n, d, generator=generator, dtype=torch.float64)

    cases = (
        (torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64), torch.tensor([[0.5], [10.0]], dtype=torch.float64), 1),
        (cloud(30, 2), cloud(20, 2, 0.5), 1),
        (cloud(25, 4), cloud(40, 4, 0.8), 5),
    )
    for real, generated, k in cases:
        hit = 0
        for a in real.tolist():
            others = sorted(math.dist(a, b) for b in real.tolist())[1:]  # without the point itself
            hit += min(math.dist(a, b) for b in generated.tolist()) < others[k - 1]
        expected = torch.tensor(hit / len(real), dtype=torch.float64)
        what = f"the coverage of {len(real)} real points by {len(generated)} generated ones, k = {k},"
        differs = difference(what, covered(real, generated, k), expected, tolerance=1e-6)
        if differs:
            return differs
    return ""


def exercise_3(label_gradient) -> str:
    """label_gradient(log_prob, x, t, label) -> gradient of log p(label | x_t) by x_t, each image's own, (B, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 4, generator=generator, dtype=torch.float64)  # of a linear classifier: its gradient is a formula
    x = torch.randn(5, 1, 2, 2, generator=generator, dtype=torch.float64)
    t, label = torch.tensor([0, 3, 1, 7, 2]), torch.tensor([2, 0, 1, 1, 2])

    def log_prob(images, steps):
        return ((1 + steps[:, None]) * images.flatten(1) @ weights.T).log_softmax(1)

    scale = (1 + t[:, None]).double()  # (5, 1)
    said = (scale * x.flatten(1) @ weights.T).softmax(1)  # (5, 3)
    expected = (scale * (weights[label] - said @ weights)).reshape(x.shape)
    with torch.no_grad():  # as samplers call it
        mine = label_gradient(log_prob, x.clone(), t, label)
    if isinstance(mine, torch.Tensor) and mine.shape == x.shape and torch.allclose(mine, expected / len(x)):
        return "each image's gradient is too small by the number of images: a mean over the batch mixes what images have no part in; take the sum"
    if isinstance(mine, torch.Tensor) and mine.requires_grad:
        return "the gradient still hangs in the graph that made it: return it detached, or a sampler's memory grows with every step"
    return difference("the gradient", mine, expected)


def exercise_4(scheduled) -> str:
    """scheduled(conditional, unconditional, scale_at) -> a denoiser that is guided at scale_at[t], image by image."""
    scale_at = torch.linspace(0.0, 9.0, 10)
    denoiser = scheduled(lambda x, t: 2 * x + t.view(-1, 1, 1, 1), lambda x, t: x - 1, scale_at)
    if denoiser is None:
        return "the denoiser is still missing"
    x, t = torch.arange(12.0).view(3, 1, 2, 2), torch.tensor([0, 4, 9])
    mine = denoiser(x, t)
    for image, step in enumerate(t.tolist()):
        free = x[image] - 1
        expected = free + step * (2 * x[image] + step - free)  # the scale is t here
        if differs := difference(f"the answer at t = {step}", mine[image], expected, 1e-5):
            return differs
    return ""
