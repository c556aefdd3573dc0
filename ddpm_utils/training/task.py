"""Chapter 04: what a task must provide to be trained. The tasks lie in tasks/, the loop knows nothing else of them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.models import save_model
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.batches import Batch, Draw
from ddpm_utils.training.flops import TRAINING, forward_flops
from ddpm_utils.unet import UNet

Predict = Callable[..., Tensor]  # (x_t, t, **conditions) -> what the network predicts, in the precision of the run


class Preview(NamedTuple):
    """What a run shows of itself on its way: images (N, H, W, C) uint8 in rows of `columns`, or a line of text."""

    images: np.ndarray | None = None
    columns: int = 8
    text: str = ""


class Task(Protocol):
    """One kind of training. `config.task` holds its settings."""

    config: TrainConfig
    result: str  # name of the file that people use of the run
    can_start: bool  # from the weights of another run, by --start-from

    def digest(self, data: ImageSet) -> str:
        """Recognises what the run is trained on; every state carries it."""

    def check(self, data: ImageSet) -> None:
        """InputError for images that this task can't be trained on."""

    def build(self, execution: Execution) -> nn.Module:
        """The untrained network, its weights drawn from torch's global generator."""

    def complete(self, batch: Batch, data: ImageSet, draw: Draw) -> Batch:
        """The batch with all that this task draws besides x0, t, eps and label, in an order that never changes."""

    def predict(self, network: nn.Module, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
        """What the network predicts of x_t (B, C, H, W). network: as `build` made it, or wrapped for several processes."""

    def losses(self, predict: Predict, batch: Batch) -> Tensor:
        """The loss of each image, (B,)."""

    def training_flops(self) -> int:
        """Floating-point operations of one image in training, forward and backward."""

    def preview(self, network: nn.Module, data: ImageSet, stopped: Callable[[], bool]) -> Preview | None:
        """What to show of the run now, by its averaged network; None if it was stopped meanwhile."""

    def save(self, network: nn.Module, data: ImageSet, path: Path, snapshot: dict | None = None) -> str:
        """Write the averaged network as a file to use. Returns a sentence for the user, or ""."""

    def remark(self, steps: int, data: ImageSet) -> str:
        """A sentence about what can't be expected yet of a run that ends after so many steps, or ""."""


class UNetTask:
    """What most tasks do: they train a U-Net that predicts by itself, draw nothing besides, and end in a model file."""

    result = "model.safetensors"
    can_start = True

    def __init__(self, config: TrainConfig):
        self.config = config

    def check(self, data: ImageSet) -> None:
        """Nothing more than what the loop checks."""

    def digest(self, data: ImageSet) -> str:
        """The data's own."""
        return data.digest

    def build(self, execution: Execution) -> nn.Module:
        """The U-Net."""
        return UNet(self.config.network)

    def training_flops(self) -> int:
        """Those of the U-Net."""
        return TRAINING * forward_flops(self.config.network)

    def save(self, network: nn.Module, data: ImageSet, path: Path, snapshot: dict | None = None) -> str:
        """A model file."""
        save_model(network, self.config, data.classes, path, snapshot)
        return ""

    def remark(self, steps: int, data: ImageSet) -> str:
        """Nothing."""
        return ""

    def complete(self, batch: Batch, data: ImageSet, draw: Draw) -> Batch:
        """Nothing besides."""
        return batch

    def predict(self, network: nn.Module, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
        """The network's output."""
        return network(x_t, t, **conditions)


def spread_rows(n: int, wanted: int) -> list[int]:
    """`wanted` of the numbers 0 .. n-1, spread evenly, or all of them."""
    return [k * n // wanted for k in range(wanted)] if n >= wanted else list(range(n))
