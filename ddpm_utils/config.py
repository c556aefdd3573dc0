"""The description of a run: one frozen dataclass that travels inside every checkpoint and model file."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace

from ddpm_utils.diffusion import LOSSES, WEIGHTINGS, check_prediction
from ddpm_utils.ema import gamma_of
from ddpm_utils.errors import InputError
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import UNetConfig

FORMS = ("regression", "palette", "residual", "anchored")  # of paired training, in restoration/formulations.py
OPTIMIZERS = ("adamw", "adam")
DECAYS = ("constant", "cosine")


@dataclass(frozen=True)
class TrainConfig:
    """A run, completely described but for its images. It travels inside every checkpoint and exported model."""

    network: UNetConfig = field(default_factory=UNetConfig)
    timesteps: int = 1000
    schedule: str = "cosine"
    zero_terminal_snr: bool = False
    prediction: str = "eps"
    loss: str = "l2"
    weighting: str = "plain"
    epochs: int = 100
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-4
    warmup: int = 500  # steps over which the learning rate rises
    lr_decay: str = "constant"  # after the warm-up; "cosine" falls to 0 at the last step
    clip_norm: float = 1.0  # gradients are scaled down to this norm
    ema_decay: float = 0.9999
    ema_start: int = 0  # step at which averaging begins
    ema_sigmas: tuple[float, ...] = ()  # relative lengths of power-function averages, kept instead of the standard one
    ema_every: int = 1  # steps between two updates of the averages
    label_dropout: float = 0.1  # share of labels replaced by the null label, drawn for each image
    flip: bool = True  # mirror images left to right half of the time
    form: str | None = None  # of paired training (restoration/formulations.py); None: images from noise
    kappa: float = 0.3  # noise of the anchored form
    first_step_share: float = 0.5  # of the pairs that train the anchored form's first step, T-1, which alone sees no trace of the answer
    mask_weight: float = 4.0  # of paired training: a pixel that was retouched counts as 1 + this many others
    start: str = ""  # digest of the weights that the run began with; "": random ones
    mean: tuple[float, ...] = (0.5,)  # of the pixels' 0 .. 1, by channel; with std 0.5 images lie in [-1, 1]
    std: tuple[float, ...] = (0.5,)
    seed: int = 0

    def __post_init__(self):
        for name in ("mean", "std", "ema_sigmas"):  # JSON brings lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        choices = {"loss": LOSSES, "weighting": WEIGHTINGS, "optimizer": OPTIMIZERS, "lr_decay": DECAYS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        limits = {"epochs": 1, "batch_size": 1, "warmup": 0, "ema_start": 0, "ema_every": 1, "seed": 0}
        for name, least in limits.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.seed >= 2**63:
            raise InputError(f"seed must be below 2**63, got {self.seed}")
        for name in ("lr", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")
        for sigma in self.ema_sigmas:
            gamma_of(sigma)  # refuses lengths that no average has
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay must lie in [0, 1), 0.999 to 0.9999 is usual; got {self.ema_decay}")
        if not 0 <= self.label_dropout <= 1:
            raise InputError(f"label_dropout must lie in [0, 1], 0.1 is usual; got {self.label_dropout}")
        counts = {1, self.network.channels}
        if len(self.mean) not in counts or len(self.std) != len(self.mean):
            allowed = " or ".join(map(str, sorted(counts)))
            raise InputError(f"mean and std need {allowed} values each, got {self.mean} and {self.std}")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise InputError(f"mean and std must be finite and std above 0, got {self.mean} and {self.std}")
        check_prediction(self.noise_schedule(), self.prediction)
        self._check_form()

    def _check_form(self) -> None:
        network = self.network
        if self.form is None:
            if network.extra_channels:
                raise InputError(f"extra_channels={network.extra_channels} is for paired training; without a form it must be 0")
            return
        if self.form not in FORMS:
            raise InputError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}")
        if (network.condition_channels, network.extra_channels, network.classes) != (network.channels, 1, None):
            raise InputError(
                f"form {self.form!r} needs a network with condition_channels={network.channels} (the picture to retouch), "
                f"extra_channels=1 (its change mask) and no classes, got {network.condition_channels}, {network.extra_channels} "
                f"and {network.classes}"
            )
        if not self.in_unit_range:
            raise InputError(f"paired training needs images in [-1, 1], so mean and std of 0.5; got {self.mean} and {self.std}")
        if not 0 < self.kappa < math.inf:
            raise InputError(f"kappa must be above 0, 0.3 is usual; got {self.kappa}")
        if not 0 <= self.first_step_share <= 1:
            raise InputError(f"first_step_share must lie in [0, 1], 0.5 is usual; got {self.first_step_share}")
        if not 0 <= self.mask_weight < math.inf:
            raise InputError(f"mask_weight must be at least 0, got {self.mask_weight}")

    def noise_schedule(self) -> NoiseSchedule:
        schedule = NoiseSchedule.named(self.schedule, self.timesteps)
        return schedule.with_zero_terminal_snr() if self.zero_terminal_snr else schedule

    @property
    def in_unit_range(self) -> bool:
        """Whether images lie in [-1, 1], so that clipping to it makes sense."""
        return set(self.mean) == {0.5} == set(self.std)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        values = json.loads(text)
        known, known_network = {f.name for f in fields(cls)}, {f.name for f in fields(UNetConfig)}
        if unknown := (values.keys() - known) | (values["network"].keys() - known_network):
            raise InputError(f"the file was written by another version of ddpm_utils: it has an unknown setting {sorted(unknown)[0]!r}")
        return cls(**{**values, "network": UNetConfig(**values["network"])})

    def check_same_run(self, other: "TrainConfig") -> None:
        """Refuse to continue `other`'s run with these settings. More or fewer epochs are fine while the learning rate doesn't depend on them."""
        if self.lr_decay == "constant":
            other = replace(other, epochs=self.epochs)
        for name, mine, theirs in _differences(asdict(self), asdict(other)):
            raise InputError(
                f"the checkpoint is of another run: its {name} is {theirs!r}, this run's is {mine!r}; match it or use another --out"
            )


def _differences(a: dict, b: dict, prefix: str = "") -> Iterator[tuple]:
    for key in a:
        if isinstance(a[key], dict):
            yield from _differences(a[key], b[key], f"{prefix}{key}.")
        elif a[key] != b[key]:
            yield prefix + key, a[key], b[key]
