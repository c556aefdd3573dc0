"""Chapter 08: a control on a frozen base, with a hint beside each image."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_utils.config import Control, TrainConfig
from ddpm_utils.control.controlnet import ControlNet, control_forward, controlled, save_control
from ddpm_utils.control.hinted_images import HintedSet
from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model, weights_digest
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.batches import Batch, Draw
from ddpm_utils.training.flops import TRAINING, flops_of, forward_flops, image_and_timestep
from ddpm_utils.training.task import Preview, spread_rows
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.unet import Encoder


class ControlTask(GenerationTask):
    """A ControlNet on a base, which is frozen and stays on its own: not trained, averaged or saved. config.task: a `Control`.

    base: the network that config.task.base is the digest of. hint_channels: c of the hints (N, H, W, c).
    """

    result = "control.safetensors"
    can_start = False

    def __init__(self, config: TrainConfig, base: Model, hint_channels: int):
        super().__init__(config)
        if (here := weights_digest(base.network)) != config.task.base:
            raise InputError(f"the control is for another base (weights {config.task.base[:8]}, these are {here[:8]}); load that one")
        self.base, self.hint_channels = base.network.eval().requires_grad_(False), hint_channels

    def check(self, data: ImageSet) -> None:
        """Refuse images without hints, or with hints of another kind."""
        if not isinstance(data, HintedSet) or data.hint_channels != self.hint_channels:
            raise InputError(f"a control needs images with hints of {self.hint_channels} channels; make them by with_hints")

    def digest(self, data: HintedSet) -> str:
        """Recognises images, hints, and the share of them that is dropped."""
        return data.digest_with(self.config.task.hint_dropout)

    def build(self, execution: Execution) -> nn.Module:
        """The control, with the base's weights in its copy; the base goes to the same device."""
        self.base.to(execution.device, memory_format=execution.memory_format)
        self.base.checkpoint_blocks = execution.checkpoint_blocks
        return ControlNet.on(self.base, self.hint_channels, self.config.task.hint)

    def complete(self, batch: Batch, data: HintedSet, draw: Draw) -> Batch:
        """Labels as in the base's training; a hint for each image, zeros where it is dropped."""
        batch = super().complete(batch, data, draw)
        dropped = draw.chance(self.config.task.hint_dropout)
        hint = to_float(draw.pick(data.hints), (0.0,), (1.0,)).masked_fill(dropped[:, None, None, None], 0.0)  # (B, c, H, W)
        return batch._replace(hint=hint)

    def predict(self, network: nn.Module, x_t: Tensor, t: Tensor, hint: Tensor, label: Tensor | None = None) -> Tensor:
        """The base's prediction with the control's additions."""
        return control_forward(self.base, [(network, hint, 1.0)], x_t, t, label)

    def preview(self, network: nn.Module, data: HintedSet, stopped: Callable[[], bool]) -> Preview | None:
        """Three rows: hints, what the controlled base makes of them from fixed noise, the images that they belong to."""
        rows = spread_rows(len(data), 8)
        hint = to_float(data.hints[rows], (0.0,), (1.0,)).to(next(network.parameters()).device)
        label = None if self.config.network.classes is None else torch.from_numpy(data.labels[rows])
        drawn = self.drawn(controlled(self.base, [(network, hint, 1.0)]), len(rows), label, stopped)
        if drawn is None:
            return None
        return Preview(np.concatenate([hints_as_images(data.hints[rows], data.channels), drawn, data.images[rows]]), columns=len(rows))

    def save(self, network: nn.Module, data: ImageSet, path: Path, snapshot: dict | None = None) -> str:
        """A control's file, apart from its base."""
        save_control(network, path, self.config, snapshot)
        return ""

    def training_flops(self) -> int:
        """Operations of one image in training: of the base only the way up has a backward pass, through its inputs alone."""
        shape = self.config.network

        def encode() -> None:
            encoder = Encoder(shape)
            x, t = image_and_timestep(shape)
            emb = encoder.embed(t, None)
            encoder.middle(encoder.encode(x, emb)[0], emb)

        def control() -> None:
            x, t = image_and_timestep(shape)
            ControlNet(shape, self.hint_channels)(x, t, torch.empty(1, self.hint_channels, *x.shape[2:]))

        down = flops_of(encode)
        return down + 2 * (forward_flops(shape) - down) + TRAINING * flops_of(control)


def control_config(base: Model, hint: str, hint_dropout: float = 0.0, **run) -> TrainConfig:
    """The run of a control on this base: its network, noise and labels, and training of its own. run: fields of TrainConfig."""
    task = Control(**asdict(base.config.task), hint=hint, hint_dropout=hint_dropout, base=weights_digest(base.network))
    usual = {"ema_start": 0, "ema_sigmas": (), "ema_every": 1, "start": "", "draws": "host"}
    return replace(base.config, **{**usual, **run}, task=task)


def hints_as_images(hints: np.ndarray, channels: int) -> np.ndarray:
    """Hints (N, H, W, c) uint8 as images (N, H, W, channels) uint8: colours as they are, one channel as grey, classes as shades of grey."""
    c = hints.shape[3]
    if c == channels:
        return hints
    grey = hints.mean(-1, keepdims=True) if c == 3 else hints if c == 1 else hints.argmax(-1)[..., None] * (255 / (c - 1))
    return np.repeat(grey.round().astype(np.uint8), channels, axis=-1)
