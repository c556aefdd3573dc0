"""Model files: what people use. The averaged weights as float16 safetensors, 2 bytes per parameter, with the run's configuration inside."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.recipes import KINDS, SHIPPED, read_recipes
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.unet import UNet

Network = TypeVar("Network", bound=nn.Module)
MODEL_FORMAT = "ddpm_utils model 1"


@dataclass(frozen=True)
class Model:
    """What `load_model` returns: a network in eval mode, the run that made it, and its classes' names."""

    network: UNet
    config: TrainConfig
    classes: tuple[str, ...]
    snapshot: dict  # of an average on its way: {"step": …, "sigma": …}; else empty


def save_model(network: UNet, config: TrainConfig, classes: tuple[str, ...], path: Path, snapshot: dict | None = None) -> None:
    """Write weights as float16 safetensors, 2 bytes per parameter, with the configuration in the metadata. Appears whole or not at all."""
    write_weights(
        network.state_dict(), {"format": MODEL_FORMAT, "config": config.to_json(), "classes": classes, "snapshot": snapshot or {}}, path
    )


def load_model(path: Path, device: str | torch.device = "cpu") -> Model:
    """Read a model file; the weights become float32. Raises InputError for a missing, damaged or foreign file."""
    about, weights = read_weights(path, MODEL_FORMAT, "model", "train")
    config = TrainConfig.from_json(about["config"])
    network = with_weights(UNet(config.network), weights, path)
    return Model(network.to(device).eval(), config, tuple(about["classes"]), about["snapshot"])


# --- weight files, of models, classifiers and controls alike ---


def write_weights(weights: dict[str, Tensor], about: dict, path: Path) -> None:
    """float16 safetensors with `about`, which holds the file's "format", in the metadata. Appears whole or not at all."""
    weights = {name: w.detach().half().cpu().contiguous() for name, w in weights.items()}
    with atomic_write(Path(path)) as file:
        file.write(save(weights, {"ddpm_utils": json.dumps(about)}))  # one entry: several would be written in random order


def read_weights(path: Path, expected: str | None, kind: str, command: str) -> tuple[dict, dict[str, Tensor]]:
    """What `write_weights` was told about a file of the format `expected` (None: any of this project), and its weights as float32.

    kind and command: what such a file holds and which command makes one, for the InputError about a missing, damaged or foreign file.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no {kind} file {str(path)!r}; train one with `python -m ddpm_utils {command}`")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("ddpm_utils", "{}"))
            found = about.get("format")
            if found != expected and not (expected is None and str(found).startswith("ddpm_utils ")):
                raise InputError(
                    f"{str(path)!r} is not a {kind} of this project (its format is {found!r}, expected {expected!r}); "
                    f"train one with `python -m ddpm_utils {command}`"
                )
            return about, {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise DamagedFile(f"{str(path)!r} is damaged or not a safetensors file ({error})") from error


def with_weights(network: Network, weights: dict[str, Tensor], path: Path) -> Network:
    """The network with these weights in it; DamagedFile if they are not its own, which the file at `path` then is to blame for."""
    if {name: w.shape for name, w in network.state_dict().items()} != {name: w.shape for name, w in weights.items()}:
        raise DamagedFile(f"{str(path)!r} is damaged: its weights don't fit its own configuration")
    network.load_state_dict(weights)
    return network


def weights_digest(network: UNet) -> str:
    """SHA-256 of a network's weights as a model file would hold them, in float16: the same before saving and after loading."""
    digest = hashlib.sha256()
    for name, w in sorted(network.state_dict().items()):
        digest.update(name.encode() + str(tuple(w.shape)).encode())
        digest.update(w.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def shipped(name: str) -> Path:
    """The model file NAME that comes with the package: `load_model(shipped("digits"))`. Raises InputError that names those there are."""
    path = SHIPPED / f"{name}.safetensors"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none in this copy"
        raise InputError(f"there is no shipped model {name!r}; there are: {names}")
    return path


def find_weights(name: str | Path, kind: str) -> Path:
    """The file that a command line means by `name`, where weights of a `kind` of KINDS are asked for.

    In this order: the name of a shipped model (./NAME is a file or folder for certain), a file, the folder of a run; ~ is your home. Whether a
    file holds what is asked for is seen when it is read. Raises InputError that lists the shipped models that fit.
    """
    asked, path = KINDS[kind], Path(os.path.expanduser(name))  # Path's own raises for an unknown user
    if str(name) == path.name and (SHIPPED / f"{name}.safetensors").is_file():
        return _shipped_of(kind, str(name))
    if path.is_file() and path.suffix == ".pt":
        result = path.with_name(asked.result)
        there = "" if result.is_file() else ", which is written when the run ends or stops"
        raise InputError(f"{str(path)!r} is a state, to resume from; the {asked.noun} of its run is {str(result)!r}{there}")
    if path.is_dir():
        path /= asked.result
        if not path.is_file():
            raise InputError(
                f"the folder {str(path.parent)!r} holds no {path.name}, which a run leaves there when it ends or stops; name a file, or one of "
                f"the shipped {_fitting(kind)}"
            )
    if not path.is_file():
        raise InputError(
            f"there is no {asked.noun} file, no folder of a run and no shipped {asked.noun} {str(name)!r}; those shipped are {_fitting(kind)}; "
            f"train one with `python -m ddpm_utils {asked.command}`"
        )
    return path


def _shipped_of(kind: str, name: str) -> Path:
    """A shipped model, which is refused if its recipe says that it is of another kind."""
    own = next((recipe.kind for recipe in read_recipes(SHIPPED) if recipe.name == name), kind)
    if own != kind:
        raise InputError(
            f"the shipped {name!r} {KINDS[own].does}, here something is needed that {KINDS[kind].does}; those shipped are {_fitting(kind)}"
        )
    return shipped(name)


def _fitting(kind: str) -> str:
    """The names of the shipped models of a kind, in words."""
    return ", ".join(recipe.name for recipe in read_recipes(SHIPPED) if recipe.kind == kind) or "none in this copy"
