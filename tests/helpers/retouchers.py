"""Pairs with a fold each, and small models that retouch them."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ddpm_utils.config import OF_FORMS, Generation, Restoration, TrainConfig
from ddpm_utils.data.pairs import PairSet, change_mask
from ddpm_utils.models import Model
from ddpm_utils.unet import UNet, UNetConfig

SIZE = 32


def make_pairs(n=3, unchanged=0, size=SIZE):
    """Cloth with a weave; the sources have a soft fold in their middle, but for the last `unchanged`."""
    rng = np.random.default_rng(1)
    weave = 150 + 8 * np.sin(np.arange(size) * 2)[:, None, None] + rng.normal(0, 2, (n, size, size, 3))
    fold = np.zeros((size, size, 1))
    fold[size // 4 : size // 2, size // 4 : -size // 4] = 40
    fold = gaussian_filter(fold, (2, 2, 0)) * (np.arange(n) < n - unchanged)[:, None, None, None]
    targets = weave.astype(np.uint8)
    sources = (targets - fold.round()).astype(np.uint8)
    return PairSet(targets, sources=sources, masks=np.stack([change_mask(a, b) for a, b in zip(sources, targets)]))


def restoration(form, prediction="v", **changes):
    """Settings of this form, T = 100, with this prediction where it has one."""
    named = {"timesteps": 100, "prediction": prediction, **changes}
    return Restoration(form=form, **{name: value for name, value in named.items() if name in ("loss", "mask_weight", *OF_FORMS[form])})


def make_model(form, seed=None, bias=None):
    """A fresh restoration model, which says zero; with a seed, one with random weights; bias: of the mask's logit."""
    sizes = UNetConfig(SIZE, 3, 8, (1, 2), 1, (), groups=4, condition_channels=3 if form else 0, extra_channels=1 if form else 0)
    config = TrainConfig(network=sizes, task=restoration(form) if form else Generation())
    network = UNet(sizes).eval()
    with torch.no_grad():
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            for p in network.parameters():
                p.copy_(0.2 * torch.randn(p.shape, generator=generator))
            network.output_conv.weight[-1] *= 10  # so that the mask is open at some pixels and closed at others
        if bias is not None:
            network.output_conv.bias[-1] = bias
    return Model(network, config, (), {})
