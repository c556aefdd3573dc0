"""From a trained network to images: the label, the guidance, the clipping and the sampler put together, as its training asks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_utils.choices import SAMPLERS
from ddpm_utils.classifier import Classifier
from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.guidance import autoguided, classifier_free_batched, classifier_guided, within_interval
from ddpm_utils.models import Model
from ddpm_utils.runtime.rng import keyed_generator
from ddpm_utils.sampling import Denoiser, Step, ddim, ddpm, dpm_solver, heun, make_denoiser, static_threshold, timesteps
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import UNet


@dataclass(frozen=True)
class Guidance:
    """What images are drawn towards: their label by the network itself, or by a classifier; or away from a bad model's mistakes."""

    scale: float = 1.0  # 1: plain sampling; with a classifier, 0 is
    interval: tuple[int, int] | None = None  # timesteps with guidance, both included; None: all
    rescale: float = 0.0  # of classifier-free guidance: share of the contrast's growth that is taken back
    bad: Model | None = None
    classifier: Classifier | None = None

    def __post_init__(self):
        if self.bad is not None and self.classifier is not None:
            raise InputError("guidance needs a bad model or a classifier, not both; leave one out")
        if self.rescale and (self.bad is not None or self.classifier is not None):
            raise InputError(
                f"rescale belongs to classifier-free guidance; with a bad model or a classifier it must be 0, got {self.rescale}"
            )

    def check(self, config: TrainConfig) -> None:
        """Refuse a bad model or a classifier that was trained on other noise or other images than this run, and an interval outside it."""
        for what, other in (("bad model", self.bad), ("classifier", self.classifier)):
            if other is not None:
                check_same_images(what, other.config, config)
        if self.interval is not None and self.interval[1] >= config.timesteps:
            raise InputError(f"the guidance interval must end by timestep {config.timesteps - 1}, the model's last; got {self.interval[1]}")


def check_generates(config: TrainConfig) -> None:
    """Refuse a model that was trained on pairs."""
    if config.retouches:
        raise InputError("this model retouches images and generates none; use `python -m ddpm_utils retouch`")


def check_same_images(what: str, other: TrainConfig, config: TrainConfig) -> None:
    """Refuse the run `other`, called `what`, unless its x_t are those of `config`, and has the same labels if both have any."""
    if other.retouches:
        raise InputError(f"the {what} doesn't fit the model: it retouches images")
    parts = [(other.task, config.task, ("timesteps", "schedule", "zero_terminal_snr")), (other, config, ("mean", "std"))]
    parts += [(other.network, config.network, ("image_size", "channels", "classes"))]
    for theirs, ours, names in parts:
        for name in names:
            found, needed = getattr(theirs, name), getattr(ours, name)
            if found != needed and not (name == "classes" and None in (found, needed)):
                raise InputError(f"the {what} doesn't fit the model: its {name} is {found!r}, the model's is {needed!r}")


def trained_denoiser(network: UNet, config: TrainConfig, label: Tensor | None = None, guidance: float | Guidance = 1.0) -> Denoiser:
    """The denoiser that this network was trained to be, for images with these labels (B,), clipped to [-1, 1] if its data lay there.

    guidance: scale of classifier-free guidance (1 is plain conditional sampling), or any `Guidance`.
    """
    check_generates(config)
    guidance = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    guidance.check(config)
    denoiser, plain = _guided_and_plain(network, config, label, guidance)
    if guidance.interval is not None:
        denoiser = within_interval(denoiser, plain, *guidance.interval)
    return static_threshold(denoiser) if config.in_unit_range else denoiser


def _guided_and_plain(network: UNet, config: TrainConfig, label: Tensor | None, guidance: Guidance) -> tuple[Denoiser, Denoiser]:
    """Two denoisers, not clipped: the one asked for, and the one outside of its interval."""
    schedule, scale = config.noise_schedule(), guidance.scale
    unlabelled = make_denoiser(network, schedule, config.task.prediction, clip=False)
    if guidance.classifier is not None:
        if label is None:
            raise InputError("a classifier needs to know the labels of the images that it guides, got none")
        return classifier_guided(unlabelled, guidance.classifier.network.log_prob, label, schedule, scale), unlabelled
    plain = unlabelled if label is None else make_denoiser(network, schedule, config.task.prediction, clip=False, label=label)
    if guidance.bad is not None:
        known = {} if label is None or guidance.bad.config.network.classes is None else {"label": label}
        bad = make_denoiser(guidance.bad.network, schedule, guidance.bad.config.task.prediction, clip=False, **known)
        return autoguided(plain, bad, scale), plain
    if label is None:
        if scale != 1:
            raise InputError(f"guidance needs labels, without them it must be 1, got {scale}")
        return plain, plain
    return classifier_free_batched(network, schedule, config.task.prediction, label, scale, guidance.rescale), plain


def start_noise(config: TrainConfig, n: int, seed: int) -> Tensor:
    """x_T for n images, (n, C, H, W), drawn on the CPU so that a seed means the same noise on every device.

    Evened over patches of `evened` pixels.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed}")
    size, channels = config.network.image_size, config.network.channels
    x_T = torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))
    return x_T if (patch := evened(config)) == 1 else even_over_patches(x_T, patch)


def evened(config: TrainConfig) -> int:
    """The pixels a side of the patches over which noise is even: a network's that predicts noise or v, else 1."""
    return 1 if config.task.prediction == "x0" else config.network.patch


def even_over_patches(noise: Tensor, patch: int) -> Tensor:
    """The noise (B, C, H, W), shifted so that each of the patch x patch pixels of a patch has the same mean over all patches of an image.

    A network of patches hardly sees these few means, which GroupNorm takes away. Where it predicts x_0 they end with the noise; where it predicts
    noise or v they stay in x_0 = alpha x_t - sigma v, and lie over the finished image as a faint grid.
    """
    pixels = F.pixel_unshuffle(noise, patch).unflatten(1, (-1, patch**2))  # (B, C, patch^2, H / patch, W / patch)
    means = pixels.mean((3, 4), keepdim=True)
    return F.pixel_shuffle((pixels - means + means.mean(2, keepdim=True)).flatten(1, 2), patch)


def generate(
    network: UNet,
    config: TrainConfig,
    x_T: Tensor,
    label: Tensor | None = None,
    sampler: str = "ddim",
    steps: int = 50,
    guidance: float | Guidance = 1.0,
    seed: tuple[int, int] = (0, 0),
) -> Iterator[Step]:
    """Run `sampler` ("ddim", "ddpm", "dpm" or "heun") from x_T (B, C, H, W), on the network's device; yields every step.

    seed: (seed, index of the batch's first image), for the noise that DDPM adds.
    """
    check_generates(config)
    if sampler not in SAMPLERS:
        raise InputError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    device = next(network.parameters()).device
    schedule = config.noise_schedule()
    timesteps(schedule.T, steps)  # refuses wrong numbers of steps now, and not when the first step is asked for
    denoiser = trained_denoiser(network, config, None if label is None else label.to(device), guidance)
    return run_sampler(sampler, denoiser, x_T.to(device), schedule, steps, seed, config.task.variance)


def run_sampler(
    sampler: str,
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    seed: tuple[int, int] = (0, 0),
    variance: str = "small",
) -> Iterator[Step]:
    """The sampler of this name, of SAMPLERS, from x_T (B, C, H, W). seed: as in `generate`. variance: of DDPM."""
    deterministic = {"ddim": ddim, "dpm": dpm_solver, "heun": heun}
    if sampler in deterministic:
        return deterministic[sampler](denoiser, x_T, schedule, steps)
    return ddpm(denoiser, x_T, schedule, variance, steps=steps, generator=keyed_generator(seed[0], "sampling", seed[1]))


def labels_of(wanted: str | int | None, n: int, classes: tuple[str, ...], count: int | None) -> Tensor | None:
    """(n,) labels: all of the class `wanted`, a name or a number of `count`, or for None all classes in turn; None for a network without any.

    Raises InputError for a class that there isn't.
    """
    if count is None:
        if wanted is not None:
            raise InputError(f"this model was trained without labels, got label {wanted!r}")
        return None
    if wanted is None:
        return labels_in_rows(n, count)
    if wanted in classes:
        return torch.full((n,), classes.index(wanted))
    if str(wanted).isdecimal() and int(wanted) < count:
        return torch.full((n,), int(wanted))
    raise InputError(f"label must be a number from 0 to {count - 1} or one of {', '.join(classes[:20])}, got {wanted!r}")


def labels_in_rows(n: int, classes: int) -> Tensor:
    """(n,) labels, sorted, as evenly spread over the classes as n allows."""
    return torch.arange(n) * classes // n if n >= classes else torch.arange(n)
