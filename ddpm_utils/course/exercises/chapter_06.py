"""Answers to the exercises of notebook 06, graded against plain Python arithmetic and pictures whose enlargement is known."""

import torch

from ddpm_utils.course.exercises import difference


def exercise_1(smallest_weight) -> str:
    """smallest_weight(p) -> w from which on an L1 that counts retouched pixels 1 + w times no longer prefers silence."""
    for p in (0.02, 0.05, 0.2, 0.25, 0.4, 0.5, 0.8):
        low, high = 0.0, 1000.0
        for _ in range(80):  # by bisection: is the cost of saying the edit, 1, lower than that of saying 0?
            w = (low + high) / 2
            silence, edit = p * (1 + w) * abs(1 - 0), (1 - p) * abs(0 - 1)
            low, high = (w, high) if silence < edit else (low, w)
        differs = difference(f"the weight at p = {p}", smallest_weight(p), torch.tensor(high, dtype=torch.float64), tolerance=1e-6)
        if differs:
            hint = "; no weight is negative" if p > 0.5 else ""
            return differs + hint
    return ""


def exercise_2(quiet_step) -> str:
    """quiet_step(x, x0, y, eta_t, eta_s) -> x_s with the same noise behind it as x = x_t: nothing is drawn."""
    clean, source, noise = [0.9, -0.3, 0.1, -1.0], [0.7, -0.3, 0.4, -0.2], [0.2, -1.4, 0.7, 1.1]

    def state(eta, kappa):
        values = [c + eta * (s - c) + kappa * eta**0.5 * n for c, s, n in zip(clean, source, noise)]
        return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 2, 2)

    x0, y = (torch.tensor(v, dtype=torch.float64).reshape(1, 1, 2, 2) for v in (clean, source))
    for kappa in (0.3, 2.0):
        for eta_t, eta_s in ((0.999, 0.4), (0.4, 0.05), (0.05, 0.001), (0.5, 0.5)):
            mine = quiet_step(state(eta_t, kappa), x0, y, eta_t, eta_s)
            differs = difference(f"x_s (kappa = {kappa}, eta from {eta_t} to {eta_s})", mine, state(eta_s, kappa))
            if differs:
                return differs
    return ""


def exercise_3(lift) -> str:
    """lift(photo, before, after) -> the photo with what the network did to its small version; photo (1, C, H, W), the others (1, C, h, w)."""
    generator = torch.Generator().manual_seed(0)
    photo = torch.rand(1, 3, 48, 64, generator=generator) - 0.5  # threads everywhere
    before = torch.rand(1, 3, 12, 16, generator=generator) - 0.5
    unchanged = lift(photo, before, before)
    if unchanged is None or unchanged is ...:
        return "the lifted photograph is still missing"
    if unchanged.shape != photo.shape:
        return f"the result should have the photograph's shape {tuple(photo.shape)}, it has {tuple(unchanged.shape)}"
    if not torch.equal(unchanged, photo):
        return "where the network changes nothing the photograph should stay as it is, to the bit; yours lost its threads: enlarge the change alone"
    differs = difference("a photograph that is made darker by 0.25", lift(photo, before, before - 0.25), photo - 0.25, tolerance=1e-5)
    if differs:
        return differs
    ramp = torch.arange(16.0) / 16  # at large column X it stands for (X + 0.5) / 4 - 0.5: pixels are squares, not points
    expected = ((torch.arange(64.0) + 0.5) / 4 - 0.5) / 16
    change = (lift(photo, before, before + ramp) - photo)[..., 12:36, 12:52]  # away from the border
    return difference(
        "a change that grows evenly from left to right (index: from row and column 12 on)",
        change,
        expected[12:52].expand(1, 3, 24, 40),
        tolerance=4e-3,  # torch's bicubic waves by 2.6e-3 on a ramp; blocks are off by 2e-2, corners that are aligned by 1e-2
    )
