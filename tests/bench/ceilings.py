"""What the machine can do at most: a matrix product, and the convolutions of our network alone, each in the better of both layouts."""

import torch
from contestants import LAYOUTS, timed
from torch import nn

from ddpm_utils.runtime.device import Execution
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

SIDE = 1024


def matrix_product(execution: Execution, rounds: int) -> float:
    """FLOP/s of (SIDE, SIDE) times (SIDE, SIDE)."""
    a, b = (torch.randn(SIDE, SIDE, device=execution.device) for _ in range(2))

    def product() -> None:
        with execution.autocast():
            a @ b

    return 2 * SIDE**3 / min(timed(product, execution.device) for _ in range(rounds + 1))


def convolutions(config: UNetConfig, execution: Execution, batch: int, rounds: int) -> tuple[float, float]:
    """FLOP/s of all convolutions of this network without what lies between them: (forwards, forwards and backwards)."""
    forwards = whole = flops = 0.0
    for (convolution, shape), count in shapes_of(config).items():
        fastest = [min(pair) for pair in zip(*(seconds(convolution, shape, layout, execution, batch, rounds) for layout in LAYOUTS))]
        forwards, whole = forwards + count * fastest[0], whole + count * fastest[1]
        inputs, outputs, kernel, stride, _ = convolution
        flops += count * 2 * batch * inputs * outputs * kernel**2 * (shape[1] // stride) * (shape[2] // stride)
    return flops / forwards, 3 * flops / whole


def shapes_of(config: UNetConfig) -> dict:
    """{((in, out, kernel, stride, padding), shape of the input (C, H, W)): how often the network has it}."""
    found: dict = {}
    with torch.device("meta"):
        network = UNet(config)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda module, inputs, output: note(found, module, inputs[0]))
        network(torch.empty(1, config.channels, config.image_size, config.image_size), torch.zeros(1, dtype=torch.int64))
    return found


def note(found: dict, module: nn.Conv2d, x: torch.Tensor) -> None:
    """Count a convolution and its input."""
    key = (module.in_channels, module.out_channels, module.kernel_size[0], module.stride[0], module.padding[0]), tuple(x.shape[1:])
    found[key] = found.get(key, 0) + 1


def seconds(convolution: tuple, shape: tuple, layout: str, execution: Execution, batch: int, rounds: int) -> tuple[float, float]:
    """(forwards, forwards and backwards), the least of some rounds after one that warms up."""
    inputs, outputs, kernel, stride, padding = convolution
    one = nn.Conv2d(inputs, outputs, kernel, stride, padding).to(execution.device, memory_format=LAYOUTS[layout])
    x = torch.randn(batch, *shape, device=execution.device).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()

    def forwards() -> torch.Tensor:
        with execution.autocast():
            return one(x)

    with torch.no_grad():
        dy = torch.randn_like(forwards())
        alone = [timed(forwards, execution.device) for _ in range(rounds + 1)][1:]
    both = [timed(lambda: forwards().backward(dy), execution.device) for _ in range(rounds + 1)][1:]
    return min(alone), min(both)
