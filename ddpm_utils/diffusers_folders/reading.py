"""A diffusers folder as a network of this project: a UNet2DModel with the scheduler that it was trained with.

Read are pipelines, with their parts in unet/ and scheduler/ or all in one place, as the first ones have it, and what `export` wrote. What the
network or its noise have and ours have not is refused by the option's name.
"""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ddpm_utils.config import TrainConfig
from ddpm_utils.diffusers_folders.schedulers import task_from_scheduler
from ddpm_utils.diffusers_folders.writing import OWN_CLASS, unfolded
from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.interop import options_from_diffusers, predicts_variance, renamed_of_old, weights_from_diffusers, with_defaults
from ddpm_utils.runtime.console import say
from ddpm_utils.settings import check_value, json_object, shown
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

INDEX, NETWORK, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
DESCRIPTIONS = [INDEX, NETWORK, f"unet/{NETWORK}", SCHEDULER, f"scheduler/{SCHEDULER}"]  # all that describes a network, in both layouts
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")  # the first that is there
PARTS = {"unet", "scheduler"}  # of a pipeline that can be read


def is_diffusers_folder(folder: Path) -> bool:
    """Whether a folder holds what diffusers calls a pipeline, or a network alone."""
    return (folder / INDEX).is_file() or (folder / NETWORK).is_file()


def read_description(folder: Path) -> tuple[TrainConfig, tuple[str, ...]]:
    """The run that made a folder's network, as far as the folder tells, and its classes' names. Needs the JSON files alone.

    Raises InputError for a missing or damaged file, and for options that have no counterpart here.
    """
    index = _json(folder / INDEX) if (folder / INDEX).is_file() else {}
    own = index.get("_class_name") == OWN_CLASS
    parts = {name for name, value in index.items() if isinstance(value, list) and not name.startswith("_")}
    if unknown := sorted(parts - PARTS):
        raise InputError(
            f"the pipeline in {str(folder)!r} has the part {shown(unknown[0])}, convertible are those of unet and scheduler alone"
        )
    options = with_defaults(_json(_part(folder, "unet") / NETWORK))
    if (name := options.get("_class_name")) != "UNet2DModel":
        raise InputError(f"{str(folder)!r} holds a {shown(name)} of diffusers, convertible is only its UNet2DModel")
    network = UNetConfig(**options_from_diffusers(options, last_is_no_label=own))
    if predicts_variance(options):
        say("the variance that the network predicts beside the image is left out")
    scheduler = _part(folder, "scheduler") / SCHEDULER
    if not scheduler.is_file():
        raise InputError(f"{str(folder)!r} holds no {SCHEDULER}, which tells the noise that its network was trained with")
    noise = _json(scheduler)
    names = tuple(map(str, range(network.classes or 0)))
    if not own:
        return TrainConfig(network=network, task=task_from_scheduler(noise)), names
    for name, kind in (("patch", int), ("id2label", dict | None), ("pixels", dict)):
        check_value(f"{name} of the pipeline in {str(folder)!r}", index.get(name), {"within": "[1, 256]"} if kind is int else {}, kind)
    network, pixels = unfolded(network, index["patch"]), {name: index["pixels"].get(name) for name in ("mean", "std")}
    run = TrainConfig(network=network, **pixels)
    run = replace(run, task=task_from_scheduler(noise, run.in_unit_range))
    return run, tuple(str((index["id2label"] or {}).get(name, name)) for name in names)


def read_weights_of(folder: Path, network: UNetConfig) -> dict[str, Tensor]:
    """The weights of a folder's network by our names, as float32. Raises InputError where there are none, DamagedFile for others than its own."""
    path = next((path for name in WEIGHTS if (path := _part(folder, "unet") / name).is_file()), None)
    if path is None:
        raise InputError(f"{str(folder)!r} holds no {WEIGHTS[0]}, the weights of its network")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        with torch.device("meta"):
            shapes = UNet(network).state_dict()
        weights = weights_from_diffusers(renamed_of_old(weights), shapes)
    except (SafetensorError, OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise DamagedFile(f"{str(path)!r} is damaged or holds no weights ({str(error).splitlines()[0]})") from error
    except KeyError as error:
        raise DamagedFile(f"{str(path)!r} is damaged: it lacks the weight {error}") from error
    return {name: w.float() for name, w in weights.items()}


def _part(folder: Path, name: str) -> Path:
    """Where a part of a pipeline lies: in a folder of its own, or beside the index."""
    return folder / name if (folder / name).is_dir() else folder


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"there is no {path.name} in {str(path.parent)!r}, which diffusers' folders have")
    return json_object(path.read_bytes(), repr(str(path)))
