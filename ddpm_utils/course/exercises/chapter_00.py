"""Answers to the exercises of notebook 00, graded with plain Python arithmetic."""

import math

import torch

from ddpm_utils.course.exercises import difference


def exercise_1(turn) -> str:
    """turn(x, v, a, b) -> x at angle b, from x and its arrow v at angle a, with the same clean and noisy end behind both."""
    clean, noise = [[0.9, -0.3], [0.1, -1.0]], [[0.2, -1.4], [0.7, 1.1]]

    def both(of_clean, of_noise):
        return torch.tensor([[of_clean * c + of_noise * n for c, n in zip(*rows)] for rows in zip(clean, noise)], dtype=torch.float64)

    for a, b, where in (
        (1.2, 1.1, "a small step"),
        (math.pi / 2, 0.0, "from noise in one leap"),
        (0.3, 0.8, "the other way, to more noise"),
    ):
        x, v = both(math.cos(a), math.sin(a)), both(-math.sin(a), math.cos(a))
        differs = difference(f"x at b = {b:.2f} from a = {a:.2f} ({where})", turn(x, v, a, b), both(math.cos(b), math.sin(b)))
        if differs:
            return differs
    return ""


def exercise_2(nearest) -> str:
    """nearest(x, points) -> (B,) distances of x (B, 2) to the closest of points (n, 2)."""
    points = [(0.0, 0.0), (3.0, 4.0), (-1.0, 0.5)]
    places = [(0.0, 0.0), (3.0, 0.0), (-2.0, 0.5), (10.0, 4.0)]
    expected = [min(math.dist(place, point) for point in points) for place in places]
    mine = nearest(torch.tensor(places, dtype=torch.float64), torch.tensor(points, dtype=torch.float64))
    return difference("the distance", mine, torch.tensor(expected, dtype=torch.float64))
