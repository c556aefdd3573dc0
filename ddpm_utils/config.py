"""The description of a run: what every run has, and the settings of its task. It travels inside every file that a run writes.

A setting that a task hasn't got can't be given, so that none is accepted and ignored. Imports no torch.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import ClassVar

from ddpm_utils.choices import DECAYS, DRAWS, FITS, FORMS, LOSSES, OPTIMIZERS, PREDICTIONS, SCHEDULES, VARIANCES, WEIGHTINGS
from ddpm_utils.errors import InputError
from ddpm_utils.settings import check_settings, check_value, from_values, json_object, section, setting, shown
from ddpm_utils.unet_config import UNetConfig

# --- tasks ---


@dataclass(frozen=True, kw_only=True)
class Noised:
    """The settings of all tasks whose network takes images that are noised by a schedule."""

    kind: ClassVar[str]
    timesteps: int = setting(1000, "T, all of which is trained", within="[2, inf)", at_most=10**6)
    schedule: str = setting("cosine", "of the noise", choices=SCHEDULES)
    zero_terminal_snr: bool = setting(False, "stretch the schedule to end in pure noise; not with eps")

    def __post_init__(self):
        check_settings(self)
        self.noise_schedule()  # refuses numbers that it can't take

    def noise_schedule(self):
        """The NoiseSchedule of these settings."""
        from ddpm_utils.schedules import NoiseSchedule  # only here: it needs torch

        schedule = NoiseSchedule.named(self.schedule, self.timesteps)
        return schedule.with_zero_terminal_snr() if self.zero_terminal_snr else schedule

    def check_network(self, network: UNetConfig) -> None:
        """InputError for a network that can't do this task."""
        if network.extra_channels:
            raise InputError(f"extra_channels={network.extra_channels} is for paired training; without a form it must be 0")


@dataclass(frozen=True, kw_only=True)
class Generation(Noised):
    """Images from noise."""

    kind: ClassVar[str] = "generation"
    prediction: str = setting("eps", "what the network predicts", choices=PREDICTIONS)
    loss: str = setting("l2", "distance between prediction and target", choices=LOSSES)
    weighting: str = setting("plain", "of the loss over t", choices=WEIGHTINGS)
    label_dropout: float = setting(
        0.1, "share of labels replaced by the null label, drawn for each image, for guidance", within="[0, 1]", usual="0.1"
    )
    variance: str = setting("small", "of the noise that DDPM adds in sampling", choices=VARIANCES)  # other than small in read folders alone

    def __post_init__(self):
        super().__post_init__()
        check_zero_snr(self.prediction, self.zero_terminal_snr)


@dataclass(frozen=True, kw_only=True)
class Control(Generation):
    """A control on a trained base, which generates images; all else is as in the base's training."""

    kind: ClassVar[str] = "control"
    hint: str = ""  # name of the kind of hint
    hint_dropout: float = setting(
        0.0, "share of hints replaced by zeros, so that the control also learns to do without", flag="--drop-hint", within="[0, 1)"
    )
    base: str = ""  # digest of the base's weights


@dataclass(frozen=True, kw_only=True)
class Classification(Noised):
    """Labels of noisy images."""

    kind: ClassVar[str] = "classification"
    timesteps: int = setting(1000, "T, all of which is trained", within="[4, inf)", at_most=10**6)  # each quarter's accuracy is measured
    hold_out: float = setting(0.1, "share of the images that the accuracy is measured on, not trained on", within="(0, 1)", usual="0.1")

    def check_network(self, network: UNetConfig) -> None:
        """InputError for a network that can't do this task."""
        super().check_network(network)
        if network.classes is None or network.classes < 2:
            raise InputError(f"a classifier needs at least 2 classes, got {network.classes}")
        if network.dropout:
            raise InputError(f"classifiers are trained without dropout, it must be 0, got {network.dropout}")


NOISED = {"timesteps": 1000, "schedule": "cosine", "zero_terminal_snr": False, "prediction": "eps"}
OF_FORMS = {  # the settings that a form of retouching has beside `loss` and `mask_weight`, and their defaults
    "regression": {},
    "palette": NOISED,
    "residual": NOISED,
    "resshift": {"timesteps": 1000, "kappa": 0.3, "first_step_share": 0.5},
}
OLD_FORMS = {"anchored": "resshift"}  # spellings of the past, in files and on command lines


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """Retouched images from pairs (restoration/formulations.py). What is None is no setting of this form."""

    kind: ClassVar[str] = "restoration"
    form: str = setting("resshift", "how the network retouches; ResShift is the one that works best", choices=FORMS)
    loss: str = setting("l2", "distance between prediction and target", choices=LOSSES)
    mask_weight: float = setting(4.0, "a retouched pixel counts as 1 + this many others", within="[0, inf)")
    timesteps: int | None = setting(None, "T, all of which is trained", within="[2, inf)", at_most=10**6)
    schedule: str | None = setting(None, "of the noise", choices=SCHEDULES)
    zero_terminal_snr: bool | None = setting(None, "stretch the schedule to end in pure noise; not with eps")
    prediction: str | None = setting(None, "what the network predicts", choices=PREDICTIONS)
    kappa: float | None = setting(
        None, "noise of the chain between the two images (default 0.3)", within="(0, inf)", at_most=1000, usual="0.3"
    )
    first_step_share: float | None = setting(
        None,
        "of the pairs that train step T-1, whose input alone has no trace of the target (default 0.5)",
        within="[0, 1]",
        usual="0.5",
    )

    def __post_init__(self):
        if isinstance(self.form, str):
            object.__setattr__(self, "form", OLD_FORMS.get(self.form, self.form))
        check_settings(self)
        usual = OF_FORMS[self.form]
        for name in {name for settings in OF_FORMS.values() for name in settings}:
            if getattr(self, name) is None:
                object.__setattr__(self, name, usual.get(name))
            elif name not in usual:
                *others, last = [form for form in FORMS if name in OF_FORMS[form]]
                having = f"{', '.join(others)} and {last} have" if others else f"{last} has"
                raise InputError(f"the form {self.form!r} has no {name}, only {having}; leave it out")
        if self.prediction:
            self.noise_schedule()
            check_zero_snr(self.prediction, self.zero_terminal_snr)

    noise_schedule = Noised.noise_schedule

    def check_network(self, network: UNetConfig) -> None:
        """InputError for a network that can't do this task."""
        if (network.condition_channels, network.extra_channels, network.classes) != (network.channels, 1, None):
            raise InputError(
                f"form {self.form!r} needs a network with condition_channels={network.channels} (the image to retouch), "
                f"extra_channels=1 (its change mask) and no classes, got {network.condition_channels}, {network.extra_channels} "
                f"and {network.classes}"
            )


Settings = Generation | Restoration | Control | Classification
TASKS = {task.kind: task for task in (Generation, Restoration, Control, Classification)}


def check_zero_snr(prediction: str, zero_terminal_snr: bool) -> None:
    """Refuse to predict eps where the last step holds no signal."""
    if prediction == "eps" and zero_terminal_snr:
        raise InputError("prediction 'eps' can't be used with a zero-terminal-SNR schedule, which divides by 0 at T-1; use 'v' or 'x0'")


# --- runs ---


LEAST_STD = 0.001  # below it images of 0..1 become numbers that no network learns from, and whose squares overflow


@dataclass(frozen=True)
class TrainConfig:
    """A run, completely described but for its images."""

    network: UNetConfig = field(default_factory=UNetConfig)
    task: Settings = field(default_factory=Generation)
    epochs: int = setting(100, "passes over the data", within="[1, inf)")
    batch_size: int = setting(64, "images a step", within="[1, inf)")
    optimizer: str = setting("adamw", "", choices=OPTIMIZERS)
    lr: float = setting(2e-4, "learning rate after the warm-up", within="(0, inf)")
    warmup: int = setting(500, "steps over which the learning rate rises", within="[0, inf)")
    lr_decay: str = setting("constant", "of the learning rate after the warm-up; cosine falls to 0 at the last step", choices=DECAYS)
    clip_norm: float = setting(1.0, "gradients are scaled down to this norm", within="(0, inf)")
    ema_decay: float = setting(0.9999, "of the averaged weights", within="[0, 1)", usual="0.999 to 0.9999")
    ema_start: int = setting(0, "step at which averaging begins", within="[0, inf)")
    ema_sigmas: tuple[float, ...] = setting(
        (), "relative lengths of power-function averages, kept instead of the standard one, such as 0.05 0.1", within="[0.01, 0.28]"
    )
    ema_every: int = setting(1, "steps between two updates of the averages", within="[1, inf)")
    flip: bool = setting(True, "mirror half of the images left to right (default: yes, but not embedded sets)")
    fit: str = setting("crop", choices=FITS)  # how images became square (data/reading.py); what a hint is drawn from becomes it alike
    start: str = ""  # digest of the weights that the run began with; "": random ones
    mean: tuple[float, ...] = setting((0.5,), "subtracted by channel, in 0..1")
    std: tuple[float, ...] = setting((0.5,), "divided by, by channel, in 0..1")  # with 0.5 and 0.5 images lie in [-1, 1]
    seed: int = setting(0, "decides weights, order, timesteps and noise", within="[0, 2**63)")
    draws: str = setting(
        "host",
        "what draws the noise: the host, alike for every device, or the device, without a copy but bit-equal on its own model alone",
        choices=DRAWS,
    )

    def __post_init__(self):
        check_settings(self)
        counts = {1, self.network.channels}
        if len(self.mean) not in counts or len(self.std) != len(self.mean):
            allowed = " or ".join(map(str, sorted(counts)))
            raise InputError(f"mean and std need {allowed} values each, got {self.mean} and {self.std}")
        if not (all(0 <= mean <= 1 for mean in self.mean) and all(LEAST_STD <= std < math.inf for std in self.std)):
            raise InputError(f"mean must lie in 0..1 and std be finite and at least {LEAST_STD}, got {self.mean} and {self.std}")
        self.task.check_network(self.network)
        if self.retouches and not self.in_unit_range:
            raise InputError(f"paired training needs images in [-1, 1], so mean and std of 0.5; got {self.mean} and {self.std}")

    @property
    def retouches(self) -> bool:
        """Whether the network was trained on pairs, to retouch images instead of generating them."""
        return isinstance(self.task, Restoration)

    @property
    def timesteps(self) -> int:
        """T; 1 for a network that has no timesteps."""
        return self.task.timesteps or 1

    def noise_schedule(self):
        """The NoiseSchedule of the task."""
        return self.task.noise_schedule()

    @property
    def in_unit_range(self) -> bool:
        """Whether images lie in [-1, 1], so that clipping to it makes sense."""
        return set(self.mean) == {0.5} == set(self.std)

    def to_json(self) -> str:
        return json.dumps(_as_dict(self))

    @classmethod
    def from_json(cls, text: str, like: "Settings | None" = None) -> "TrainConfig":
        """A run as `to_json` wrote it, or an older version, whose files name no task. like: the settings of their task, with
        what those files lack. InputError for what is no such run."""
        values = json_object(text, "its configuration")
        if "task" not in values:
            values = _with_task(values, like)
        settings = dict(section(values, "task"))
        kind = settings.pop("kind", None)
        if not isinstance(kind, str) or kind not in TASKS:
            known = ", ".join(TASKS)
            raise InputError(f"the file was written by another version of ddpm_utils: its task is {shown(kind)}, known are {known}")
        parts = {"network": from_values(UNetConfig, section(values, "network")), "task": from_values(TASKS[kind], settings)}
        return from_values(cls, {**values, **parts})

    def check_same_run(self, other: "TrainConfig") -> None:
        """Refuse to continue `other`'s run with these settings. More or fewer epochs are fine while the learning rate doesn't depend on them."""
        if self.lr_decay == "constant":
            other = replace(other, epochs=self.epochs)
        for name, here, there in _differences(_as_dict(self), _as_dict(other)):
            name = name.removeprefix("task.")
            raise InputError(
                f"the checkpoint is of another run: its {name} is {there!r}, this run's is {here!r}; match it, or begin anew with another "
                "--out, without --resume"
            )


def _as_dict(run: TrainConfig) -> dict:
    """All settings, the task's first, which say what the others are for."""
    values = asdict(run)
    return {"task": {"kind": run.task.kind, **values.pop("task")}, **values}


def _with_task(values: dict, like: Settings | None) -> dict:
    """The settings of a file from before runs had tasks: one flat list, with all settings of all tasks, whether or not they were used."""
    known = {f.name for task in TASKS.values() for f in fields(task)}
    flat = {name: values[name] for name in values if name in known}
    check_value("form", form := flat.pop("form", None), {}, str | None)
    form = OLD_FORMS.get(form, form)
    if form in FORMS:
        task = Restoration(form=form, **{name: flat[name] for name in ("loss", "mask_weight", *OF_FORMS[form]) if name in flat})
    else:
        kind = type(like) if like else Generation
        if kind is Control:
            values = {**values, "start": ""}  # it was the base's
        if kind is Classification:
            values = {**values, "ema_decay": 0.0}  # it had no average, whatever the file says
        own = {name: value for name, value in flat.items() if name in {f.name for f in fields(kind)}}
        task = replace(like, **own) if like else kind(**own)
    return {**{name: value for name, value in values.items() if name not in known}, "task": {"kind": task.kind, **asdict(task)}}


def _differences(a: dict, b: dict, prefix: str = "") -> Iterator[tuple]:
    for key in a:
        if isinstance(a[key], dict):
            yield from _differences(a[key], b.get(key, {}), f"{prefix}{key}.")
        elif a[key] != b.get(key):
            yield prefix + key, a[key], b.get(key)
