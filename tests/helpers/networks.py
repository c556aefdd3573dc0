"""Small networks for tests, as if they had been trained."""

import torch

from ddpm_utils.unet import UNet


def as_if_trained(config, seed=0):
    """A network none of whose weights is zero, as some are at the start."""
    generator = torch.Generator().manual_seed(seed)
    network = UNet(config)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=generator) if p.ndim > 1 else p + 0.1 * torch.randn(p.shape, generator=generator))
    return network.eval()


def stirred(network, seed=2, size=0.05):
    """The network itself, every weight moved by about `size`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator))
    return network
