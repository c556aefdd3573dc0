"""Facts that notebook 03 relies on and no other test states: the layers and their cost."""

import math

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_utils.unet import Attention, Downsample, ResidualBlock, UNet, UNetConfig, Upsample

CONFIG = UNetConfig(image_size=16, width=16, multipliers=(1, 2), attention=(8,), groups=4)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_layer(layer, seed=0):
    with torch.no_grad():
        for k, p in enumerate(layer.parameters()):
            p.copy_(0.3 * draw(*p.shape, seed=seed + k))
    return layer.double()


@torch.no_grad()
def test_attention_is_its_formula_pixel_by_pixel():
    layer, x = random_layer(Attention(CONFIG, 8)), draw(1, 8, 3, 2)
    tokens = layer.norm(x).flatten(2)[0].T  # (6, 8)
    q, k, v = (tokens @ w.T + b for w, b in zip(layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3)))
    for i in range(6):
        scores = [math.exp(sum(q[i] * k[j]) / math.sqrt(8)) for j in range(6)]
        mixed = sum(s / sum(scores) * v[j] for j, s in enumerate(scores))
        expected = x[0].flatten(1)[:, i] + layer.out.weight @ mixed + layer.out.bias
        assert (layer(x)[0].flatten(1)[:, i] - expected).abs().max() < 1e-10


def test_a_residual_block_is_its_formula():
    block, x, emb = random_layer(ResidualBlock(CONFIG, 8, 16)), draw(2, 8, 4, 4), draw(2, 64, seed=1)

    def normed(h, norm):
        groups = h.reshape(len(h), 4, -1)
        centred = groups - groups.mean(2, keepdim=True)
        h = (centred / (centred.square().mean(2, keepdim=True) + 1e-6).sqrt()).reshape(h.shape)
        h = h * norm.weight[:, None, None] + norm.bias[:, None, None]
        return h / (1 + (-h).exp())  # SiLU

    h = block.conv1(normed(x, block.norm1)) + (emb / (1 + (-emb).exp()) @ block.time.weight.T + block.time.bias)[:, :, None, None]
    assert (block(x, emb) - block.shortcut(x) - block.conv2(normed(h, block.norm2))).abs().max() < 1e-10


def test_down_pads_right_and_below_and_up_repeats_pixels():
    down, up, x = random_layer(Downsample(3, True)), random_layer(Upsample(3)), draw(1, 3, 6, 6)
    padded = torch.zeros(1, 3, 7, 7, dtype=torch.float64)
    padded[:, :, :6, :6] = x
    expected = (down.conv.weight * padded[:, :, 4:7, 4:7]).sum((1, 2, 3)) + down.conv.bias
    assert down(x).shape == (1, 3, 3, 3)
    assert (down(x)[0, :, 2, 2] - expected).abs().max() < 1e-12
    repeated = torch.tensor([[x[0, c, i // 2, j // 2] for i in range(12) for j in range(12)] for c in range(3)]).reshape(1, 3, 12, 12)
    assert (up(x) - up.conv(repeated)).abs().max() < 1e-12


def test_hos_network_costs_37_gflop_an_image_forward_and_backward():
    with torch.device("meta"):  # shapes without memory
        network, x, t = UNet(UNetConfig.ho_cifar10()), torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            network(x, t)
    assert abs(3 * counter.get_total_flops() / 1e9 - 37.3) < 0.3
