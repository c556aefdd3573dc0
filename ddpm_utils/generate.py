"""From a trained network to pictures: the label, the guidance, the clipping and the sampler put together, as its training asks."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ddpm_utils.errors import InputError
from ddpm_utils.guidance import classifier_free
from ddpm_utils.sampling import Denoiser, Step, ddim, ddpm, dpm_solver, make_denoiser, static_threshold, timesteps
from ddpm_utils.training import TrainConfig, keyed_generator
from ddpm_utils.unet import UNet

SAMPLERS = ("ddim", "ddpm", "dpm")


def trained_denoiser(network: UNet, config: TrainConfig, label: Tensor | None = None, guidance: float = 1.0) -> Denoiser:
    """The denoiser that this network was trained to be, for images with these labels (B,), clipped to [-1, 1] if its data lay there.

    guidance: scale of classifier-free guidance; 1 is plain conditional sampling.
    """
    if config.form is not None:
        raise InputError("this model retouches pictures and generates none; use `python -m ddpm_utils retouch`")
    schedule = config.noise_schedule()
    if label is None:
        if guidance != 1:
            raise InputError(f"guidance needs labels, without them it must be 1, got {guidance}")
        denoiser = make_denoiser(network, schedule, config.prediction, clip=False)
    else:
        conditional = make_denoiser(network, schedule, config.prediction, clip=False, label=label)
        unconditional = make_denoiser(network, schedule, config.prediction, clip=False)
        denoiser = classifier_free(conditional, unconditional, guidance)
    return static_threshold(denoiser) if config.in_unit_range else denoiser


def start_noise(config: TrainConfig, n: int, seed: int) -> Tensor:
    """x_T for n images, (n, C, H, W), drawn on the CPU so that a seed means the same noise on every device."""
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed}")
    size, channels = config.network.image_size, config.network.channels
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def generate(
    network: UNet,
    config: TrainConfig,
    x_T: Tensor,
    label: Tensor | None = None,
    sampler: str = "ddim",
    steps: int = 50,
    guidance: float = 1.0,
    seed: tuple[int, int] = (0, 0),
) -> Iterator[Step]:
    """Run `sampler` ("ddim", "ddpm" or "dpm") from x_T (B, C, H, W), on the network's device; yields every step.

    seed: (seed, index of the batch's first image), for the noise that DDPM adds.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    device = next(network.parameters()).device
    schedule = config.noise_schedule()
    timesteps(schedule.T, steps)  # refuses wrong numbers of steps now, and not when the first step is asked for
    denoiser = trained_denoiser(network, config, None if label is None else label.to(device), guidance)
    x_T = x_T.to(device)
    if sampler == "ddim":
        return ddim(denoiser, x_T, schedule, steps)
    if sampler == "dpm":
        return dpm_solver(denoiser, x_T, schedule, steps)
    return ddpm(denoiser, x_T, schedule, steps=steps, generator=keyed_generator(seed[0], "sampling", seed[1]))


def labels_in_rows(n: int, classes: int) -> Tensor:
    """(n,) labels, sorted, as evenly spread over the classes as n allows."""
    return torch.arange(n) * classes // n if n >= classes else torch.arange(n)
