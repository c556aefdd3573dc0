"""Floating-point operations, counted without computing: on torch's meta device, where attention is counted too."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

TRAINING = 3  # a training step costs this many forward passes: its backward pass two


def flops_of(run: Callable[[], object]) -> int:
    """Operations of what `run` does. Networks and tensors that it makes exist on the meta device only."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def image_and_timestep(config: UNetConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network of this shape takes, for one image: x_t (1, C, H, W) and t (1,)."""
    return torch.empty(1, config.channels, config.image_size, config.image_size), torch.empty(1, dtype=torch.int64)


def forward_flops(config: UNetConfig) -> int:
    """Operations of one forward pass of a U-Net over one image."""

    def run() -> None:
        x, t = image_and_timestep(config)
        condition = torch.empty(1, config.condition_channels, *x.shape[2:]) if config.condition_channels else None
        UNet(config)(x, t, condition=condition)

    return flops_of(run)
