"""Answers to the exercises of notebook 02, graded against plain Python arithmetic."""

import math

import torch

from ddpm_utils.course.exercises import difference


def exercise_1(further) -> str:
    """further(alpha_bar, x_s, s, t, eps) -> x_t in one jump from x_s."""
    betas = [0.001 + 0.0004 * k for k in range(100)]
    alpha_bar, product = [], 1.0
    for beta in betas:
        product *= 1 - beta
        alpha_bar.append(product)
    x_s, eps = [[0.5, -1.0], [0.25, 2.0]], [[1.0, -0.5], [-2.0, 0.125]]
    for s, t in ((10, 60), (0, 99), (40, 41), (30, 30)):
        kept = math.prod(1 - beta for beta in betas[s + 1 : t + 1])
        expected = [[math.sqrt(kept) * x + math.sqrt(1 - kept) * e for x, e in zip(*rows)] for rows in zip(x_s, eps)]
        mine = further(*(torch.tensor(v, dtype=torch.float64) for v in (alpha_bar, x_s)), s, t, torch.tensor(eps, dtype=torch.float64))
        if differs := difference(f"x_t for s = {s}, t = {t}", mine, torch.tensor(expected, dtype=torch.float64)):
            return differs
    return ""


def exercise_2(coin) -> str:
    """coin(alpha_bar_t, x_t) -> E[x_0 | x_t] for x_0 in {-1, +1}, equally likely."""
    for ab in (0.001, 0.3, 0.9, 0.9999):
        x_t = [-3.0, -0.2, 0.0, 0.05, 1.0, 2.5]
        expected = []
        for x in x_t:
            more_likely_by = ((x + math.sqrt(ab)) ** 2 - (x - math.sqrt(ab)) ** 2) / (2 * (1 - ab))  # log odds of +1
            odds = math.exp(-abs(more_likely_by))
            expected.append(math.copysign((1 - odds) / (1 + odds), more_likely_by))
        mine = coin(torch.tensor(ab, dtype=torch.float64), torch.tensor(x_t, dtype=torch.float64))
        if differs := difference(f"the mean of x_0 for alpha_bar_t = {ab}", mine, torch.tensor(expected, dtype=torch.float64)):
            return differs
    return ""


def exercise_3(class_shares) -> str:
    """class_shares(alpha_bar_t, x_t, images, labels) -> (B, 10), Bayes' rule over the images, added up by class."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 1, 2, 2, generator=generator, dtype=torch.float64)
    labels, x_t = torch.tensor([3, 0, 3, 9, 1, 0]), torch.randn(4, 1, 2, 2, generator=generator, dtype=torch.float64)
    for ab in (0.9, 0.5, 0.01):
        expected = torch.zeros(4, 10, dtype=torch.float64)
        for row, x in enumerate(x_t.flatten(1).tolist()):
            likelihoods = [
                math.exp(-sum((value - math.sqrt(ab) * pixel) ** 2 for value, pixel in zip(x, image)) / (2 * (1 - ab)))
                for image in images.flatten(1).tolist()
            ]
            for label, likelihood in zip(labels.tolist(), likelihoods):
                expected[row, label] += likelihood / sum(likelihoods)
        mine = class_shares(torch.tensor(ab, dtype=torch.float64), x_t, images, labels)
        if differs := difference(f"the probability of the classes at alpha_bar = {ab}", mine, expected):
            return differs
    return ""
