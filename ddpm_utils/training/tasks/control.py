"""Training a control: the loop, the states and the session of any other run, with a frozen base and a hint beside each image.

The run's folder holds control.safetensors instead of model.safetensors, and control.json, which says what base and hint it belongs to.
"""

import json

import numpy as np
import torch

from ddpm_utils.config import TrainConfig
from ddpm_utils.control.controlnet import ControlInTraining, ControlNet, controlled, save_control
from ddpm_utils.control.hinted_images import HintedSet
from ddpm_utils.data.images import to_float, to_uint8
from ddpm_utils.errors import InputError
from ddpm_utils.generate import generate, start_noise
from ddpm_utils.models import Model
from ddpm_utils.runtime.device import Execution
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.training.limits import Stopper
from ddpm_utils.training.session import Session, SessionOptions
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNetConfig


def control_trainer(base: Model, config: TrainConfig, data: HintedSet, hint: str, execution: Execution | None = None) -> Trainer:
    """A trainer of a new control on this base, which it freezes. hint: a name for the control's file.

    Its network is a ControlInTraining; its average is the control to keep: `trainer.average_network().control`.
    """
    execution = execution or Execution()
    base.network.to(execution.device, memory_format=execution.memory_format)

    def build(config: UNetConfig) -> ControlInTraining:
        return ControlInTraining(base.network, ControlNet.on(base.network, data.hint_channels, hint))

    return Trainer(config, data, execution, build=build)


def train_control(trainer: Trainer, options: SessionOptions) -> dict:
    """Train until the run is done or a limit is near, as session.train does. Returns what status.json says."""
    check_same_control(trainer, options)
    stopper = Stopper(options.limits)
    with stopper.catching_signals():
        return ControlSession(trainer, options, stopper).run_to_end()


def check_same_control(trainer: Trainer, options: SessionOptions) -> None:
    """Note down base and hint in a new run's folder; refuse to go on with a run of others."""
    control, path = trainer.network.control, options.out / "control.json"
    about = {"hint": control.hint, "base": control.base_digest}
    if not options.resume:
        if trainer.execution.is_first:
            with atomic_write(path) as file:
                file.write(json.dumps(about).encode())
        return
    before = json.loads(path.read_text()) if path.exists() else {}
    for name in about:
        if before.get(name) != about[name]:
            raise InputError(
                f"the run in {str(options.out)!r} has the {name} {before.get(name)!r}, this one {about[name]!r}; match it or use another --out"
            )


class ControlSession(Session):
    """A session that ends in a control instead of a model."""

    def draw_samples(self, n: int = 8, steps: int = 25) -> None:
        """Three rows: hints, what the controlled base makes of them from fixed noise, the images that they belong to."""
        trainer, data, config = self.trainer, self.trainer.data, self.trainer.config
        rows = [k * len(data) // n for k in range(n)] if len(data) >= n else list(range(len(data)))
        hint = to_float(data.hints[rows], (0.0,), (1.0,)).to(trainer.execution.device)
        label = None if config.network.classes is None else torch.from_numpy(data.labels[rows])
        network = controlled(trainer.network.base, [(trainer.average_network().control, hint, 1.0)])
        for step in generate(network, config, start_noise(config, len(rows), seed=0), label, steps=min(steps, config.timesteps)):
            x0 = step.x
            if self.stopper.signalled:
                return
        pictures = hint_pictures(data.hints[rows], data.channels)
        self._save_grid(np.concatenate([pictures, to_uint8(x0, config.mean, config.std), data.images[rows]]), columns=len(rows))

    def save_result(self) -> None:
        """Write the control, apart from its base."""
        save_control(self.trainer.average_network().control, self.out / "control.safetensors")


def hint_pictures(hints: np.ndarray, channels: int) -> np.ndarray:
    """Hints (N, H, W, c) uint8 as pictures (N, H, W, channels) uint8: colours as they are, one channel as grey, classes as shades of grey."""
    c = hints.shape[3]
    if c == channels:
        return hints
    grey = hints.mean(-1, keepdims=True) if c == 3 else hints if c == 1 else hints.argmax(-1)[..., None] * (255 / (c - 1))
    return np.repeat(grey.round().astype(np.uint8), channels, axis=-1)
