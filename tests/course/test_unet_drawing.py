"""The drawing of the U-Net is that of the network: its boxes, its shapes, its skips."""

import pytest
import torch
from matplotlib.patches import Rectangle

from ddpm_utils.course.unet_drawing import skips_of, unet_drawing
from ddpm_utils.errors import InputError
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig


def trace(network, x_t):
    """(name, kind, shape) of each part in the order in which they run, and the channels that each takes in."""
    rows, taken = [], []

    def note(name):
        def hook(module, ins, out):
            rows.append((name, type(module).__name__, tuple(out.shape[1:])))
            taken.append(ins[0].shape[1])

        return hook

    for name, module in network.named_modules():
        if type(module).__name__ in ("ResidualBlock", "Attention", "Downsample", "Upsample") or name in ("input_conv", "output_conv"):
            module.register_forward_hook(note(name))
    network(x_t, torch.zeros(1, dtype=torch.int64))
    return rows, taken


@pytest.mark.parametrize(("multipliers", "attention"), [((1, 2, 2), (7,)), ((1, 3), (28, 14)), ((2,), ())])
def test_a_skip_leads_to_the_block_that_takes_its_channels(multipliers, attention):
    rows, taken = trace(UNet(UNetConfig(28, 1, 8, multipliers, blocks=1, attention=attention, groups=4)), torch.zeros(1, 1, 28, 28))
    for giver, taker in skips_of([name for name, _, _ in rows]):
        own = rows[taker - 1][2][0]
        assert taken[taker] == own + rows[giver][2][0]
        assert rows[giver][2][1:] == rows[taker][2][1:]


def test_every_part_has_a_box_as_high_as_its_side_and_as_wide_as_its_channels():
    rows, _ = trace(UNet(UNetConfig(16, 1, 8, (1, 2), blocks=1, attention=(8,), groups=4)), torch.zeros(1, 1, 16, 16))
    boxes = [patch for patch in unet_drawing(rows).axes[0].patches if isinstance(patch, Rectangle)]
    assert len(boxes) == len(rows)
    for box, (_, _, (channels, side, _)) in zip(boxes, rows):
        assert box.get_height() == pytest.approx(side / 16)
        assert box.get_width() / boxes[0].get_width() == pytest.approx(channels / rows[0][2][0])


def test_a_network_whose_skips_do_not_pair_up_is_refused():
    with pytest.raises(InputError, match="and every skip needs one"):
        skips_of(["input_conv", "down.0.blocks.0", "down.0.resample", "up.0.blocks.0"])
