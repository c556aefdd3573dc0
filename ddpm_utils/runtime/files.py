"""Files that appear whole or not at all, folders that can be made, and how much they hold."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ddpm_utils.errors import InputError


def file_in_the_way(folder: Path) -> Path | None:
    """The file, `folder` itself or one above it, because of which there can be no such folder; None if it exists or can be made."""
    return next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)


def check_folder_can_be(folder: Path) -> None:
    """InputError that names the file because of which there can be no such folder."""
    if blocking := file_in_the_way(folder):
        raise InputError(f"there can be no folder {str(folder)!r}, because {str(blocking)!r} is a file; choose another name")


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
def _renamed(temporary: Path, path: Path) -> Iterator[Path]:
    """The file `temporary` becomes `path` when the block ends well, and is removed otherwise."""
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`, also while some of them come and go."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
