"""Which files lie below a folder: links to folders are followed, hidden files left out, and nothing else is dropped without being counted."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NOT_IMAGES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}  # Pillow registers them, but can't draw them by itself
LEFT_BEHIND = {"thumbs.db", "desktop.ini", ".ds_store", "__macosx"}  # by computers, in any folder: not worth a word
ADVICE = dict.fromkeys((".heic", ".heif", ".hif"), "convert them to JPEG")  # photographs that Pillow can't open
SHOWN = 8  # kinds of files that a line names


class Tree(NamedTuple):
    """What lies below a folder: files in sorted order, and (path, reason) for what was left out."""

    files: list[Path]
    left_out: list[tuple[Path, str]]


@dataclass(frozen=True)
class Found:
    """The images of a data set: files, labels (N,) int64 or None, class names, and what to say of the files that aren't among them."""

    files: list[Path]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    said: str = ""  # a sentence on what was chosen
    left_out: tuple[str, ...] = ()  # a reason for each file
    boxes: np.ndarray | None = None  # (N, 4) int: left, top, right, bottom of what is kept of each image, the last two excluded
    used: Collection[Path] = ()  # files besides the images that were read

    def notes(self) -> list[str]:
        """The lines to print."""
        return [line for line in (self.said, left_out_in_words(self.left_out)) if line]


@cache
def image_endings() -> frozenset[str]:
    """Endings, in lower case, of every kind of image that this Pillow opens."""
    Image.init()
    kinds = (Image.OPEN.keys() | {"MPO"}) - NOT_IMAGES  # MPO is a JPEG with another behind it, opened as one
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in kinds)


def is_image(path: Path) -> bool:
    """Whether it is named like an image that Pillow opens."""
    return path.suffix.lower() in image_endings()


def is_hidden(path: Path) -> bool:
    """Whether this relative path is one of the files that computers leave behind: thumbnails, or a Mac's in an archive."""
    return any(part.startswith(".") or part.lower() in LEFT_BEHIND for part in path.parts)


def files_below(root: Path) -> Tree:
    """Every file below `root` that isn't hidden, through links to folders too; each real folder once, so that loops end.

    Real folders come first, then the links found in them, in sorted order. A link that leads nowhere is a file that can't be read if it is
    named like an image.
    """
    files: list[Path] = []
    left: list[tuple[Path, str]] = []
    links, seen = [root], set()
    while links:
        start = links.pop(0)
        if start != root and start.parent.resolve().is_relative_to(start.resolve()):
            left.append((start, "link that closes a loop"))
            continue
        for folder, subfolders, names in _walk(start, seen, left):
            links += [folder / name for name in subfolders if (folder / name).is_symlink()]
            for path in (folder / name for name in names):
                reason = _reason_against(path)
                if reason is None:
                    files.append(path)
                elif reason:
                    left.append((path, reason))
    return Tree(sorted(files), left)


def _walk(start: Path, seen: set[Path], left: list[tuple[Path, str]]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """os.walk through folders that aren't hidden and weren't `seen`, links not followed; a folder that can't be read is an OSError."""

    def fail(error: OSError):
        raise error

    for name, subfolders, names in os.walk(start, onerror=fail):
        folder = Path(name)
        if folder.resolve() in seen:
            left.append((folder, "folder seen already by another name"))
            subfolders.clear()
            continue
        seen.add(folder.resolve())
        subfolders[:] = sorted(sub for sub in subfolders if not is_hidden(Path(sub)))
        yield folder, subfolders, sorted(names)


def _reason_against(path: Path) -> str | None:
    """Why this isn't a file to look at, "" if it isn't worth a word, None if it is one."""
    if path.name.lower() in LEFT_BEHIND:
        return ""
    if is_hidden(Path(path.name)):
        return "hidden"
    if path.is_file() or (path.is_symlink() and not path.exists() and is_image(path)):
        return None
    return "link to nowhere" if path.is_symlink() and not path.exists() else "special file"


def ending_in_words(path: Path) -> str:
    """The ending of a file that is left out, and what to do about it: ".heic (convert them to JPEG)"."""
    ending = path.suffix.lower()
    return f"{ending} ({ADVICE[ending]})" if ending in ADVICE else ending or "without an ending"


def left_out_in_words(reasons: Iterable[str]) -> str:
    """A line such as "left out: 3 .heic (convert them to JPEG), 2 .txt, 1 hidden"; empty if nothing was."""
    counts = sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{n:,} {_plural(reason) if n > 1 else reason}" for reason, n in counts[:SHOWN]]
    if len(counts) > SHOWN:
        shown.append(f"{sum(n for _, n in counts[SHOWN:]):,} others")
    return f"left out: {', '.join(shown)}" if shown else ""


def _plural(reason: str) -> str:
    return re.sub(r"^(link|folder|row|special file)\b", r"\1s", reason).replace("closes a loop", "close loops")
