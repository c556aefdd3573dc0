"""A trained network as a folder that diffusers opens.

Without labels and patches it is a plain DDPMPipeline. With them, or with images of another range than [-1, 1], the folder holds its own small
pipeline, pipeline.py of this folder, which diffusers runs when it is told `trust_remote_code=True`.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ddpm_utils.config import TrainConfig
from ddpm_utils.diffusers_folders.schedulers import scheduler_to_diffusers
from ddpm_utils.errors import InputError
from ddpm_utils.interop import options_to_diffusers, weights_to_diffusers
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

VERSION = {"_diffusers_version": "0.42.1"}  # that the folders are tested with
PIPELINE = "ddpm_utils_pipeline"  # the name of pipeline.py in a folder; diffusers keeps one module of a name
OWN_CLASS = [PIPELINE, "LabelledPipeline"]


def write_folder(network: UNet, config: TrainConfig, classes: tuple[str, ...], folder: Path) -> None:
    """Write model_index.json, unet/ and scheduler/, the weights as float32 safetensors.

    Raises InputError for a network that diffusers has no counterpart of.
    """
    scheduler, unet = scheduler_to_diffusers(config), options_to_diffusers(folded(config.network))
    kinds = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    if needs_own_pipeline(config):
        labels = dict(enumerate(classes)) if config.network.classes else None
        pixels = {"mean": config.mean, "std": config.std}
        index: dict[str, Any] = {"_class_name": OWN_CLASS, **kinds, "id2label": labels, "patch": config.network.patch, "pixels": pixels}
        _write(folder / f"{PIPELINE}.py", Path(__file__).with_name("pipeline.py").read_bytes())
    else:
        index = {"_class_name": "DDPMPipeline", **kinds}
    theirs = {name: w.contiguous() for name, w in weights_to_diffusers(network.state_dict()).items()}
    _write(folder / "unet" / "diffusion_pytorch_model.safetensors", save(theirs, {"format": "pt"}))
    _write_json(folder / "unet" / "config.json", {"_class_name": "UNet2DModel", **unet})
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    _write_json(folder / "model_index.json", index)  # last: what has it is whole


def needs_own_pipeline(config: TrainConfig) -> bool:
    """Whether diffusers' own pipeline can't draw with this network."""
    return config.network.classes is not None or config.network.patch > 1 or not config.in_unit_range


def folded(network: UNetConfig) -> UNetConfig:
    """The same network, of images whose patches are folded into channels already."""
    p = network.patch
    return replace(network, image_size=network.image_size // p, channels=network.channels * p**2, patch=1)


def unfolded(network: UNetConfig, patch: int) -> UNetConfig:
    """What `folded` was given."""
    if network.channels % patch**2:
        raise InputError(f"patches of {patch} x {patch} pixels must be whole, got {network.channels} channels")
    return replace(network, image_size=network.image_size * patch, channels=network.channels // patch**2, patch=patch)


def with_one_label(network: UNet, config: TrainConfig, label: int) -> tuple[UNet, TrainConfig]:
    """The network that always hears `label` and asks for none: its embedding is added to the time's, where a bias is added already."""
    weights = network.state_dict()
    weights["time_mlp.2.bias"] = weights["time_mlp.2.bias"] + weights.pop("label_embedding.weight")[label]
    config = replace(config, network=replace(config.network, classes=None))
    deaf = UNet(config.network)
    deaf.load_state_dict(weights)
    return deaf.eval(), config


def _write_json(path: Path, values: dict) -> None:
    named = {name: value for name, value in values.items() if name.startswith("_")}
    rest = {name: value for name, value in values.items() if not name.startswith("_")}
    _write(path, json.dumps({**named, **VERSION, **rest}, indent=2).encode())


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)
