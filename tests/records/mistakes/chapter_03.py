"""Trials of chapter 03: the network."""

import torch
import torch.nn.functional as F
from mistakes.bench import (
    LABELS,
    LINEAR,
    NETWORK,
    Mistake,
    Seen,
    beside,
    compared,
    digits,
    draw,
    fresh,
    held_out,
    noise,
    quarters,
    read,
    right,
    train,
)
from torch import Tensor, nn

from ddpm_utils.errors import InputError
from ddpm_utils.sampling import ddpm
from ddpm_utils.unet import Attention, UNet, Upsample
from ddpm_utils.unet_config import UNetConfig


def t_over_T() -> Seen:
    seen = compared(train("t_over_T", tell=lambda t: t / 1000).network, tell=lambda t: t / 1000)
    blind = train("no_t", tell=torch.zeros_like).network
    said = f"a network that isn't told t at all: loss {quarters(held_out(blind, torch.zeros_like))}, "
    said += f"{read(draw(blind, tell=torch.zeros_like))} read as asked"
    return Seen(f"{seen.said}; {said}", seen.picture)


def replaced(network: nn.Module, kind: type, other) -> nn.Module:
    """The network with every module of a kind replaced by other(module)."""
    for name, child in network.named_children():
        if isinstance(child, kind):
            setattr(network, name, other(child))
        else:
            replaced(child, kind, other)
    return network


def batch_norm() -> Seen:
    torch.manual_seed(0)
    network = train("batch_norm", replaced(fresh(), nn.GroupNorm, lambda norm: nn.BatchNorm2d(norm.num_channels))).network

    def drawn(x_T: Tensor, labels: Tensor) -> Tensor:
        """By the network in the mode that it is in; make_denoiser itself would switch to eval."""
        by_hand = Hands(network)
        *_, last = ddpm(by_hand.denoiser(labels), x_T, LINEAR, steps=50, generator=torch.Generator().manual_seed(1))
        return last.x

    class Hands:
        def __init__(self, network):
            self.network = network

        def denoiser(self, labels):
            def answer(x, t):
                with torch.no_grad():
                    eps = self.network(x, t, label=labels)
                ab = LINEAR.alpha_bar[t].float().view(-1, 1, 1, 1)
                return ((x - (1 - ab).sqrt() * eps) / ab.sqrt()).clamp(-1, 1)

            return answer

    rows = {"eval": drawn(noise(), LABELS)}
    network.train().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # its running statistics stay as they are
    rows["train, 100"] = drawn(noise(), LABELS)
    rows["train, alone"] = torch.cat([drawn(noise()[k : k + 1], LABELS[k : k + 1]) for k in range(20)])
    same = (rows["train, 100"][:20] - rows["train, alone"]).abs().mean()
    few = read(rows["train, alone"].repeat(5, 1, 1, 1), LABELS[:20].repeat(5))
    said = f"a batch of 100 in train mode: {read(rows['train, 100'])} of 100 read as asked; each alone: {few} in a hundred of 20; "
    said += f"in eval mode: {read(rows['eval'])} of 100. The same noise alone and in the batch gives images that lie {same:.2f} apart"
    return Seen(f"{said} (mean absolute difference; the range is 2)", beside(rows))


class Scrambled(Attention):
    """Attention without the permute: its rows mix the pixels of one channel."""

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        tokens = self.norm(x).reshape(B, H * W, C)
        q, k, v = self.qkv(tokens).chunk(3, 2)
        return x + self.out((q @ k.transpose(1, 2) / C**0.5).softmax(2) @ v).reshape(B, C, H, W)


def scrambled_attention() -> Seen:
    network = fresh()
    for module in network.modules():
        if isinstance(module, Attention):
            module.__class__ = Scrambled
    return compared(train("scrambled_attention", network).network)


def transposed(up: Upsample) -> nn.Module:
    """A transposed convolution of the same channels, kernel 3."""
    channels = up.conv.in_channels
    return nn.ConvTranspose2d(channels, channels, 3, stride=2, padding=1, output_padding=1)


def checkerboard(x: Tensor) -> float:
    """Share of the power of the pixels' differences that alternates from pixel to pixel in both directions."""
    power = torch.fft.fft2(x - x.mean((2, 3), keepdim=True)).abs().square()
    near = power[..., 6:9, 6:9].sum((2, 3))  # the corner of frequencies, half a turn a pixel both ways
    return (near / power.sum((2, 3))).mean().item()


def transposed_convolution() -> Seen:
    said, rows = [], {}
    for steps in (150, 1200):
        torch.manual_seed(0)
        wrong = train(f"transposed {steps}", replaced(fresh(), Upsample, transposed), steps=steps).network
        fine = train(f"right {steps}", steps=steps).network if steps < 1200 else right().network
        rows |= {f"{steps}, right": draw(fine), f"{steps}, transp.": draw(wrong)}
        shares = [checkerboard(draw(network)) for network in (wrong, fine)]
        losses = [held_out(network)[0] for network in (wrong, fine)]
        said.append(
            f"after {steps} steps the finest checkerboard holds {shares[0]:.2%} of the samples' power (right run: {shares[1]:.2%}; "
            f"digits: {checkerboard(digits()[2]):.2%}), and the held-out loss is {losses[0]:.4f} ({losses[1]:.4f})"
        )
    return Seen("; ".join(said), beside(rows))


class Floors(nn.Module):
    """Down to 3 from 7, and up to 6: the skip of 7 doesn't fit."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), x], 1)


def size_that_does_not_halve() -> Seen:
    try:
        Floors()(torch.zeros(1, 1, 7, 7))
    except RuntimeError as error:
        return Seen(f'torch stops with "{error}"')
    raise AssertionError("7 was halved")


def size_refused() -> Seen:
    try:
        UNetConfig(image_size=28, multipliers=(1, 2, 2, 2))
    except InputError as error:
        return Seen(f'"{error}"')
    raise AssertionError("28 was halved three times")


def cosines_first() -> Seen:
    details = {
        name: getattr(NETWORK, name)
        for name in ("image_size", "channels", "width", "multipliers", "blocks", "attention", "groups", "classes")
    }
    swapped = UNet(UNetConfig(**details, cosines_first=True))
    swapped.load_state_dict(right().network.state_dict())
    return compared(swapped.eval())


MISTAKES = [
    Mistake("t_over_T", "03", "t divided by T", t_over_T),
    Mistake("batch_norm", "03", "BatchNorm, sampled in train mode", batch_norm),
    Mistake("scrambled_attention", "03", "Attention without the permute", scrambled_attention),
    Mistake("transposed_convolution", "03", "A transposed convolution on the way up", transposed_convolution),
    Mistake("size_that_does_not_halve", "03", "A size that doesn't halve", size_that_does_not_halve),
    Mistake("size_refused", "03", "The same size, given to the package", size_refused),
    Mistake("cosines_first", "03", "Cosines before sines in a converted checkpoint", cosines_first),
]
