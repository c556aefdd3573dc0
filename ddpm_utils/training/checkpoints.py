"""State files: all that a run needs to go on.

A state holds weights, averages and the optimizer's two moments, each as one float32 vector: 16 bytes per parameter (and 4 for each average
beyond the first). It is written to a temporary name, flushed to disk, then renamed: a crash at any moment leaves the old file or the
new one, never half of one. It is loaded with `weights_only=True`, so that a foreign file can't run code, and its contents are checked
against a SHA-256 of their own.

The last `keep` states stay, as state-00001234.pt; an older one goes before the next is written, so that a run's disk use has no peak.
Which is newer is told by the step inside, since files are renamed; one under another name than its own is the user's, and never let go of.
"""

import hashlib
import pickle
import re
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.models import kind_of_file, purpose_of
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.training.soundness import why_not_good
from ddpm_utils.training.trainer import Trainer

STATE_FORMAT = 3  # raised when the meaning of a state file changes; 2 had all settings of all tasks in one list, and is read
READABLE = (2, STATE_FORMAT)
SET_ASIDE = ".set-aside"  # in place of .pt
MOMENTS = ("exp_avg", "exp_avg_sq")
UNREADABLE = (  # what torch.load raises for files that aren't whole, or aren't states
    *(RuntimeError, EOFError, OSError, zipfile.BadZipFile, pickle.UnpicklingError),
    *(ValueError, KeyError, IndexError, AttributeError, TypeError),
)


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
    path = folder / state_name(trainer.step)
    older = [p for p in _own_states(folder) if p != path]
    for p in older[: -max(1, keep - 1)]:
        p.unlink()
    save_state(trainer, path)
    for p in _own_states(folder)[:-keep]:
        p.unlink()
    return path


def state_name(step: int) -> str:
    """The name that a run gives to its state of this step."""
    return f"state-{step:08d}.pt"


def list_states(folder: Path) -> list[Path]:
    """The state files of a run, oldest first."""
    return sorted(Path(folder).glob("state-*.pt"), key=lambda path: (step_in(path), path.name))


def _own_states(folder: Path) -> list[Path]:
    """Those that still have the name that the run gave to them."""
    return [path for path in list_states(folder) if path.name == state_name(step_in(path))]


def step_in(path: Path) -> int:
    """The step of a state, as it says itself. Of a damaged one: the number in its name, -1 if it has none. Reads no weights."""
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["step"])
    except UNREADABLE:
        number = re.match(r"state-(\d+)\.", path.name)
        return int(number[1]) if number else -1


# --- reading ---


def load_newest(trainer: Trainer, folder: Path) -> tuple[Path, dict]:
    """Continue from the newest state in `folder`, which holds one; returns it and how it was executed."""
    newest = list_states(folder)[-1]
    with offering_the_one_before(newest):
        return newest, load_state(trainer, newest)


@contextmanager
def offering_the_one_before(path: Path) -> Iterator[None]:
    """A damaged state is refused by name, and the one before it in its folder offered: it is never passed over silently."""
    try:
        yield
    except DamagedFile as error:
        older = [p for p in list_states(path.parent) if step_in(p) < step_in(path)]
        if not older:
            raise
        raise DamagedFile(f"{error}; or go on from the one before it with --resume {shlex.quote(str(older[-1]))}") from error


def set_aside_newer(folder: Path, path: Path) -> list[Path]:
    """Rename the states after `path`, which a run that goes on from it would otherwise take for its own; returns their new names."""
    newer = [p for p in list_states(folder) if step_in(p) > step_in(path)]
    return [p.rename(p.with_suffix(SET_ASIDE)) for p in newer]


def load_state(trainer: Trainer, path: Path) -> dict:
    """Continue the run that wrote `path`; returns how it was executed.

    Raises InputError for a damaged file, another run, other images, and for a state that isn't good, as older versions wrote them.
    """
    state = read_state(path)
    trainer.config.check_same_run(TrainConfig.from_json(state["config"], like=trainer.config.task))
    if state["data"] != trainer.digest:
        raise InputError(
            f"the state {str(path)!r} was trained on other images than these; pass the same --data-path, or begin anew with another --out, "
            "without --resume"
        )
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
    if why := why_not_good(trainer):
        raise DamagedFile(f"the state {str(path)!r} is not one to go on from: {why}; begin anew with another --out, without --resume")
    return state["execution"]


def read_state(path: Path) -> dict:
    """The contents of a state file, checked for kind, version and damage."""
    check_kind(path)
    damaged = f"the state {str(path)!r} is damaged or not a state file"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state.get("format")
        whole = found not in READABLE or state["sha256"] == state_digest(state)
    except UNREADABLE as error:
        raise DamagedFile(f"{damaged} ({type(error).__name__}); restore a whole copy of it") from error
    if found not in READABLE:
        newer = isinstance(found, int) and found > STATE_FORMAT
        advice = "it was written by a newer ddpm_utils, update this one" if newer else "it can't be continued with this version"
        raise InputError(f"the state {str(path)!r} has format {found}, this version of ddpm_utils reads format {STATE_FORMAT}; {advice}")
    if not whole:
        raise DamagedFile(f"{damaged} (its contents don't match their checksum); restore a whole copy of it")
    return state


def check_kind(path: Path) -> None:
    """InputError for what is no state, which says what it is and which state is near."""
    if not path.exists():
        raise InputError(f"there is no state {str(path)!r} to resume from; check the name, or start without --resume")
    kind = None if path.is_dir() else kind_of_file(path)
    if not path.is_dir() and kind in (None, "state"):
        return
    states = list_states(path if path.is_dir() else path.parent)
    near = f"the newest one there is {str(states[-1])!r}" if states else "there is none there"
    raise InputError(f"{str(path)!r} is {purpose_of(kind) if kind else 'a folder'}; --resume takes a state, {near}")


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
