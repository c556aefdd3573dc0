"""State files: all that a run needs to go on.

A state holds weights, averages and the optimizer's two moments, each as one float32 vector: 16 bytes per parameter (and 4 for each average
beyond the first). It is written to a temporary name, flushed to disk, then renamed: a crash at any moment leaves the old file or the
new one, never half of one. It is loaded with `weights_only=True`, so that a foreign file can't run code, and its contents are checked
against a SHA-256 of their own.

The last `keep` states stay, as state-00001234.pt; an older one goes before the next is written, so that a run's disk use has no peak.
"""

import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.training.trainer import Trainer

STATE_FORMAT = 3  # raised when the meaning of a state file changes; 2 had all settings of all tasks in one list, and is read
READABLE = (2, STATE_FORMAT)
SET_ASIDE = ".set-aside"  # in place of .pt
MOMENTS = ("exp_avg", "exp_avg_sq")


# --- writing ---


def save_state(trainer: Trainer, path: Path) -> None:
    """Write everything that `load_state` needs to go on bit by bit as if nothing had happened."""
    parameters = list(trainer.network.parameters())
    moments = [trainer.optimizer.state.get(p) or {m: torch.zeros_like(p) for m in MOMENTS} for p in parameters]
    first = trainer.optimizer.state.get(parameters[0])
    vectors = {
        "network": flatten(parameters),
        **{f"average {i}": flatten(average.shadow) for i, average in enumerate(trainer.averages)},
        **{m: flatten([values[m] for values in moments]) for m in MOMENTS},
    }
    state = {
        "format": STATE_FORMAT,
        "config": trainer.config.to_json(),
        "data": trainer.digest,
        "step": trainer.step,
        "optimizer_steps": int(first["step"].item()) if first else 0,  # fewer than steps where loss scaling skipped some
        "scaler": trainer.scaler.state_dict(),
        "execution": trainer.execution.as_saved(),
        "vectors": vectors,
    }
    state["sha256"] = state_digest(state)
    try:
        with atomic_write(path) as file:
            torch.save(state, file)
    except RuntimeError as error:  # how torch.save reports a failed write
        raise OSError(None, f"no room or no permission to write ({str(error).splitlines()[0]})", str(path)) from error


def save_rotated(trainer: Trainer, folder: Path, keep: int) -> Path:
    """Write the state of this step into `folder`, and let go of all but the last `keep`. At least one whole state is there at any moment."""
    path = folder / f"state-{trainer.step:08d}.pt"
    older = [p for p in list_states(folder) if p != path]
    for p in older[: -max(1, keep - 1)]:
        p.unlink()
    save_state(trainer, path)
    for p in list_states(folder)[:-keep]:
        p.unlink()
    return path


def list_states(folder: Path) -> list[Path]:
    """The state files of a run, oldest first."""
    return sorted(Path(folder).glob("state-*.pt"))


# --- reading ---


def load_newest(trainer: Trainer, folder: Path) -> tuple[Path, dict]:
    """Continue from the newest state in `folder`, which holds one; returns it and how it was executed.

    A damaged one is refused by name, and the one before it offered: it is never skipped silently.
    """
    states = list_states(folder)
    try:
        return states[-1], load_state(trainer, states[-1])
    except DamagedFile as error:
        if len(states) > 1:
            raise DamagedFile(f"{error}; or go on from the one before it with --resume {states[-2]}") from error
        raise


def set_aside_newer(folder: Path, path: Path) -> list[Path]:
    """Rename the states after `path`, which a run that goes on from it would otherwise take for its own; returns their new names."""
    newer = [p for p in list_states(folder) if p.name > Path(path).name]
    return [p.rename(p.with_suffix(SET_ASIDE)) for p in newer]


def load_state(trainer: Trainer, path: Path) -> dict:
    """Continue the run that wrote `path`; returns how it was executed. Raises InputError for a damaged file, another run or other images."""
    state = read_state(path)
    trainer.config.check_same_run(TrainConfig.from_json(state["config"], like=trainer.config.task))
    if state["data"] != trainer.digest:
        raise InputError(f"the state {str(path)!r} was trained on other images than these; pass the same --data-path, or use another --out")
    if state["step"] > trainer.total_steps:
        raise InputError(f"the state {str(path)!r} is at step {state['step']}, the run would end at {trainer.total_steps}; raise --epochs")
    parameters, vectors = list(trainer.network.parameters()), state["vectors"]
    fill(parameters, vectors["network"])
    for i, average in enumerate(trainer.averages):
        fill(average.shadow, vectors[f"average {i}"])
    if state["optimizer_steps"] > 0:
        moments = {m: [torch.empty_like(p) for p in parameters] for m in MOMENTS}
        for m in MOMENTS:
            fill(moments[m], vectors[m])
        for i, p in enumerate(parameters):
            count = torch.tensor(float(state["optimizer_steps"]), device=p.device)
            trainer.optimizer.state[p] = {"step": count, **{m: moments[m][i] for m in MOMENTS}}
    if trainer.scaler.is_enabled() and state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.step = state["step"]
    return state["execution"]


def read_state(path: Path) -> dict:
    """The contents of a state file, checked for kind, version and damage."""
    damaged = f"the state {str(path)!r} is damaged or not a state file"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"there is no state {str(path)!r} to resume from; check the name, or start without --resume") from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, pickle.UnpicklingError, ValueError, KeyError, AttributeError) as error:
        raise DamagedFile(f"{damaged} ({type(error).__name__}); restore a whole copy of it") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found not in READABLE:
        newer = isinstance(found, int) and found > STATE_FORMAT
        advice = "it was written by a newer ddpm_utils, update this one" if newer else "it can't be continued with this version"
        raise InputError(f"the state {str(path)!r} has format {found}, this version of ddpm_utils reads format {STATE_FORMAT}; {advice}")
    if state.get("sha256") != state_digest(state):
        raise DamagedFile(f"{damaged} (its contents don't match their checksum); restore a whole copy of it")
    return state


# --- vectors and digests ---


@torch.no_grad()
def flatten(tensors: list[Tensor]) -> Tensor:
    """All values one after the other as one float32 vector on the CPU, whatever their memory layout."""
    return torch.cat([t.detach().reshape(-1) for t in tensors]).float().cpu()


@torch.no_grad()
def fill(tensors: list[Tensor], vector: Tensor) -> None:
    """The inverse of `flatten`: put the vector's values into the tensors, in place."""
    for tensor, part in zip(tensors, vector.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def state_digest(state: dict) -> str:
    """SHA-256 over all of a state but its own digest, to notice flipped bits."""
    rest = {name: value for name, value in state.items() if name not in ("vectors", "sha256")}
    digest = hashlib.sha256(repr(sorted(rest.items())).encode())
    for name, vector in sorted(state["vectors"].items()):
        digest.update(name.encode())
        digest.update(memoryview(np.ascontiguousarray(vector.numpy())))
    return digest.hexdigest()
