"""The noise of a run as the options of diffusers' schedulers, and back.

A scheduler of theirs is options alone: the betas, what the network predicts, and how to sample. Our cosine is their "squaredcos_cap_v2"; our
sigmoid is none of theirs, which is another one, so that its betas go along as numbers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddpm_utils.choices import SCHEDULES
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.settings import check_value, shown

PREDICTIONS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}  # here: in diffusers
VARIANCES = {  # in diffusers: here; "log" is another way to compute the same
    "fixed_small": "small",
    "fixed_small_log": "small",
    "fixed_large": "large",
    "learned": "small",  # reading.py says that the learned one is left out
    "learned_range": "small",
}
READ = ("DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler")
CLOSE = 1e-5  # relative, between betas of equal schedules: they are kept as float32
LEFT_OUT = {
    "thresholding": False,
    "clip_sample_range": 1.0,
    "use_flow_sigmas": False,
}  # options of how to sample that `sample` has no other value of
USUAL = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "prediction_type": "epsilon"}
TYPES = {
    "num_train_timesteps": int,
    "beta_start": float,
    "beta_end": float,
    "trained_betas": list[float] | None,
    "rescale_betas_zero_snr": bool,
}


def scheduler_to_diffusers(config: TrainConfig) -> dict[str, Any]:
    """The options of a DDPMScheduler that samples as `sample --sampler ddpm` does, and DDIM and DPM-Solver++ built from it alike.

    Raises InputError for a network that retouches, and for one that predicts the posterior mean, which no scheduler takes.
    """
    task = config.task
    if not isinstance(task, Generation):
        raise InputError("this model generates no images from noise, and diffusers has no pipeline for what it does")
    if task.prediction not in PREDICTIONS:
        raise InputError(f"prediction {task.prediction!r} has no counterpart in diffusers' schedulers, only {', '.join(PREDICTIONS)} have")
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": task.timesteps,
        "prediction_type": PREDICTIONS[task.prediction],
        "clip_sample": config.in_unit_range,
        "variance_type": f"fixed_{task.variance}",
        # With the large variance theirs adds noise to the last image, too, unless the last timestep is 0.
        "timestep_spacing": "trailing" if task.variance == "small" else "leading",
        "rescale_betas_zero_snr": task.zero_terminal_snr,
        **_betas_to_diffusers(task),
    }


def _betas_to_diffusers(task: Generation) -> dict[str, Any]:
    if task.schedule == "cosine":
        return {"beta_schedule": "squaredcos_cap_v2"}
    betas = NoiseSchedule.named(task.schedule, task.timesteps).betas.tolist()
    if task.schedule == "linear":
        return {"beta_schedule": "linear", "beta_start": betas[0], "beta_end": betas[-1]}
    return {"trained_betas": betas}


def task_from_scheduler(options: Mapping[str, Any], clips: bool = True) -> Generation:
    """The task of a network that was trained with this scheduler; InputError, by the option's name, for one that hasn't got a counterpart.

    clips: whether the network's images lie in [-1, 1], to which x0_hat is clipped here.
    """
    if (name := options.get("_class_name")) not in READ:
        raise InputError(f"diffusers' scheduler {shown(name)} has no counterpart here, convertible are {', '.join(READ)}")
    for option, kind in TYPES.items():
        if option in options:
            check_value(f"diffusers' option {option}", options[option], {}, kind)
    for option, value in {**LEFT_OUT, "clip_sample": clips}.items():
        if options.get(option, value) != value:
            raise InputError(f"diffusers' option {option}={shown(options[option])} has no counterpart here, it must be {value!r}")
    here = {there: prediction for prediction, there in PREDICTIONS.items()}
    options = {**USUAL, **options}
    if (prediction := options["prediction_type"]) not in here:
        raise InputError(
            f"diffusers' option prediction_type={shown(prediction)} has no counterpart here, convertible are {', '.join(here)}"
        )
    if (variance := options.get("variance_type") or "fixed_small") not in VARIANCES:  # DPM-Solver's is None
        raise InputError(
            f"diffusers' option variance_type={shown(variance)} has no counterpart here, convertible are {', '.join(VARIANCES)}"
        )
    betas, stretched = _betas(options), bool(options.get("rescale_betas_zero_snr"))
    schedule, ends_in_noise = _named(betas, options)
    return Generation(
        timesteps=len(betas),
        schedule=schedule,
        zero_terminal_snr=stretched or ends_in_noise,
        prediction=here[prediction],
        variance=VARIANCES[variance],
    )


def _betas(options: Mapping[str, Any]) -> Tensor:
    """(T,) float64, before any stretching."""
    T = options["num_train_timesteps"]
    check_value("diffusers' option num_train_timesteps", T, {"within": "[2, inf)", "at_most": 10**6})
    if options.get("trained_betas") is not None:
        return torch.tensor(options["trained_betas"], dtype=torch.float64)
    if options["beta_schedule"] == "linear":
        return torch.linspace(options["beta_start"], options["beta_end"], T, dtype=torch.float64)
    if options["beta_schedule"] == "squaredcos_cap_v2":
        return NoiseSchedule.cosine(T).betas
    known = "linear, squaredcos_cap_v2 and trained_betas"
    raise InputError(f"diffusers' option beta_schedule={shown(options['beta_schedule'])} has no counterpart here, convertible are {known}")


def _named(betas: Tensor, options: Mapping[str, Any]) -> tuple[str, bool]:
    """The name of the schedule with these betas, and whether they are its stretched ones, which end in pure noise."""
    T = len(betas)
    for name in SCHEDULES:
        if T < 2 or (name == "linear" and T < 21):
            continue  # there is none so short
        plain = NoiseSchedule.named(name, T)
        for schedule in (plain, plain.with_zero_terminal_snr()):
            if torch.allclose(schedule.betas, betas, rtol=CLOSE, atol=0):
                return name, schedule is not plain
    said = {name: options[name] for name in ("beta_start", "beta_end") if name in options and options.get("trained_betas") is None}
    shape = ", ".join(f"{name}={value}" for name, value in said.items()) or "trained_betas"
    raise InputError(
        f"diffusers' options {shape} with {T} timesteps have no counterpart here, linear betas must go from {0.1 / T:.3g} to {20 / T:.3g}, "
        "others be those of the cosine or the sigmoid"
    )
