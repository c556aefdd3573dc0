"""What sampling costs beyond the network: `generate` beside as many bare forward passes over the same batch."""

import statistics

import torch
from contestants import timed

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.generate import generate
from ddpm_utils.runtime.device import Execution
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

STEPS = 10


def line(config: UNetConfig, execution: Execution, batch: int, rounds: int) -> str:
    """The share that a DDIM step of this network adds to a forward pass, in a sentence."""
    torch.manual_seed(0)
    network = UNet(config).to(execution.device, memory_format=execution.memory_format).eval()
    run = TrainConfig(network=config, task=Generation())
    x = torch.randn(batch, config.channels, config.image_size, config.image_size)
    placed, t = execution.place(x), torch.full((batch,), 500, device=execution.device)

    @torch.no_grad()
    def bare() -> None:
        for _ in range(STEPS):
            network(placed, t)

    def sampled() -> None:
        for _ in generate(network, run, x, steps=STEPS):
            pass

    pairs = [(timed(bare, execution.device), timed(sampled, execution.device)) for _ in range(rounds + 1)][1:]
    share = statistics.median(b / a for a, b in pairs) - 1
    return f"A step of DDIM at {config.image_size} px, batch {batch}, takes {share:+.1%} beyond the network's forward pass."
