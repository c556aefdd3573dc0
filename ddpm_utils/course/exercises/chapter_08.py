"""Answers to the exercises of notebook 08, graded by autograd, by counting step after step, and by sums in plain Python."""

import torch
import torch.nn.functional as F

from ddpm_utils.course.exercises import difference


def exercise_1(gradients) -> str:
    """gradients(x, g) -> of a 1x1 convolution that is zero: those of its weight (D, C, 1, 1), its bias (D,) and its input (B, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(2, channels, 3, 4, generator=generator, dtype=torch.float64) for channels in (3, 5))
    weight, bias, inputs = torch.zeros(5, 3, 1, 1).double().requires_grad_(), torch.zeros(5).double().requires_grad_(), x.requires_grad_()
    (F.conv2d(inputs, weight, bias) * g).sum().backward()
    mine = gradients(x.detach(), g)
    if mine is None or mine is ...:
        return "the gradients are still missing"
    if len(mine) != 3:
        return f"three gradients are asked for, of weight, bias and input; got {len(mine)}"
    truth = {"the weight's gradient": weight.grad, "the bias's gradient": bias.grad, "the input's gradient": inputs.grad}
    return next(filter(None, (difference(name, value, true) for (name, true), value in zip(truth.items(), mine))), "")


def exercise_2(least_steps) -> str:
    """least_steps(weight, lr, warmup) -> the steps that Adam needs at least to move a weight so far."""
    for weight, lr, warmup in ((0.1, 1e-3, 0), (0.1, 1e-5, 0), (0.05, 1e-3, 20), (0.004, 1e-3, 20), (0.3, 1e-2, 1)):
        moved, steps = 0.0, 0
        while moved < weight - 1e-12:
            steps += 1
            moved += lr * (min(1.0, steps / warmup) if warmup else 1.0)
        differs = difference(
            f"the number of steps to {weight} at a rate of {lr}, warm-up {warmup},", least_steps(weight, lr, warmup), steps
        )
        if differs:
            return differs
    return ""


def exercise_3(combine) -> str:
    """combine(skips, controls) -> the skips (a list) with strength times the additions of every control: [(additions, strength), …]."""
    skips = [[1.0, 2.0], [3.0, -4.0, 5.0]]
    additions = [[[0.5, -1.0], [0.25, 0.0, 8.0]], [[-3.0, 2.0], [1.0, 1.0, 1.0]]]

    def tensors(lists):
        return [torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1) for values in lists]

    for strengths in ((1.0, 1.0), (0.0, 0.5), (2.0,), ()):
        before = tensors(skips)
        mine = combine(before, [(tensors(one), strength) for one, strength in zip(additions, strengths)])
        if mine is None or mine is ...:
            return "the sum is still missing"
        if len(mine) != len(skips):
            return f"there are {len(skips)} skips, your answer has {len(mine)}"
        for k, skip in enumerate(skips):
            sums = [v + sum(s * one[k][i] for one, s in zip(additions, strengths)) for i, v in enumerate(skip)]
            differs = difference(f"skip {k} with strengths {strengths}", mine[k], *tensors([sums]))
            if differs:
                return differs
        if any(not torch.equal(a, b) for a, b in zip(before, tensors(skips))):
            return "the base's own skips should stay as they are: make new tensors instead of adding in place"
    return ""


def exercise_4(moved) -> str:
    """moved(hint, right, down) -> the hint moved by so many pixels, zeros where nothing comes from."""
    hint = torch.arange(1.0, 25.0).view(2, 1, 3, 4)
    for right, down in ((0, 0), (1, 0), (-2, 1), (3, -1)):
        expected = torch.zeros_like(hint)
        for row in range(3):
            for column in range(4):
                if 0 <= row - down < 3 and 0 <= column - right < 4:
                    expected[:, :, row, column] = hint[:, :, row - down, column - right]
        if differs := difference(f"the hint moved by {right} and {down}", moved(hint, right, down), expected):
            return differs
    return ""
