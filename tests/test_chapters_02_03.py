"""Facts that notebooks 02 and 03 rely on and no other test states: the forward law, the ideal denoiser, the layers, the cost."""

import math

import torch
from torch.distributions import Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from ddpm_utils.diffusion import prior_term, q_sample
from ddpm_utils.ideal import dataset_denoiser
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import Attention, Downsample, ResidualBlock, UNet, UNetConfig, Upsample

S = NoiseSchedule.linear(1000)
CONFIG = UNetConfig(image_size=16, width=16, multipliers=(1, 2), attention=(8,), groups=4)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_layer(layer, seed=0):
    with torch.no_grad():
        for k, p in enumerate(layer.parameters()):
            p.copy_(0.3 * draw(*p.shape, seed=seed + k))
    return layer.double()


# --- 02: the forward process ---


def test_the_steps_carry_mean_and_covariance_as_the_closed_form_does():
    mean, covariance = torch.tensor([0.8, -0.3], dtype=torch.float64), torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=torch.float64)
    m, c, identity = mean, covariance, torch.eye(2, dtype=torch.float64)
    for t in range(S.T):
        m, c = (1 - S.betas[t]).sqrt() * m, (1 - S.betas[t]) * c + S.betas[t] * identity
        if t in (0, 1, 259, 999):
            zero = torch.zeros(2, dtype=torch.float64)
            from_x0 = torch.stack([q_sample(S, e, t, zero) for e in identity])  # q_sample is linear in both
            from_eps = torch.stack([q_sample(S, zero, t, e) for e in identity])
            assert (from_x0 @ mean - m).abs().max() < 1e-12
            assert (from_x0 @ covariance @ from_x0.T + from_eps @ from_eps.T - c).abs().max() < 1e-12


def test_the_last_term_of_the_bound_is_the_divergence_from_pure_noise():
    for s in (S, NoiseSchedule.linear(300)):
        x0, ab = draw(3, 1, 4, 4).clamp(-1, 1), s.alpha_bar[-1]
        expected = kl_divergence(Normal(ab.sqrt() * x0, (1 - ab).sqrt()), Normal(0.0, 1.0)).flatten(1).mean(1) / math.log(2)
        assert (prior_term(s, x0) - expected).abs().max() < 1e-10
        formula = 0.5 * (ab * (x0**2 - 1) - torch.log(1 - ab)).flatten(1).mean(1) / math.log(2)
        assert (formula - expected).abs().max() < 1e-10


def test_the_ideal_denoiser_is_bayes_rule_over_its_data():
    data, t = draw(7, 1, 2, 3), torch.tensor([0, 100, 500, 999])
    x_t = q_sample(S, data[:4], t, draw(4, 1, 2, 3, seed=1))
    for x, step, ours in zip(x_t, t, dataset_denoiser(S, data)(x_t, t)):
        ab = S.alpha_bar[step]
        log = Normal(ab.sqrt() * data, (1 - ab).sqrt()).log_prob(x).sum((1, 2, 3))  # of x_t given each picture
        weights = (log - log.max()).exp() / (log - log.max()).exp().sum()
        assert (ours - sum(w * picture for w, picture in zip(weights, data))).abs().max() < 1e-9


# --- 03: the layers and their cost ---


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
