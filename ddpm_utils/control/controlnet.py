"""Chapter 08: ControlNet, which makes a trained network follow an image without touching its weights.

A trainable copy of the encoder and the middle takes the noisy image and the hint; its output is added to the frozen network's skips
and middle features through 1x1 convolutions that begin as zero. So training starts from the frozen network itself, to the bit, and its
decoder, which the gradient passes through, stays what it was. Zeros hide what lies behind them: in the first step only the zero
convolutions learn, in the second the copy and the last layer of the hint encoder, and everything from the third on.

With Adam a weight moves by at most about the learning rate in a step: at the 1e-5 that is right for large pretrained networks the zero
convolutions of a small one stay near 0 for thousands of steps, and the hint is ignored. Take 1e-3.

Zhang et al. 2023 (2302.05543).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.models import blamed_on, read_weights, weights_digest, with_weights, write_weights
from ddpm_utils.settings import from_values, shown
from ddpm_utils.unet import Encoder, UNet
from ddpm_utils.unet_config import UNetConfig

CONTROL_FORMAT = "ddpm_utils control 1"
HINT_FEATURES = 32  # channels of the hint encoder
MOST_CHANNELS = 1024  # of a hint


class ControlNet(nn.Module):
    """(x_t, t, hint) -> what to add to the skips of the base, a list, and to its middle features.

    hint_channels: c of the hints (B, c, H, W). hint: their name, such as "canny". base_digest: of the network that it belongs to.

    The hint encoder has three convolutions. The last one, which begins as zero, is the part of the copy's first convolution that takes the
    features of the hint as further channels of the image: the sum of two convolutions is one convolution of both inputs.
    """

    def __init__(self, config: UNetConfig, hint_channels: int, hint: str = "", base_digest: str = ""):
        super().__init__()
        if hint_channels < 1:
            raise InputError(f"a hint needs at least 1 channel, got {shown(hint_channels)}")
        if hint_channels > MOST_CHANNELS:
            raise InputError(f"a hint can have at most {MOST_CHANNELS} channels, got {shown(hint_channels)}")
        self.config, self.hint_channels, self.hint, self.base_digest = config, hint_channels, hint, base_digest
        self.run: TrainConfig | None = None  # the training that made it; None for an untrained one, and for files of old
        self.hint_encoder = nn.Sequential(
            nn.Conv2d(hint_channels, HINT_FEATURES, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(HINT_FEATURES, HINT_FEATURES, 3, padding=1),
            nn.SiLU(),
        )
        self.copy = Encoder(config)
        plain = self.copy.input_conv
        self.copy.input_conv = nn.Conv2d(plain.in_channels + HINT_FEATURES * config.patch**2, plain.out_channels, 3, padding=1)
        self.zero_convs = nn.ModuleList(zero_conv(channels) for channels in config.skip_channels)
        self.zero_middle = zero_conv(config.widths[-1])

    @classmethod
    def on(cls, base: UNet, hint_channels: int, hint: str = "") -> "ControlNet":
        """A control for this base, with its weights in the copy, that changes nothing yet."""
        control = cls(base.config, hint_channels, hint, weights_digest(base))
        weights = {name: w for name, w in base.state_dict().items() if not name.startswith(("up.", "output_"))}
        first = control.copy.input_conv.weight.new_zeros(control.copy.input_conv.weight.shape)
        first[:, : base.input_conv.in_channels] = weights["input_conv.weight"]
        control.copy.load_state_dict({**weights, "input_conv.weight": first})
        return control

    def forward(self, x: Tensor, t: Tensor, hint: Tensor, label: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """x: (B, channels, H, W). hint: (B, c, H, W) in [0, 1]. Returns the skips' additions, as UNet.encode orders them, and the middle's."""
        if hint.ndim != 4 or hint.shape[1] != self.hint_channels or hint.shape[2:] != x.shape[2:] or len(x) % len(hint):
            expected = f"({len(x)}, {self.hint_channels}, {x.shape[2]}, {x.shape[3]})"
            raise InputError(f"the hint {self.hint!r} must have the shape {expected}, got {tuple(hint.shape)}")
        hint = hint.to(x).repeat(len(x) // len(hint), 1, 1, 1)  # one hint for all, or a batch that guidance has doubled
        emb = self.copy.embed(t, label)  # (B, 4 width)
        h, skips = self.copy.encode(torch.cat([x, self.hint_encoder(hint)], 1), emb)
        return [conv(skip) for conv, skip in zip(self.zero_convs, skips)], self.zero_middle(self.copy.middle(h, emb))


class Controlled(nn.Module):
    """A base with its controls: a network (x_t, t, label) -> prediction for `make_denoiser`, samplers and guidance. Made by `controlled`."""

    def __init__(self, base: UNet, controls: Sequence[tuple[ControlNet, Tensor, float]]):
        super().__init__()
        self.base, self.controls = base, nn.ModuleList(control for control, _, _ in controls)
        self.hints, self.strengths = [hint for _, hint, _ in controls], [strength for _, _, strength in controls]
        self.config = base.config  # guidance asks for its null label

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        return control_forward(self.base, list(zip(self.controls, self.hints, self.strengths)), x_t, t, label, condition)


def controlled(base: UNet, controls: Sequence[tuple[ControlNet, Tensor, float]]) -> Controlled:
    """The base as it follows these hints: [(control, hint (B or 1, c, H, W), strength), …]; several controls add up.

    strength: 1 as trained, 0 the base itself. Raises InputError for a control that was trained on another base and for a negative
    strength.
    """
    check_base(base, *(control for control, _, _ in controls))
    for _, _, strength in controls:
        if not 0 <= strength < math.inf:
            raise InputError(f"the strength of a control must be at least 0, 1 is as trained; got {strength}")
    return Controlled(base, controls).eval()


def control_forward(
    base: UNet,
    controls: Sequence[tuple[ControlNet, Tensor, float]],
    x_t: Tensor,
    t: Tensor,
    label: Tensor | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """The base's forward pass with strength times each control's additions to its skips and middle features (Zhang et al., eq. 2)."""
    x = base.with_condition(x_t, condition)
    emb = base.embed(t, label)
    h, skips = base.encode(x, emb)
    h = base.middle(h, emb)
    for control, hint, strength in controls:
        if strength != 0:
            additions, middle = control(x, t, hint, label)
            skips = [skip + strength * addition for skip, addition in zip(skips, additions)]
            h = h + strength * middle
    return base.decode(h, skips, emb)


# --- parts ---


def zero_conv(channels: int) -> nn.Conv2d:
    """A 1x1 convolution that begins as zero. Its weights learn from the first step on: their gradient is what flows in, not what flows out."""
    conv = nn.Conv2d(channels, channels, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def check_base(base: UNet, *controls: ControlNet) -> None:
    """Refuse a base that one of the controls was not made for."""
    here = weights_digest(base)
    for control in controls:
        if here != control.base_digest:
            raise InputError(
                f"the control {control.hint!r} was trained on another base (weights {control.base_digest[:8]}, these are {here[:8]}); "
                "load the model that it was trained on"
            )


# --- files ---


def save_control(control: ControlNet, path: Path, run: TrainConfig | None = None, snapshot: dict | None = None) -> None:
    """Write the control apart from its base, as float16 safetensors with the base's digest and the run. Appears whole or not at all."""
    about = {
        "format": CONTROL_FORMAT,
        "base": control.base_digest,
        "hint": control.hint,
        "hint_channels": control.hint_channels,
        "network": asdict(control.config),
        "config": run.to_json() if run else None,
        "snapshot": snapshot or {},
    }
    write_weights(control.state_dict(), about, path)


def load_control(path: Path, device: str | torch.device = "cpu") -> ControlNet:
    """Read a control; the weights become float32. Raises InputError for a missing, damaged or foreign file.

    `controlled` then refuses any base but its own.
    """
    needs = ("network", "hint_channels", "hint", "base")
    about, weights = read_weights(path, CONTROL_FORMAT, "control", "train-control", needs)
    with blamed_on(path):
        config = from_values(UNetConfig, about["network"])
        run = None if about.get("config") is None else TrainConfig.from_json(about["config"])
        if run is not None and run.network != config:
            raise InputError("its network is not the one of its run")
        with torch.device("meta"):
            control = ControlNet(config, about["hint_channels"], about["hint"], about["base"])
    control.run = run
    return with_weights(control, weights, path).to(device).eval()
