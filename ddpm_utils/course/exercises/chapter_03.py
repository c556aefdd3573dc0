"""Answers to the exercises of notebook 03, graded by measuring: gradients, parameter counts and torch's counter of FLOP."""

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ddpm_utils.course.exercises import difference
from ddpm_utils.unet import Attention, UNetConfig


def exercise_2(seen_by) -> str:
    """seen_by(low, high, layers) -> first and last row of the input that output rows low .. high depend on."""
    cases = [
        ["conv"],
        ["conv", "conv"],
        ["down"],
        ["up"],
        ["conv", "up", "conv", "conv", "down", "conv"],
        ["conv", "up"] * 2 + ["down"] * 2,
    ]
    for layers in cases:
        for low, high in ((40, 40), (41, 41), (40, 43)):
            answer = seen_by(low, high, list(layers))
            if answer is None:
                return "the answer is still missing"
            if tuple(answer) != (expected := _measured(low, high, layers)):
                return f"for rows {low} to {high} and {layers} you say {tuple(answer)}, gradients say {expected}"
    return ""


def _measured(low: int, high: int, layers: list[str]) -> tuple[int, int]:
    """The same from gradients, with all weights 1, in one dimension."""
    kernel = torch.ones(1, 1, 3, dtype=torch.float64)
    x = torch.ones(1, 1, 256, dtype=torch.float64, requires_grad=True)
    h = x
    for layer in reversed(layers):
        if layer == "conv":
            h = F.conv1d(h, kernel, padding=1)
        elif layer == "up":
            h = h.repeat_interleave(2, 2)
        else:
            h = F.conv1d(F.pad(h, (0, 1)), kernel, stride=2)
    h[0, 0, low : high + 1].sum().backward()
    rows = x.grad[0, 0].nonzero().flatten()
    return int(rows.min()), int(rows.max())


def exercise_3(attention_cost) -> str:
    """attention_cost(channels, pixels) -> (parameters, FLOP)."""
    for channels, side in ((8, 4), (64, 7), (256, 16)):
        answer = attention_cost(channels, side**2)
        if answer is None:
            return "the answer is still missing"
        with torch.device("meta"):
            layer = Attention(UNetConfig(groups=8), channels)
            with FlopCounterMode(display=False) as counter:
                layer(torch.zeros(1, channels, side, side))
        case = f"for {channels} channels and {side**2} pixels"
        counts = {"parameters": sum(p.numel() for p in layer.parameters()), "FLOP": counter.get_total_flops()}
        for mine, (what, expected) in zip(answer, counts.items()):
            if differs := difference(f"{case}, the number of {what}", float(mine), float(expected)):
                return differs
    return ""


def exercise_1(cut) -> str:
    """cut(skips, side) -> a new list, zeros where the side is `side`."""
    shapes = [(2, 3, 8, 8), (2, 3, 4, 4), (2, 5, 8, 8), (2, 5, 2, 2)]
    skips = [torch.randn(shape, generator=torch.Generator().manual_seed(k)) for k, shape in enumerate(shapes)]
    before = [skip.clone() for skip in skips]
    for side in (8, 4, 3):
        mine = cut(skips, side)
        if mine is None:
            return "the list of skips is still missing"
        if len(mine) != len(skips):
            return f"there should be {len(skips)} skips, you return {len(mine)}"
        for k, (skip, old) in enumerate(zip(mine, before)):
            if differs := difference(f"for side {side}, skip {k} of side {old.shape[2]}", skip, old * (old.shape[2] != side)):
                return differs
        if not all(map(torch.equal, skips, before)):
            return "the skips that were given should stay as they are"
    return ""
