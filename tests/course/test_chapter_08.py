"""Facts that notebook 08 relies on and no other test states: gradients at zero, how far Adam gets, the loss of a control, the pad."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_utils.config import TrainConfig
from ddpm_utils.control.controlnet import ControlNet, zero_conv
from ddpm_utils.course.scribble_pad import ScribblePad
from ddpm_utils.diffusion import training_loss
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.training.tasks.control import ControlTask, control_config
from ddpm_utils.unet import UNet, UNetConfig


def test_a_zero_convolution_passes_nothing_forwards_or_backwards_but_learns():
    conv = zero_conv(3)
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    g = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    out = conv(x)
    (out * g).sum().backward()
    assert out.abs().max() == 0
    assert x.grad.abs().max() == 0
    torch.testing.assert_close(conv.weight.grad[..., 0, 0], torch.einsum("bdhw,bchw->dc", g, x.detach()))
    torch.testing.assert_close(conv.bias.grad, g.sum((0, 2, 3)))


@pytest.mark.parametrize("lr", [1e-5, 1e-3])
def test_adam_moves_a_weight_by_about_the_learning_rate_a_step_whatever_the_gradient(lr):
    """Under a steady gradient of any size exactly so; under gradients of random sign less."""
    steady, random = (nn.Parameter(torch.zeros(3, dtype=torch.float64)) for _ in range(2))
    optimizer = torch.optim.Adam([steady, random], lr=lr)
    generator = torch.Generator().manual_seed(0)
    for n in range(1, 101):
        steady.grad = torch.tensor([1e-3, -1.0, 1e4], dtype=torch.float64)
        random.grad = torch.randn(3, generator=generator, dtype=torch.float64)
        optimizer.step()
        expected = torch.tensor([-n * lr, n * lr, -n * lr], dtype=torch.float64)
        torch.testing.assert_close(steady.data, expected, rtol=2e-5, atol=0)  # Adam's eps of 1e-8 beside the smallest gradient
    assert random.abs().max() < 50 * lr


def test_a_control_is_trained_with_the_loss_of_its_base_and_the_hint_as_one_more_condition():
    torch.manual_seed(0)
    base = UNet(UNetConfig(image_size=8, channels=1, width=16, multipliers=(1, 2), blocks=1, attention=(), groups=8))
    nn.init.normal_(base.output_conv.weight, std=0.1)
    control, schedule = ControlNet.on(base, 1), NoiseSchedule.cosine(50)
    of_base = Model(base, TrainConfig(network=base.config), (), {})
    task = ControlTask(control_config(of_base, "itself"), of_base, 1)
    for conv in control.zero_convs:
        nn.init.normal_(conv.weight, std=0.1)
    x0, eps, hint = (torch.randn(4, 1, 8, 8) for _ in range(3))
    t = torch.tensor([0, 10, 30, 49])
    with torch.no_grad():
        losses = training_loss(partial(task.predict, control), schedule, x0, t, eps, "eps", hint=hint)
        ab = schedule.alpha_bar[t].reshape(-1, 1, 1, 1).float()
        x_t = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
        h, skips = base.encode(x_t, base.embed(t, None))
        more, middle = control(x_t, t, hint)
        said = base.decode(base.middle(h, base.embed(t, None)) + middle, [s + m for s, m in zip(skips, more)], base.embed(t, None))
    torch.testing.assert_close(losses, (said - eps).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-6)


def test_edges_found_at_another_size_and_scaled_down_are_too_faint_to_be_edges():
    """A line one pixel wide at eight times the size covers an eighth of a pixel."""
    edges = torch.zeros(1, 1, 64, 64)
    edges[..., 20, :] = 1
    small = nn.functional.avg_pool2d(edges, 8)
    assert small.max().item() == pytest.approx(1 / 8)


def test_a_pad_gives_back_what_is_drawn_on_it():
    drawing = np.zeros((4, 4))
    drawing[1, 2] = 1
    pad = ScribblePad(drawing)
    assert pad.hint(8).sum() == 4
    assert pad.hint(8)[0, 0, 2:4, 4:6].min() == 1
    pad.buttons[0].value = True  # a click
    assert pad.hint(4)[0, 0].nonzero().tolist() == [[0, 0], [1, 2]]
    assert pad.buttons[0].button_style == "info"
    pad.buttons[0].value = False
    assert pad.hint(4).sum() == 1
    with pytest.raises(InputError, match="a multiple of the pad's 4 cells, got 6"):
        pad.hint(6)
    with pytest.raises(InputError, match="square drawing"):
        ScribblePad(np.zeros((2, 3)))
