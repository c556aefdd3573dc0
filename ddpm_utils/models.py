"""Model files: what people use. The averaged weights as float16 safetensors, 2 bytes per parameter, with the run's configuration inside."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_utils.config import TrainConfig
from ddpm_utils.diffusers_folders.reading import DESCRIPTIONS, WEIGHTS, is_diffusers_folder, read_description, read_weights_of
from ddpm_utils.errors import DamagedFile, InputError, NotFinite
from ddpm_utils.recipes import KINDS, SHIPPED, read_recipes
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.runtime.hub import PREFIX, fetch
from ddpm_utils.settings import check_value, json_object, shown
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

Network = TypeVar("Network", bound=nn.Module)
MODEL_FORMAT = "ddpm_utils model 1"
ABOUT = {  # all that the metadata of models, classifiers and controls may hold
    "format": str,
    "config": str | None,
    "classes": list[str],
    "snapshot": dict,
    "accuracy": list[float],
    "base": str,
    "hint": str,
    "hint_channels": int,
    "network": dict,
    "sha256": str,
}
SNAPSHOT = {"step": int, "sigma": float | None}
FORMATS = {MODEL_FORMAT: "model", "ddpm_utils classifier 1": "classifier", "ddpm_utils control 1": "control"}
PURPOSES = {  # of the kinds of files
    "model": "to `sample` from or to `retouch` with, and to `train --start-from`",
    "classifier": "for `sample --classifier` and `metrics --features`",
    "control": "for `sample --control`",
    "state": "to resume from, and to `train --start-from`",
}
FLOATING = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Model:
    """What `load_model` returns: a network in eval mode, the run that made it, and its classes' names."""

    network: UNet
    config: TrainConfig
    classes: tuple[str, ...]
    snapshot: dict  # of an average on its way: {"step": …, "sigma": …}; else empty


def save_model(network: UNet, config: TrainConfig, classes: tuple[str, ...], path: Path, snapshot: dict | None = None) -> None:
    """Write weights as float16 safetensors, 2 bytes per parameter, with the configuration in the metadata. Appears whole or not at all.

    Raises InputError for weights that aren't finite in float16, and for another number of names than the network has classes.
    """
    check_classes(classes, config.network)
    about = {"format": MODEL_FORMAT, "config": config.to_json(), "classes": classes, "snapshot": snapshot or {}}
    write_weights(network.state_dict(), about, path)


def load_model(path: Path, device: str | torch.device = "cpu") -> Model:
    """Read a model file, or the folder of a network that diffusers wrote; the weights become float32.

    Raises InputError for a missing, damaged or foreign file, and for a network that has no counterpart here.
    """
    if Path(path).is_dir():
        return _model_from_diffusers(Path(path), device)
    about, weights = read_weights(path, MODEL_FORMAT, "model", "train", needs=("config", "classes", "snapshot"))
    with blamed_on(path):
        config = TrainConfig.from_json(about["config"])
        check_classes(about["classes"], config.network)
        with torch.device("meta"):
            network = UNet(config.network)
    network = with_weights(network, weights, path)
    return Model(network.to(device).eval(), config, tuple(about["classes"]), about["snapshot"])


def _model_from_diffusers(folder: Path, device: str | torch.device) -> Model:
    config, classes = read_description(folder)
    weights = read_weights_of(folder, config.network)
    if bad := first_not_finite(weights):
        raise DamagedFile(f"{str(folder)!r} is damaged: its weight {shown(bad)} holds NaN or infinity")
    with torch.device("meta"):
        network = UNet(config.network)
    return Model(with_weights(network, weights, folder).to(device).eval(), config, classes, {})


def check_classes(classes: tuple[str, ...], network: UNetConfig) -> None:
    """Refuse another number of names than the network has classes; one without labels may know those of its images."""
    if network.classes is not None and len(classes) != network.classes:
        raise InputError(f"a network of {network.classes} classes needs as many names, got {len(classes)}")


# --- weight files, of models, classifiers and controls alike ---


def write_weights(weights: dict[str, Tensor], about: dict, path: Path) -> None:
    """float16 safetensors with `about`, which holds the file's "format", and a checksum in the metadata. Appears whole or not at all.

    Raises NotFinite for weights that float16 can't hold.
    """
    weights = {name: w.detach().half().cpu().contiguous() for name, w in weights.items()}
    if bad := first_not_finite(weights):
        raise NotFinite(f"the weight {bad!r} holds NaN, infinity or what is too large for float16; {str(path)!r} was not written")
    checksum = checksum_of(json.dumps({**about, "sha256": ""}), weights)
    with atomic_write(Path(path)) as file:  # one entry: several would be written in random order
        file.write(save(weights, {"ddpm_utils": json.dumps({**about, "sha256": checksum})}))


def read_weights(path: Path, expected: str | None, kind: str, command: str, needs: tuple[str, ...] = ()) -> tuple[dict, dict[str, Tensor]]:
    """What `write_weights` was told about a file of the format `expected` (None: any of this project), and its weights as float32.

    kind and command: what such a file holds and which command makes one, for the InputError about a missing, damaged or foreign file.
    needs: what must be told about it. Files from before there were checksums have none.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no {kind} file {str(path)!r}; train one with `python -m ddpm_utils {command}`")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("ddpm_utils", "{}")
            with blamed_on(path):
                about = json_object(text, "its metadata")
            found = about.get("format")
            if found != expected and not (expected is None and found in FORMATS):
                known = isinstance(found, str) and found in FORMATS
                it_is = f"it is {purpose_of(FORMATS[found])}" if known else f"its format is {shown(found)}, expected {expected!r}"
                raise InputError(
                    f"{str(path)!r} is not a {kind} of this project ({it_is}); train one with `python -m ddpm_utils {command}`"
                )
            with blamed_on(path):
                check_about(about, needs)
            weights = _floating_weights(file, path)
    except (SafetensorError, OSError) as error:
        raise DamagedFile(f"{str(path)!r} is damaged or not a safetensors file ({error})") from error
    checksum = about.pop("sha256", None)
    if checksum is not None and checksum_of(text.replace(checksum, ""), weights) != checksum:
        raise DamagedFile(f"{str(path)!r} is damaged: its contents don't match their checksum; restore a whole copy of it")
    weights = {name: w.to(torch.float32, copy=True) for name, w in weights.items()}  # a copy: the file may go while they are in use
    if bad := first_not_finite(weights):
        raise DamagedFile(f"{str(path)!r} is damaged: its weight {shown(bad)} holds NaN or infinity; restore a whole copy of it")
    return about, weights


def check_about(about: dict, needs: tuple[str, ...]) -> None:
    """InputError unless a file's metadata has all that it needs, nothing that isn't known, and each of its type."""
    if missing := [name for name in needs if name not in about]:
        raise InputError(f"its metadata has no {missing[0]!r}")
    _check_types(about, ABOUT)
    _check_types(about.get("snapshot", {}), SNAPSHOT)


def _check_types(values: dict, hints: dict[str, Any]) -> None:
    for name, value in values.items():
        if name not in hints:
            raise InputError(f"its metadata has an unknown entry {shown(name)}")
        check_value(f"{name!r} in its metadata", value, {}, hints[name])


def _floating_weights(file: Any, path: Path) -> dict[str, Tensor]:
    """The weights of an open file as they lie there; DamagedFile for other numbers than floating-point ones."""
    for name in (names := list(file.keys())):
        if (dtype := file.get_slice(name).get_dtype()) not in FLOATING:
            raise DamagedFile(f"{str(path)!r} is damaged: its weight {shown(name)} is of type {dtype}, weights are floating-point numbers")
    return {name: file.get_tensor(name) for name in names}


def first_not_finite(weights: dict[str, Tensor]) -> str | None:
    """The name of the first weight that holds NaN or infinity."""
    return next((name for name, w in weights.items() if not w.isfinite().all()), None)


def checksum_of(text: str, weights: dict[str, Tensor]) -> str:
    """SHA-256 of a file's metadata, its checksum left empty, and of all weights on the CPU: names, types, shapes and bytes."""
    digest = hashlib.sha256(text.encode())
    for name, w in sorted(weights.items()):
        digest.update(json.dumps([name, str(w.dtype), list(w.shape)]).encode())
        digest.update(w.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """What is wrong inside is wrong with the file at `path`: an InputError becomes a DamagedFile that names it."""
    try:
        yield
    except InputError as error:
        raise DamagedFile(f"{str(path)!r} can't be used: {error}; restore a whole copy of it") from error


def with_weights(network: Network, weights: dict[str, Tensor], path: Path) -> Network:
    """The network with these weights for its own; DamagedFile if they don't fit it, which the file at `path` then is to blame for.

    Build it on the device "meta", where weights take no memory: so a small file can't ask for a large network.
    """
    if {name: w.shape for name, w in network.state_dict().items()} != {name: w.shape for name, w in weights.items()}:
        raise DamagedFile(f"{str(path)!r} is damaged: its weights don't fit its own configuration")
    network.load_state_dict(weights, assign=True)
    return network


def kind_of_file(path: Path) -> str | None:
    """Which of PURPOSES a file is, whatever its name; None for any other file. A file that ends in .pt is a state, be it damaged."""
    if path.suffix == ".pt":
        return "state"
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                return "state" if any(name.endswith("/data.pkl") for name in file.namelist()) else None
        with safe_open(path, "pt") as file:
            return FORMATS.get(json_object((file.metadata() or {}).get("ddpm_utils", "{}"), "its metadata").get("format"))
    except (SafetensorError, OSError, zipfile.BadZipFile, InputError, TypeError):
        return None


def purpose_of(kind: str) -> str:
    """A kind of file with what it is for: "a control, for `sample --control`"."""
    return f"a {kind}, {PURPOSES[kind]}"


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

    In this order: hf:OWNER/NAME, a repository of the Hugging Face Hub; the name of a shipped model (./NAME is a file or folder for certain), a
    file, the folder of a run, and for images a folder that diffusers wrote; ~ is your home. Whether a file holds what is asked for is seen when
    it is read. Raises InputError that lists the shipped models that fit.
    """
    if str(name).startswith(PREFIX):
        return _from_hub(str(name).removeprefix(PREFIX), kind)
    asked, path = KINDS[kind], Path(os.path.expanduser(name))  # Path's own raises for an unknown user
    if str(name) == path.name and (SHIPPED / f"{name}.safetensors").is_file():
        return _shipped_of(kind, str(name))
    if path.is_file() and kind_of_file(path) == "state":
        result = path.with_name(asked.result)
        there = "" if result.is_file() else ", which is written when the run ends or stops"
        raise InputError(f"{str(path)!r} is a state, to resume from; the {asked.noun} of its run is {str(result)!r}{there}")
    if path.is_dir() and kind == "generator" and is_diffusers_folder(path) and not (path / asked.result).is_file():
        return path
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


def _from_hub(repository: str, kind: str) -> Path:
    """This project's own file in a repository, or its folder as diffusers has it, fetched into the Hub's cache."""
    own = KINDS[kind].result
    folder = fetch(repository, [own, *DESCRIPTIONS])
    if (folder / own).is_file():
        return folder / own
    if kind != "generator" or not is_diffusers_folder(folder):
        raise InputError(f"'{PREFIX}{repository}' holds no {own}" + (", and no network of diffusers" if kind == "generator" else ""))
    read_description(folder)  # what has no counterpart is refused before its weights are fetched
    for weights in WEIGHTS:
        folder = fetch(repository, [weights, f"unet/{weights}"])
        if any((folder / part / weights).is_file() for part in (".", "unet")):
            break
    return folder


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
