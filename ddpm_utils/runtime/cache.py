"""Decoded and drawn images are kept between runs, in $DDPM_CACHE or ddpm_utils in the user's cache folder.

An entry is a folder that appears only when it is complete, so that a run that is killed, or two at once, do no harm. It lists the sizes
and checksums of its files, which are compared each time: an entry that was damaged since is made again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.console import say
from ddpm_utils.runtime.files import atomic_path, named

SUMS = "checksums.json"


def cache_folder() -> Path:
    """Where entries are kept."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache")
        return Path(os.environ.get("DDPM_CACHE") or Path(base) / "ddpm_utils").expanduser()
    except RuntimeError as error:  # a user whom the system doesn't know, as in some containers
        raise InputError("there is no home folder to keep decoded images in; set DDPM_CACHE to a folder") from error


def fingerprint(root: Path, files: list[Path], size: int, read: str = "") -> str:
    """A name for the decoded form of these files: changes with any path, file size or modification time. Names may be no UTF-8.

    read: what else decides the pixels.
    """
    digest = hashlib.sha256(f"fit-lanczos {size}{read}".encode())
    for path in files:
        digest.update(os.fsencode(path.relative_to(root)) + f"\0{_size_and_time(path)}\n".encode())
    return f"{root.name[:40]}-{size}-{digest.hexdigest()[:16]}"


def _size_and_time(path: Path) -> str:
    """Of the file, or of nothing where a link leads nowhere."""
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


def is_passing(error: Exception) -> bool:
    """Whether this isn't the file's own fault and may be gone next time: a drive that doesn't answer, a permission, too many open files."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


@contextmanager
def filling(folder: Path, need: int, anew: bool = False) -> Iterator[Path]:
    """A temporary folder to fill; it gets checksums and the name `folder` when the block ends well, and vanishes otherwise.

    need: bytes that it will take; InputError where the disk has fewer. anew: replaces an entry that is whole, too.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(".tmp", f"{folder.name}.", folder.parent))
    try:
        free = shutil.disk_usage(temporary).free
        if need > free:
            raise InputError(
                f"the images need {need / 1e9:.1f} GB and {str(folder.parent)!r} has {free / 1e9:.1f} GB free; "
                "ask for fewer, or set DDPM_CACHE to a folder on a larger disk"
            )
        with named(folder, instead_of=temporary):
            yield temporary
            seal(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if anew or _fault(folder):  # else another process was faster, with the same result
                shutil.rmtree(folder)
                temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write every file of an entry to the disk, and then its size and SHA-256 into the list that `whole_files` checks.

    Several processes may do so at once, with the same files.
    """
    sums = {}
    for path in sorted(folder.iterdir()):
        if path.name != SUMS and not path.name.startswith("."):
            sums[path.name] = _size_and_sum(path)
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
    with atomic_path(folder / SUMS) as temporary:
        temporary.write_text(json.dumps(sums))


def whole_files(folder: Path) -> set[str]:
    """Names of the files of an entry, all of them seen to be as they were written; empty, and said, where one isn't; empty without an entry."""
    if not folder.exists():
        return set()
    if fault := _fault(folder):
        say(f"the cache entry {str(folder)!r} {fault}; it is made again")
        return set()
    return set(_sums(folder))


def _fault(folder: Path) -> str | None:
    """What is wrong with an entry, in words."""
    try:
        sums = _sums(folder)
    except (OSError, ValueError):
        return "has no checksums, as older versions and interrupted ones left it"
    for name, expected in sums.items():
        try:
            if _size_and_sum(folder / name) != expected:
                return f"is damaged, its {name} isn't as it was written"
        except OSError:
            return f"is damaged, its {name} can't be read"
    return None


def _sums(folder: Path) -> dict[str, list]:
    """{file: [bytes, SHA-256]}; ValueError where the list is no such thing."""
    sums = json.loads((folder / SUMS).read_text("utf-8"))
    if not isinstance(sums, dict) or not sums:
        raise ValueError("no list of checksums")
    return sums


def _size_and_sum(path: Path) -> list:
    with open(path, "rb") as file:
        return [os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()]
