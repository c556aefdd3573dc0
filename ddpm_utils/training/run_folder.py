"""Whether a session may write into a folder: whose it is, what it holds, and what would be lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.device import will_be_first
from ddpm_utils.runtime.files import file_in_the_way, locked
from ddpm_utils.training.backup import RUN_FILE, bring_back, check_copy, check_place
from ddpm_utils.training.boards import check_board
from ddpm_utils.training.checkpoints import SET_ASIDE, check_kind, list_states
from ddpm_utils.training.options import SessionOptions


def check_folder(options: SessionOptions, result: str) -> None:
    """Refuse a folder that can't be used, one that holds a run already, and a resume where there is none. Needs no images.

    result: name of the file that the run ends with. A run to be resumed whose folder is gone comes back from its copy. Of several processes
    the first looks, before they join.
    """
    if will_be_first():
        with folder_of_its_own(options, result):
            pass


@contextmanager
def folder_of_its_own(options: SessionOptions, result: str) -> Iterator[None]:
    """Inside, --out is this process's alone, and fit for the session."""
    if blocking := file_in_the_way(options.out):
        raise InputError(f"--out must be a folder, {str(blocking)!r} is a file; choose another name")
    with locked(options.out):
        look_into(options, result)
        yield


def look_into(options: SessionOptions, result: str) -> None:
    """The refusals of `check_folder`, in a folder that no other process changes meanwhile."""
    out, copy = options.out, options.copy_to
    if options.log_to:
        check_board(options.log_to)
    if copy:
        check_place(out, copy)
        if options.resume is True:
            bring_back(copy, out)
    if isinstance(options.resume, Path):
        check_kind(options.resume)
    there = worth_keeping(out, result)
    if options.resume is True and not list_states(out):
        if there:
            raise InputError(
                f"there is no state to resume from in {str(out)!r}, only {there[0].name}; begin anew with another --out, without --resume"
            )
        if not is_begun(out):
            raise InputError(f"there is no state to resume from in {str(out)!r}; check --out, or start without --resume")
    if copy:
        check_copy(out, copy, bool(options.resume))
    if not options.resume and there:
        go_on = "pass --resume to go on with it, or" if list_states(out) else "choose"
        raise InputError(f"{str(out)!r} already holds a run ({there[0].name}); {go_on} another --out")


def worth_keeping(out: Path, result: str) -> list[Path]:
    """What a run that begins anew in the folder would lose. A log alone is no loss: the run ended before its first state."""
    return [*list_states(out), *out.glob(f"*{SET_ASIDE}"), *(p for p in (out / result, out / "snapshots") if p.exists())]


def is_begun(out: Path) -> bool:
    """Whether a run was begun in the folder, however it ended."""
    return any((out / name).exists() for name in (RUN_FILE, "log.jsonl"))
