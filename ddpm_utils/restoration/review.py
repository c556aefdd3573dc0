"""A folder of retouched photographs, looked at one by one: a page that shows each before and after, and what is rejected put back.

The page is one file that needs no network: the viewer lies in it, small maps of what changed too; the photographs stay where they are, named by
their way from the page, so that each is seen at its full size. A page can't write files: it saves what was rejected as a small file
(`decisions.json`), which `restore` reads.
"""

import base64
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image

from ddpm_utils.errors import InputError
from ddpm_utils.restoration.photos import read_photograph
from ddpm_utils.runtime.files import atomic_write

HERE = Path(__file__).parent
MAP_SIDE = 1024  # pixels of a map of what changed, at most
SHOWN_BY_BROWSERS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
FULL_RED = 16  # levels of 255 from which a change is drawn fully


class Pair(NamedTuple):
    """A photograph's name below its folder, its file, and the retouched one."""

    name: Path
    before: Path
    after: Path


def report_page(pairs: Iterable[Pair], page: Path) -> str:
    """The page, to be written to `page`: HTML with the viewer and what it needs to show each pair."""
    shown = [_entry(pair, page.resolve().parent) for pair in pairs]
    data = json.dumps(shown).replace("<", "\\u003c")  # a name can't end the script that it stands in
    viewer = (HERE / "viewer.js").read_text(encoding="utf-8").replace("</script", "<\\/script")
    html = (HERE / "review.html").read_text(encoding="utf-8")
    return html.replace("/* the viewer */", viewer).replace("/* the photographs */ null", data)


def _entry(pair: Pair, folder: Path) -> dict:
    before, after = (_eight_bits(read_photograph(path).pixels) for path in (pair.before, pair.after))
    moved = np.abs(after.astype(np.int16) - before).max(-1)  # (H, W)
    return {
        "name": pair.name.as_posix(),
        "changed": float((moved > 0).mean()),
        "before": _address(pair.before, before, folder),
        "after": _address(pair.after, after, folder),
        "map": _data_url(change_map(moved), "PNG"),
    }


def change_map(moved: np.ndarray) -> Image.Image:
    """Levels that each pixel moved by, (H, W), as red over nothing: opaque from FULL_RED levels on, of MAP_SIDE pixels at most."""
    opacity = Image.fromarray((np.minimum(moved, FULL_RED) * 255 // FULL_RED).astype(np.uint8))
    opacity.thumbnail((MAP_SIDE, MAP_SIDE), Image.Resampling.BOX)
    red = Image.new("RGBA", opacity.size, (255, 0, 0, 0))
    red.putalpha(opacity)
    return red


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _address(path: Path, pixels: np.ndarray, folder: Path) -> str:
    """How the page names a photograph: by the way to it; what browsers don't show lies in the page, as a JPEG."""
    if path.suffix.lower() not in SHOWN_BY_BROWSERS:
        return _data_url(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), "JPEG", quality=92)
    try:
        return quote(Path(os.path.relpath(path.resolve(), folder)).as_posix())
    except ValueError:  # another drive of Windows
        return path.resolve().as_uri()


def _data_url(image: Image.Image, kind: str, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def read_decisions(path: Path) -> list[Path]:
    """The names that were rejected, as the page saved them."""
    try:
        rejected = json.loads(path.read_text(encoding="utf-8"))["rejected"]
        names = [Path(name) for name in rejected]
    except OSError as error:
        raise InputError(f"there are no decisions {str(path)!r} ({error.strerror}); check the name") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(path)!r} holds no decisions; save them from the page that --report wrote") from error
    if not isinstance(rejected, list) or any(name.is_absolute() or ".." in name.parts for name in names):
        raise InputError(f"{str(path)!r} holds no decisions; save them from the page that --report wrote")
    return names


def restore(rejected: list[Path], photographs: Path, out: Path) -> None:
    """Put each rejected photograph as it was, byte for byte, in the place of its result. All are there, or none is put back."""
    for name in rejected:
        for folder, what in ((photographs, "photograph"), (out, "result")):
            if not (folder / name).is_file():
                raise InputError(f"{str(folder)!r} holds no {what} {name.as_posix()!r}; give the folders that the decisions are about")
    for name in rejected:
        with atomic_write(out / name) as file:
            file.write((photographs / name).read_bytes())
