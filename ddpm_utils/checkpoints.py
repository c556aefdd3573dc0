"""Two kinds of file. A *state* holds all that a run needs to go on; a *model* is what people use.

State (state.pt): weights, average and the optimizer's two moments, each as one float32 vector: 16 bytes per parameter. Written to a
temporary name, flushed to disk, then renamed: a crash at any moment leaves the old file or the new one, never half of one. Loaded
with `weights_only=True`, so that a foreign file can't run code.

Model (model.safetensors): the averaged weights in float16, 2 bytes per parameter, with the run's configuration in its metadata.
"""

import hashlib
import json
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ddpm_utils.data import ImageSet
from ddpm_utils.errors import InputError
from ddpm_utils.training import TrainConfig, Trainer
from ddpm_utils.unet import UNet

STATE_FORMAT = 1  # raised when the meaning of a state file changes
MODEL_FORMAT = "ddpm_utils model 1"
MOMENTS = ("exp_avg", "exp_avg_sq")


# --- states ---


def save_state(trainer: Trainer, path: Path) -> None:
    """Write everything that `load_state` needs to go on bit by bit as if nothing had happened."""
    moments = [trainer.optimizer.state.get(p) or {m: torch.zeros_like(p) for m in MOMENTS} for p in trainer.network.parameters()]
    state = {
        "format": STATE_FORMAT,
        "config": trainer.config.to_json(),
        "data": data_digest(trainer.data),
        "step": trainer.step,
        "network": parameters_to_vector(trainer.network.parameters()).detach().cpu(),
        "ema": trainer.ema.as_vector().cpu(),
        **{m: torch.cat([values[m].flatten() for values in moments]).cpu() for m in MOMENTS},
    }
    with atomic_write(path) as file:
        torch.save(state, file)


def load_state(trainer: Trainer, path: Path) -> None:
    """Continue the run that wrote `path`. Raises InputError for a damaged file, and for one of another run or other images."""
    state = read_state(path)
    trainer.config.check_same_run(TrainConfig.from_json(state["config"]))
    if state["data"] != data_digest(trainer.data):
        raise InputError(
            f"the checkpoint {str(path)!r} was trained on other images than these; pass the same --data-path, or use another --out"
        )
    vector_to_parameters(state["network"].to(trainer.device), trainer.network.parameters())
    trainer.ema.load_vector(state["ema"])
    parameters = list(trainer.network.parameters())
    sizes = [p.numel() for p in parameters]
    if state["step"] > 0:
        parts = {m: state[m].to(trainer.device).split(sizes) for m in MOMENTS}
        for i, p in enumerate(parameters):
            trainer.optimizer.state[p] = {"step": torch.tensor(float(state["step"]), device=trainer.device)} | {
                m: parts[m][i].view_as(p).clone() for m in MOMENTS
            }
    trainer.step = state["step"]


def read_state(path: Path) -> dict:
    """The contents of a state file, checked for its kind and version."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"there is no checkpoint {str(path)!r} to resume from; check --out, or start without --resume") from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise InputError(
            f"the checkpoint {str(path)!r} is damaged or not a checkpoint ({type(error).__name__}); restore a whole copy of it"
        ) from error
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        found = state.get("format") if isinstance(state, dict) else None
        raise InputError(f"the checkpoint {str(path)!r} has format {found}, this version of ddpm_utils reads format {STATE_FORMAT}")
    return state


def data_digest(data: ImageSet) -> str:
    """Recognises a data set by its number of images and the contents of up to 256 of them, spread evenly, wherever it lies."""
    digest = hashlib.sha256(str(data.images.shape).encode())
    rows = range(0, len(data), max(1, len(data) // 256))
    for row in rows:
        digest.update(data.images[row].tobytes())
    if data.labels is not None:
        digest.update(data.labels.tobytes())
    return digest.hexdigest()


class atomic_write:
    """`with atomic_write(path) as file:` the file appears under its name whole and flushed to disk, or not at all."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.temporary = self.path.with_name(f".{self.path.name}.tmp")

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.temporary, "wb")
        return self.file

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        os.replace(self.temporary, self.path)


# --- models ---


@dataclass(frozen=True)
class Model:
    """What `load_model` returns: a network in eval mode, the run that made it, and its classes' names."""

    network: UNet
    config: TrainConfig
    classes: tuple[str, ...]


def save_model(network: UNet, config: TrainConfig, classes: tuple[str, ...], path: Path) -> None:
    """Write weights as float16 safetensors, 2 bytes per parameter, with the configuration in the metadata."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    weights = {name: w.detach().half().cpu().contiguous() for name, w in network.state_dict().items()}
    about = {"format": MODEL_FORMAT, "config": config.to_json(), "classes": classes}
    save_file(weights, temporary, {"ddpm_utils": json.dumps(about)})  # several entries would be written in random order
    os.replace(temporary, path)


def load_model(path: Path, device: str | torch.device = "cpu") -> Model:
    """Read a model file; the weights become float32. Raises InputError for a missing, damaged or foreign file."""
    if not Path(path).is_file():
        raise InputError(f"there is no model file {str(path)!r}; train one with `python -m ddpm_utils train`")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("ddpm_utils", "{}"))
            if about.get("format") != MODEL_FORMAT:
                raise InputError(
                    f"{str(path)!r} is not a model of this project (its format is {about.get('format')!r}, expected {MODEL_FORMAT!r})"
                )
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{str(path)!r} is damaged or not a safetensors file ({error})") from error
    config = TrainConfig.from_json(about["config"])
    network = UNet(config.network)
    if {name: w.shape for name, w in network.state_dict().items()} != {name: w.shape for name, w in weights.items()}:
        raise InputError(f"{str(path)!r} is damaged: its weights don't fit its own configuration")
    network.load_state_dict(weights)
    return Model(network.to(device).eval(), config, tuple(about["classes"]))
