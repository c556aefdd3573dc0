"""Files that appear whole or not at all, folders that can be made, that one process has for itself, and how much they hold."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ddpm_utils.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

UNFINISHED = ".unfinished.tmp"  # in a folder, what isn't moved to its place yet
LOCK = ".lock"  # in a folder that a process has for itself; holds "PROCESS HOST"


def file_in_the_way(folder: Path) -> Path | None:
    """The file, `folder` itself or one above it, because of which there can be no such folder; None if it exists or can be made."""
    return next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)


def check_folder_can_be(folder: Path) -> None:
    """InputError that names the file because of which there can be no such folder."""
    if blocking := file_in_the_way(folder):
        raise InputError(f"there can be no folder {str(folder)!r}, because {str(blocking)!r} is a file; choose another name")


def check_writable(path: Path) -> None:
    """InputError where no file can be written to `path`, before the time for its contents is spent. Makes its folder."""
    check_folder_can_be(path.parent)
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{str(path)!r} can't be written ({error.strerror}); choose another name") from error


def check_apart(paths: dict[str, Path | None]) -> None:
    """InputError where two flags name one file, so that one of the two results would be lost."""
    seen: dict[Path, str] = {}
    for flag, path in paths.items():
        if path and (other := seen.setdefault(path.resolve(), flag)) != flag:
            raise InputError(f"{other} and {flag} both name {str(path)!r}; give one of them another name")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """`with atomic_write(path) as file:` the file appears under its name whole and flushed to disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _renamed(path.with_name(f".{path.name}.tmp"), path) as temporary, open(temporary, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """`with atomic_path(path) as temporary:` what is written to the file `temporary` appears as `path` when the block ends well.

    For libraries that want a name with the right ending, and for caches: the name is this process's own, so that several may write at once.
    """
    with _renamed(path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}"), path) as temporary:
        yield temporary


@contextmanager
def filled_folder(folder: Path, last: str) -> Iterator[Path]:
    """`with filled_folder(folder, last="index.json") as temporary:` what is written into the folder `temporary` appears in `folder` when the block
    ends well: the file `last` after all others, so that a folder that has it is whole.

    `folder` may hold other files, which stay. One that a killed process left is known by `is_unfinished`, and filled anew.
    """
    temporary = folder / UNFINISHED
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        files = [path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file()]
        for file in sorted(files, key=lambda file: file.as_posix() == last):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / file, folder / file)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_unfinished(folder: Path) -> bool:
    """Whether a process was killed while it filled the folder."""
    return (folder / UNFINISHED).is_dir()


@contextmanager
def _renamed(temporary: Path, path: Path) -> Iterator[Path]:
    """The file `temporary` becomes `path` when the block ends well, and is removed otherwise."""
    try:
        with named(path, instead_of=temporary):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path: Path, instead_of: Path) -> Iterator[None]:
    """Errors of the system name `path`, which a user knows, instead of a temporary file, or of nothing: "No space left" comes without a name."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(instead_of), instead_of):
            error.filename = str(path)
        raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, this process has `folder` for itself; InputError that names the process and the host that have it otherwise.

    The system frees the lock of a process that dies, however it dies, and the next one takes it over. Where a drive knows no locks, or the
    holder is on another host, nothing tells whether it lives: then the file itself counts, until someone deletes it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _take(folder / LOCK)
    try:
        yield
    finally:
        _let_go(folder / LOCK, descriptor)
        with suppress(OSError):  # one that is not empty stays, and what is above it
            for path in made:
                path.rmdir()


def is_held(folder: Path) -> bool:
    """Whether a process has `folder` for itself by now; True where this host can't tell whether that process lives."""
    try:
        process, _, host = (folder / LOCK).read_text(errors="replace").strip().partition(" ")
    except FileNotFoundError:
        return False
    if fcntl is None or host != socket.gethostname() or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's, and lives
        pass
    return True


def _take(path: Path) -> int:
    """The open file `path`, locked, with this process's number and host in it."""
    here = socket.gethostname()
    descriptor, new = _open_lock(path)
    try:
        free = _try_lock(descriptor)
        process, _, host = os.read(descriptor, 300).decode(errors="replace").strip().partition(" ")
        if free is False:
            raise InputError(f"{_in_use(path, process, host)}; wait until it ends, or stop it, or choose another folder")
        if host not in ("", here) or (free is None and not new):
            raise InputError(f"{_in_use(path, process, host)}; if it runs no more, delete {str(path)!r}, or choose another folder")
        current = _is_open_as(path, descriptor)
        if current:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()} {here}\n".encode())
    except BaseException:
        os.close(descriptor)
        raise
    if current:
        return descriptor
    os.close(descriptor)  # who had it let go, and deleted the file, since it was opened here
    return _take(path)


def _open_lock(path: Path) -> tuple[int, bool]:
    """The file, open, and whether it is new: of several processes, one makes it, on network drives too."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666), False


def _try_lock(descriptor: int) -> bool | None:
    """Whether the lock is this process's now; None where the system or the drive has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _in_use(path: Path, process: str, host: str) -> str:
    who = f"process {process} on {host}" if host else "a process that has just begun"
    return f"the folder {str(path.parent)!r} is in use by {who}"


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Whether `path` is still the file that is open, and not deleted or made anew."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _let_go(path: Path, descriptor: int) -> None:
    """Delete the file while it is locked, unless someone did; Windows deletes no open file."""
    mine = _is_open_as(path, descriptor)
    if fcntl is None:
        os.close(descriptor)
    if mine:
        path.unlink(missing_ok=True)
    if fcntl is not None:
        os.close(descriptor)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`, also while some of them, or it, come and go."""
    total = 0
    for below, _, names in os.walk(folder):  # which passes over a folder that has gone; Path.rglob raises
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(below, name)).st_size
    return total
