"""Chapter 03: the U-Net that takes a noisy image and a timestep, and predicts the noise (or x_0, or v).

Residual blocks of two 3x3 convolutions at each of several resolutions, self-attention at chosen ones, the timestep added
inside every block, and a skip connection from each encoder block to its mirror in the decoder. With `UNetConfig.ho_cifar10()` it is,
weight for weight, the 35.7 M network of Ho et al. 2020 (2006.11239, appendix B).

`from_diffusers` and `to_diffusers` exchange weights with diffusers' UNet2DModel; the map is in interop.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ddpm_utils.errors import InputError
from ddpm_utils.interop import (
    options_from_diffusers,
    options_to_diffusers,
    predicts_variance,
    weights_from_diffusers,
    weights_to_diffusers,
)
from ddpm_utils.runtime.console import say
from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.settings import shown
from ddpm_utils.unet_config import UNetConfig


class Encoder(nn.Module):
    """A U-Net's way down and its middle: what classifiers and controls have of it. `embed`, `encode` and `middle` are used one by one."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.checkpoint_blocks = False  # recompute activations in the backward pass, to save memory
        emb = 4 * config.width
        self.time_mlp = nn.Sequential(nn.Linear(config.width, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label_embedding = None if config.classes is None else nn.Embedding(config.classes + 1, emb)
        inputs, channels = (config.channels + config.condition_channels) * config.patch**2, config.widths[0]
        self.input_conv = nn.Conv2d(inputs, channels, 3, padding=1)

        self.down = nn.ModuleList()
        for level, (width, resolution) in enumerate(zip(config.widths, config.resolutions)):
            is_last = level == len(config.widths) - 1
            resample = None if is_last else Downsample(width, config.asymmetric_padding)
            self.down.append(Level(config, [channels] + [width] * (config.blocks - 1), width, resolution in config.attention, resample))
            channels = width

        self.middle = Middle(config, channels)

    def with_condition(self, x_t: Tensor, condition: Tensor | None) -> Tensor:
        """x_t with the condition's channels behind its own, both checked."""
        c = self.config
        if x_t.ndim != 4 or x_t.shape[1] != c.channels or x_t.shape[2] % c.multiple or x_t.shape[3] % c.multiple:
            raise InputError(f"x_t must be (B, {c.channels}, H, W) with H and W multiples of {c.multiple}, got shape {tuple(x_t.shape)}")
        if (condition is None) != (c.condition_channels == 0):
            raise InputError(
                f"this network takes {c.condition_channels or 'no'} condition channels, got {'none' if condition is None else 'some'}"
            )
        return x_t if condition is None else torch.cat([x_t, condition], 1)

    def embed(self, t: Tensor, label: Tensor | None) -> Tensor:
        """(B,) timesteps and labels -> (B, 4 width): sinusoids, two linear layers, plus the label's row."""
        c = self.config
        features = timestep_embedding(t, c.width, c.cosines_first, c.frequency_shift)  # (B, width)
        emb = self.time_mlp(features.to(self.input_conv.weight.dtype))  # (B, 4 width)
        if self.label_embedding is None:
            if label is not None:
                raise InputError("this network has no labels (classes=None), got a label")
            return emb
        if label is None:
            label = torch.full_like(t, c.null_label)
        return emb + self.label_embedding(label)

    def encode(self, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The way down. Returns the coarsest features and one skip for the input, each block and each downsampling."""
        h = self.input_conv(F.pixel_unshuffle(x, self.config.patch))
        skips = [h]
        for level in self.down:
            for block, attention in zip(level.blocks, level.attentions):
                h = self._run(block, attention, h, emb)
                skips.append(h)
            if level.resample is not None:
                h = level.resample(h)
                skips.append(h)
        return h, skips

    def _run(self, block: nn.Module, attention: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
        if self.checkpoint_blocks and torch.is_grad_enabled():
            return checkpoint(lambda h, emb: attention(block(h, emb)), h, emb, use_reentrant=False)
        return attention(block(h, emb))


class UNet(Encoder):
    """(x_t, t) -> prediction with the shape of x_t, and with `extra_channels` more channels if the network has them.

    x_t: (B, channels, H, W), H and W multiples of `config.multiple`. t: (B,) int64, 0-based.
    label: (B,) int64 in 0 .. classes, where `classes` is the null label; left out, every image gets the null label.
    condition: (B, condition_channels, H, W), only for networks that were built with it.
    """

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        first, channels, skips = config.widths[0], config.widths[-1], list(config.skip_channels)
        self.up = nn.ModuleList()
        for level, (width, resolution) in enumerate(zip(config.widths[::-1], config.resolutions[::-1])):
            inputs = []
            for _ in range(config.blocks + 1):
                inputs.append(channels + skips.pop())
                channels = width
            resample = None if level == len(config.widths) - 1 else Upsample(width)
            self.up.append(Level(config, inputs, width, resolution in config.attention, resample))

        self.output_norm = nn.GroupNorm(config.groups, first, config.norm_eps)
        self.output_conv = nn.Conv2d(first, (config.channels + config.extra_channels) * config.patch**2, 3, padding=1)
        nn.init.zeros_(self.output_conv.weight)  # the first prediction is 0: a loss of 1 for eps, and no wild first step
        nn.init.zeros_(self.output_conv.bias)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        x = self.with_condition(x_t, condition)  # (B, channels + condition_channels, H, W)
        emb = self.embed(t, label)  # (B, 4 width)
        h, skips = self.encode(x, emb)
        h = self.middle(h, emb)
        return self.decode(h, skips, emb)

    def decode(self, h: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        """The way up: every block takes the features so far and the skip of its mirror image, last in, first out."""
        skips = list(skips)
        for level in self.up:
            for block, attention in zip(level.blocks, level.attentions):
                h = self._run(block, attention, torch.cat([h, skips.pop()], 1), emb)
            if level.resample is not None:
                h = level.resample(h)
        return F.pixel_shuffle(self.output_conv(F.silu(self.output_norm(h))), self.config.patch)

    @classmethod
    def from_diffusers(cls, model, last_is_no_label: bool = True) -> "UNet":
        """The same network as a diffusers UNet2DModel, with its weights. Raises InputError for options that this one lacks.

        last_is_no_label: whether the last of its class embeddings stands for no label; if not, one of zeros is added that does.
        """
        if type(model).__name__ != "UNet2DModel":
            raise InputError(f"only a diffusers UNet2DModel can be converted, got {shown(model)}; load one by UNet2DModel.from_pretrained")
        network = cls(UNetConfig(**options_from_diffusers(model.config, last_is_no_label)))
        if predicts_variance(model.config):
            say("the variance that the network predicts beside the image is left out")
        if network.config.classes and last_is_no_label:
            say(f"{network.config.classes} classes, and the last embedding for no label; where it is a class: last_is_no_label=False")
        network.load_state_dict(weights_from_diffusers(model.state_dict(), network.state_dict()))
        return network.train(model.training)

    def to_diffusers(self):
        """A diffusers UNet2DModel with these weights and equal outputs; condition channels become input, extra ones output channels."""
        options = options_to_diffusers(self.config)
        import_torchvision()
        from diffusers import UNet2DModel  # only here: nothing else needs it installed

        model = UNet2DModel(**options)
        model.load_state_dict(weights_to_diffusers(self.state_dict()))
        return model.train(self.training)


class Level(nn.Module):
    """All blocks of one resolution, and the change to the next one. The U-Net itself runs them, since skips run between."""

    def __init__(self, config: UNetConfig, inputs: list[int], width: int, attend: bool, resample: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(config, channels, width) for channels in inputs)
        self.attentions = nn.ModuleList(Attention(config, width) if attend else nn.Identity() for _ in inputs)
        self.resample = resample


class Middle(nn.Module):
    """Block, attention, block at the coarsest resolution, where every pixel can see every other."""

    def __init__(self, config: UNetConfig, width: int):
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(config, width, width) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(config, width) if config.middle_attention else nn.Identity()])

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.blocks[1](self.attentions[0](self.blocks[0](h, emb)), emb)


class ResidualBlock(nn.Module):
    """Twice norm, SiLU, 3x3 convolution, with the time embedding added in between; plus the input.

    (B, in, H, W), (B, 4 width) -> (B, out, H, W). It begins as (a projection of) the identity: the last convolution is zero.
    """

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int):
        super().__init__()
        groups, eps = config.groups, config.norm_eps
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(4 * config.width, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))  # (B, out, H, W)
        h = h + self.time(F.silu(emb))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """Self-attention over all pixels, plus the input. (B, C, H, W) -> the same; cost grows with (H W) squared."""

    def __init__(self, config: UNetConfig, channels: int):
        super().__init__()
        self.heads = channels // (config.head_channels or channels)
        self.norm = nn.GroupNorm(config.groups, channels, config.norm_eps)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(B, H * W, C)
        q, k, v = self.qkv(tokens).view(B, H * W, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)  # each (B, heads, HW, C/heads)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, H * W, C)
        return x + self.out(mixed).view(B, H, W, C).permute(0, 3, 1, 2)


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, C, H/2, W/2) by a 3x3 convolution with stride 2."""

    def __init__(self, channels: int, asymmetric_padding: bool):
        super().__init__()
        self.asymmetric_padding = asymmetric_padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0 if asymmetric_padding else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.asymmetric_padding else x)


class Upsample(nn.Module):
    """(B, C, H, W) -> (B, C, 2H, 2W): nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def timestep_embedding(t: Tensor, dim: int, cosines_first: bool = False, frequency_shift: int = 1) -> Tensor:
    """Sinusoids of t at dim / 2 frequencies, from 1 down to about 1/10000 (Vaswani et al. 2017, section 3.5).

    t: (B,) -> (B, dim) float32, dim even.
    """
    half = dim // 2
    exponent = torch.arange(half, dtype=torch.float32, device=t.device) / (half - frequency_shift)
    angles = t[:, None].float() * torch.exp(-math.log(10000) * exponent)  # (B, dim / 2)
    parts = (angles.cos(), angles.sin()) if cosines_first else (angles.sin(), angles.cos())
    return torch.cat(parts, 1)
