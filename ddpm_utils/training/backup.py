"""A second copy of a run's folder on a disk that outlives the machine, such as Google Drive on Colab.

Each file is written under another name, flushed, and renamed, so that the copy holds whole files only, whenever the machine goes away.
Nothing that is newer, or of another run, is written over: runs are told apart by run.json, and by their newest states where one has none
(older versions wrote none); how far a folder is, by the numbers of its states.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import LOCK, atomic_write
from ddpm_utils.settings import checked_object
from ddpm_utils.training.checkpoints import SET_ASIDE, list_states, read_state

RUN_FILE = "run.json"  # {"id": …}, written once
PARTS = (RUN_FILE, "state-*", "log.jsonl", "status.json", "loss.png", "*.safetensors", "samples", "snapshots")  # what a run writes


# --- copying ---


def mirror(run: Path, copy: Path) -> None:
    """Bring `copy` up to date with the folder `run`: the states first, so that a whole one is there at any moment, then all else.

    Raises InputError, and writes nothing, where `copy` would lose something.
    """
    refuse_loss(run, copy, "choose another --copy-to")
    states = list_states(run)
    kept = set_aside_alike(run, copy)
    copy_files([*states, *(path for path in other_files(run) if copy / path.relative_to(run) not in kept)], run, copy)
    names = {path.name for path in states}
    for path in list_states(copy):
        if states and path.name not in names:
            os.truncate(path, 0)  # Drive's bin keeps what is deleted, and counts it
            path.unlink()


def set_aside_alike(run: Path, copy: Path) -> list[Path]:
    """Set aside in `copy` what `run` has set aside; returns what lies there so. It may be whole where the run's is damaged."""
    places = [copy / path.name for path in run.glob(f"state-*{SET_ASIDE}")]
    for place in places:
        state = place.with_suffix(".pt")
        if state.exists() and not place.exists():
            state.rename(place)
    return [place for place in places if place.exists()]


def bring_back(copy: Path, run: Path) -> None:
    """Fill the folder `run` from its copy, if `run` has no state and the copy has one: the machine is a new one.

    The states come last: where one is, all else is. Raises InputError, and writes nothing, where `run` would lose something.
    """
    if not list_states(run) and list_states(copy):
        refuse_loss(copy, run, "choose another --out")
        copy_files([*other_files(copy), *list_states(copy)], copy, run)


def copy_files(paths: Iterable[Path], folder: Path, target: Path) -> None:
    """Copy these files of `folder` to the same places in `target`, but for those that are there."""
    for path in paths:
        place = target / path.relative_to(folder)
        if not is_current(place, path):
            with open(path, "rb") as whole, atomic_write(place) as file:
                shutil.copyfileobj(whole, file, 1 << 22)


def other_files(run: Path) -> list[Path]:
    """All files of a run but its states, the one that names it first."""
    states = set(list_states(run))
    files = (p for p in run.rglob("*") if p.is_file() and p not in states and p.name != LOCK and not p.name.endswith(".tmp"))
    return sorted(files, key=lambda path: (path != run / RUN_FILE, path))


def is_current(target: Path, path: Path) -> bool:
    """Whether `target` holds what `path` holds. Dates tell nothing: clocks differ, and are set."""
    if not target.is_file() or target.stat().st_size != path.stat().st_size:
        return False
    with open(target, "rb") as a, open(path, "rb") as b:
        while block := b.read(1 << 22):
            if a.read(1 << 22) != block:
                return False
    return True


# --- which run it is, and how far ---


def name_run(run: Path, copy: Path | None, resume: bool) -> None:
    """Write run.json for a run that has none; it is the copy's where `check_copy` knew the copy by its states.

    A run that begins anew, since it ended before its first state, is the same run.
    """
    if run_id(run):
        return
    known = run_id(copy) if resume and copy else None
    with atomic_write(run / RUN_FILE) as file:
        file.write(json.dumps({"id": known or uuid.uuid4().hex}).encode())


def run_id(folder: Path) -> str | None:
    """What run.json says; None without one, or with a damaged one."""
    return read_fields(folder / RUN_FILE).get("id")


def is_same_run(a: Path, b: Path) -> bool:
    """Whether two folders are known to hold the same run."""
    ids = run_id(a), run_id(b)
    if all(ids):
        return ids[0] == ids[1]
    if not list_states(a) or not list_states(b):
        return False
    one, other = (read_state(list_states(folder)[-1]) for folder in (a, b))
    try:
        TrainConfig.from_json(one["config"]).check_same_run(TrainConfig.from_json(other["config"]))
    except InputError:
        return False
    return one["data"] == other["data"]


def saved_step(folder: Path) -> int:
    """The step of the newest state, also of one that was set aside; -1 without any."""
    return max((step_of(path.name) for path in folder.glob("state-*")), default=-1)


def step_of(state: str) -> int:
    """The number in a state's name; -1 if it has none."""
    number = re.match(r"state-(\d+)\.", state)
    return int(number[1]) if number else -1


def read_fields(path: Path) -> dict:
    """What a small JSON file says; nothing if it is missing or damaged."""
    try:
        fields = json.loads(path.read_text())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


# --- refusals ---


def check_place(run: Path, copy: Path) -> None:
    """Refuse a copy that is a file, or the run's folder, or inside it, or around it."""
    if copy.exists() and not copy.is_dir():
        raise InputError(f"--copy-to must be a folder, {str(copy)!r} is a file; choose another name")
    inner, outer = run.resolve(), copy.resolve()
    if inner == outer:
        raise InputError(f"--copy-to must be another folder than --out, both are {str(copy)!r}")
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise InputError(f"--copy-to and --out must lie side by side, {str(copy)!r} and {str(run)!r} are one inside the other")


def check_copy(run: Path, copy: Path, resume: bool) -> None:
    """Refuse a copy that would lose something: what a new run finds there, what is of another run, or newer."""
    if (resume and list_states(run)) or (run_id(run) and run_id(run) == run_id(copy)):
        refuse_loss(run, copy, "pass --resume with a new --out to go on from the copy, or choose another --copy-to")
    elif held := parts_of_a_run(copy):
        go_on = "pass --resume to go on with it, or" if list_states(copy) and not resume else "choose"
        raise InputError(f"{str(copy)!r} already holds the copy of a run ({held[0].name}); {go_on} another --copy-to")


def refuse_loss(source: Path, target: Path, advice: str) -> None:
    """InputError if `target` would lose something by a copy of `source`: it holds another run, or later steps of the same."""
    held = parts_of_a_run(target)
    if not held:
        return
    if not is_same_run(source, target):
        raise InputError(f"{str(target)!r} holds another run ({held[0].name}) than {str(source)!r}; {advice}")
    here, there = saved_step(source), said_step(target, advice)
    if there > here:
        raise InputError(f"{str(target)!r} holds step {there} of this run, {str(source)!r} only step {here}; {advice}")


def said_step(folder: Path, advice: str) -> int:
    """The step of the newest state that a copy has, or had, since states are deleted to save room; -1 without any.

    Raises InputError where only a damaged status.json could tell.
    """
    states, path = [path.name for path in list_states(folder)], folder / "status.json"
    try:
        had = checked_object(path.read_bytes(), "it", needed=False).get("state") if path.exists() else None
    except InputError as error:
        if not states:
            raise InputError(
                f"{str(folder)!r} holds no state, and nothing else tells its step: {str(path)!r} is damaged; {advice}"
            ) from error
        had = None
    return max(map(step_of, [*states, str(had)]))


def parts_of_a_run(folder: Path) -> list[Path]:
    """What a run would write over in `folder`."""
    return [path for part in PARTS for path in sorted(folder.glob(part))]
