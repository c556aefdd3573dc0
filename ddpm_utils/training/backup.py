"""A second copy of a run's folder on a disk that outlives the machine, such as Google Drive on Colab.

Each file is written under another name, flushed, and renamed, so that the copy holds whole files only, whenever the machine goes away.
"""

import os
import shutil
from pathlib import Path

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.training.checkpoints import list_states


def mirror(run: Path, copy: Path) -> None:
    """Bring `copy` up to date with the folder `run`: the states first, so that a whole one is there at any moment, then all else."""
    states = list_states(run)
    others = (p for p in sorted(run.rglob("*")) if p.is_file() and p not in states and not p.name.endswith(".tmp"))
    for path in (*states, *others):
        target = copy / path.relative_to(run)
        if not is_current(target, path):
            with open(path, "rb") as whole, atomic_write(target) as file:
                shutil.copyfileobj(whole, file, 1 << 22)
    names = {path.name for path in states}
    for path in list_states(copy):
        if states and path.name not in names:
            os.truncate(path, 0)  # Drive's bin keeps what is deleted, and counts it
            path.unlink()


def is_current(target: Path, path: Path) -> bool:
    """Whether `target` was copied from `path` as it is now."""
    if not target.exists():
        return False
    a, b = target.stat(), path.stat()
    return a.st_size == b.st_size and a.st_mtime >= b.st_mtime


def bring_back(copy: Path, run: Path) -> None:
    """Fill the folder `run` from its copy, if `run` has no state and the copy has one: the machine is a new one."""
    if not list_states(run) and list_states(copy):
        mirror(copy, run)


def check_copy(run: Path, copy: Path, resume: bool) -> None:
    """Refuse a copy that can't be one of this run: a file, the run itself, or the copy of another run. Their logs begin differently."""
    if copy.exists() and not copy.is_dir():
        raise InputError(f"--copy-to must be a folder, {str(copy)!r} is a file; choose another name")
    if copy.resolve() == run.resolve():
        raise InputError(f"--copy-to must be another folder than --out, both are {str(copy)!r}")
    if list_states(copy) and not resume:
        raise InputError(f"{str(copy)!r} already holds the copy of a run; pass --resume to go on with it, or another --copy-to")
    if list_states(copy) and first_line(copy / "log.jsonl") != first_line(run / "log.jsonl"):
        raise InputError(f"{str(copy)!r} holds the copy of another run than {str(run)!r}; choose another --copy-to")


def first_line(log: Path) -> str:
    """The first record of a log, which tells runs apart: it holds a measured speed. Empty where there is none."""
    return next(iter(log.read_text().splitlines()), "") if log.is_file() else ""
