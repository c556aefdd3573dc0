"""Chapter 08: a small network that predicts the segmentation and depth of toy cars: which part covers each pixel, and how deep it lies.

A generated image has no ground truth that its segmentation or depth could be compared with. This reader's predictions stand in for it. What
they score on real images, whose ground truth is known, is the most that generated ones can be expected to.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_utils.data.images import to_float
from ddpm_utils.data.synthetic.cars import CarSet
from ddpm_utils.data.synthetic.vehicles import PARTS
from ddpm_utils.unet import UNet, UNetConfig

DEPTH_WEIGHT = 30.0  # of the squared error of depths, which are of the order of 0.1, beside the cross entropy of parts
GRAIN = 0.05  # noise on the images in training, so that traces of a generator's own don't confuse it


class Reading(NamedTuple):
    parts: Tensor  # (B, H, W) int64, numbers in PARTS
    depth: Tensor  # (B, H, W) float32


class CarReader:
    """(B, 3, H, W) in [-1, 1] -> Reading. Made by `train_reader`."""

    def __init__(self, network: UNet):
        self.network = network.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Reading:
        device = next(self.network.parameters()).device
        scores, depth = _scores_and_depth(self.network, images.to(device))
        return Reading(scores.argmax(1).cpu(), depth.cpu())


def train_reader(cars: CarSet, steps: int, seed: int = 0, batch_size: int = 32, device: str = "cpu") -> CarReader:
    """A reader, trained on cars whose parts and depth are known; half of them mirrored."""
    generator = torch.Generator().manual_seed(seed)
    config = UNetConfig(
        image_size=cars.size,
        width=32,
        multipliers=(1, 2, 3),
        blocks=1,
        attention=(),
        middle_attention=False,
        groups=8,
        patch=2,
        extra_channels=len(PARTS) + 1 - 3,  # beside the 3 of an image: a score for each part, and the depth
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(config).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(cars), (batch_size,), generator=generator).numpy()
        x = to_float(cars.images[rows])  # (B, 3, H, W)
        x = x + GRAIN * torch.randn(x.shape, generator=generator)
        parts, depth = torch.from_numpy(cars.segmentation[rows]).long(), torch.from_numpy(cars.depth[rows])  # (B, H, W)
        if torch.rand((), generator=generator) < 0.5:
            x, parts, depth = (value.flip(-1) for value in (x, parts, depth))
        scores, found = _scores_and_depth(network, x.to(device))
        loss = F.cross_entropy(scores, parts.to(device)) + DEPTH_WEIGHT * F.mse_loss(found, depth.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return CarReader(network)


def _scores_and_depth(network: UNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, parts, H, W) and (B, H, W): a U-Net needs a timestep, here always 0."""
    out = network(images, torch.zeros(len(images), dtype=torch.long, device=images.device))
    return out[:, :-1], out[:, -1]
