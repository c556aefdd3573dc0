"""Decoded and drawn images are kept between runs, in $DDPM_CACHE or ddpm_utils in the user's cache folder.

An entry is a folder that appears only when it is complete, so that a run that is killed, or two at once, do no harm.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddpm_utils.errors import InputError


def cache_folder() -> Path:
    """Where entries are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DDPM_CACHE") or Path(base) / "ddpm_utils").expanduser()


def fingerprint(root: Path, files: list[Path], size: int) -> str:
    """A name for the decoded form of these files: changes with any path, file size or modification time. Names may be no UTF-8."""
    digest = hashlib.sha256(f"fit-lanczos {size}".encode())
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


@contextmanager
def filling(folder: Path, need: int, last: str) -> Iterator[Path]:
    """A temporary folder to fill; it gets the name `folder` when the block ends well, and vanishes otherwise.

    need: bytes that it will take; InputError where the disk has fewer. last: the file that is written last, which an entry is known by.
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
        yield temporary
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / last).exists():  # else another process was faster, with the same result
                shutil.rmtree(folder)  # incomplete
                temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
