"""What people import: `import ddpm_utils as du`. A trained model by its name, and the parts to build one's own.

>>> import ddpm_utils as du
>>> model = du.load("digits")
>>> model.sample(2, label="3", steps=2).shape
(2, 28, 28, 1)

Everything else of the package stays where it is, such as `ddpm_utils.guidance`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import to_uint8
from ddpm_utils.errors import InputError
from ddpm_utils.generate import generate, labels_of, start_noise, trained_denoiser
from ddpm_utils.models import Model, find_weights, load_model
from ddpm_utils.recipes import read_recipes
from ddpm_utils.restoration.full_resolution import retouch
from ddpm_utils.restoration.settings import RetouchSettings
from ddpm_utils.runtime.device import choose_device
from ddpm_utils.sampling import Denoiser, ddim, ddpm, dpm_solver, make_denoiser, sample
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

__all__ = [
    "InputError",
    "NoiseSchedule",
    "TrainedModel",
    "UNet",
    "UNetConfig",
    "ddim",
    "ddpm",
    "dpm_solver",
    "load",
    "make_denoiser",
    "shipped_models",
]


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with all that its training tells: made by `load`.

    model: with the fields `network`, `config`, `classes` and `snapshot`, as ddpm_utils.models has it.
    """

    model: Model

    @property
    def network(self) -> UNet:
        """The network itself, (x_t, t, label, condition) -> what it predicts, in eval mode."""
        return self.model.network

    @property
    def config(self) -> TrainConfig:
        """The run that made it."""
        return self.model.config

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels' names, in order; empty for a network without labels."""
        return self.model.classes if self.config.network.classes else ()

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise that it was trained with.

        >>> du.load("digits").schedule.T
        1000
        """
        return self.config.noise_schedule()

    def sample(
        self,
        n: int = 1,
        label: str | int | None = None,
        guidance: float = 1.0,
        steps: int | None = None,
        sampler: str = "ddim",
        seed: int = 0,
    ) -> np.ndarray:
        """n new images, uint8 (n, H, W, C), the same for the same seed: those of the command `sample` with these settings.

        label: a class by name or number; None: all classes in turn. guidance: 1 is plain, 1.5 to 5 pulls images towards their label.
        steps: 50 where nothing is said. sampler: "ddim", "ddpm", "dpm" or "heun". Raises InputError for what the model hasn't got.

        >>> du.load("toy-cars").sample(3, label="bus", guidance=2, steps=2).dtype
        dtype('uint8')
        """
        if n < 1:
            raise InputError(f"n must be at least 1, got {n}")
        count = min(50, self.config.timesteps) if steps is None else steps
        x_T = start_noise(self.config, n, seed)
        x0 = sample(generate(self.network, self.config, x_T, self.labels(n, label), sampler, count, guidance, seed=(seed, 0)))
        return to_uint8(x0, self.config.mean, self.config.std)

    def labels(self, n: int, label: str | int | None = None) -> Tensor | None:
        """(n,) labels of one class, by name or number, or of all in turn; None for a network without labels. InputError for others.

        >>> du.load("toy-cars").labels(2, "bus")
        tensor([0, 0])
        """
        return labels_of(label, n, self.classes, self.config.network.classes)

    def denoiser(self, label: Tensor | None = None, guidance: float = 1.0) -> Denoiser:
        """The function (x_t, t) -> x0_hat that samplers take, for images with these labels (B,).

        >>> import torch
        >>> denoiser = du.load("digits").denoiser(torch.tensor([3]))
        >>> denoiser(torch.zeros(1, 1, 28, 28), torch.tensor([999])).shape
        torch.Size([1, 1, 28, 28])
        """
        return trained_denoiser(self.network, self.config, label, guidance)

    def retouch(self, image: np.ndarray, **settings) -> np.ndarray:
        """A photograph (H, W, 3) or (H, W, 1), uint8 or uint16, without its wrinkles; same shape and dtype.

        settings: fields of ddpm_utils.restoration.settings.RetouchSettings, such as strength=0.7. Raises InputError for a model that
        draws images from noise.

        >>> du.load("retouch").retouch(np.full((32, 48, 3), 200, np.uint8)).shape
        (32, 48, 3)
        """
        return retouch(self.model, image, RetouchSettings(**settings))


def load(name: str | Path, device: str = "cpu") -> TrainedModel:
    """The model of this name: a shipped one's, a file, a run's folder, a folder of diffusers, or hf:OWNER/NAME.

    device: "cpu", "cuda", "mps", or "auto". Raises InputError for what isn't there, is damaged, or is no such model.

    >>> du.load("digits").classes[3]
    '3'
    """
    kind = next((recipe.kind for recipe in read_recipes() if recipe.name == str(name) and recipe.kind == "retoucher"), "generator")
    return TrainedModel(load_model(find_weights(name, kind), choose_device(device)))


def shipped_models() -> dict[str, str]:
    """The models that `load` knows by name, and what each does.

    >>> du.shipped_models()["digits"]
    'draws handwritten digits of 28 x 28 pixels, by label'
    """
    return {recipe.name: recipe.does for recipe in read_recipes() if recipe.kind in ("generator", "retoucher")}
