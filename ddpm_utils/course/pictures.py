"""Pictures as a notebook keeps them: lines as SVG, images as PNG at twice the resolution, every colour as it was drawn."""

import base64
import html
import io
import math
import re

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import PathCollection
from PIL import Image

from ddpm_utils.errors import InputError

SHARP = 2  # pixels of a picture for one of the page, so that it is sharp on fine screens
LARGEST_SVG = 140_000  # characters
CLOUD = 400  # points of a scatter plot, from which on pixels are smaller


def png(figure, scale: int = SHARP) -> bytes:
    """A matplotlib Figure as PNG, `scale` times as large as its dpi says."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=scale * figure.dpi)
    return encoded(Image.open(buffer))


def jpeg(figure) -> bytes:
    """A matplotlib Figure of photographs as JPEG, as large as its dpi says: with every colour as it is they cost five times as much."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=figure.dpi, pil_kwargs={"quality": 82, "optimize": True})
    return buffer.getvalue()


def svg(figure, alt: str) -> str | None:
    """A matplotlib Figure as SVG that says `alt`, or None where it shows an image, or so many points that pixels are smaller."""
    if any(axes.images or _meshes(axes) or _clouds(axes) for axes in figure.axes):
        return None
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": alt}):  # the same figure, the same file
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = " ".join(text[text.index("<svg ") :].split())  # on one line, since a notebook's file pays for every line
    text = re.sub(r"(?<!scale\()(?<![\d.])(-?\d+\.\d\d)\d+", r"\1", text)  # hundredths of a point are enough
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1) if len(text) <= LARGEST_SVG else None


def _meshes(axes) -> list:
    return [drawn for drawn in axes.collections if type(drawn).__name__ in ("QuadMesh", "PolyQuadMesh")]


def _clouds(axes) -> list:
    return [drawn for drawn in axes.collections if isinstance(drawn, PathCollection) and len(drawn.get_offsets()) >= CLOUD]


def encoded(picture: Image.Image, form: str = "png") -> bytes:
    """An image as a file with every colour as it is, with as few bytes a pixel as its colours need. form: "png" or "webp"."""
    buffer = io.BytesIO()
    if form == "webp":
        picture.convert("RGB").save(buffer, format="webp", lossless=True, quality=80, method=4)
    else:
        _lean(picture.convert("RGB")).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def coarse(images: np.ndarray, step: int = 8) -> np.ndarray:
    """uint8 images of any shape with values in steps of 8 levels; black stays black, and white white.

    What networks draw is noisy to the last level. In images of some ten pixels nobody sees four levels of 255, but they cost a third of the bytes
    or more. For showing, not for measuring.
    """
    return np.minimum((images.astype(int) + step // 2) // step * step, 255).astype(np.uint8)


def _lean(picture: Image.Image) -> Image.Image:
    """The same pixels, as grey values or by a palette where that loses nothing."""
    pixels = np.asarray(picture)
    if (pixels == pixels[..., :1]).all():
        return picture.convert("L")
    if picture.getcolors(256) is None:
        return picture
    codes = pixels @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)  # (H, W)
    colours = np.unique(codes)
    exact = Image.fromarray(np.searchsorted(colours, codes).astype(np.uint8), "P")  # Pillow's own search is only nearly exact
    exact.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1).astype(np.uint8).tobytes())
    return exact


def film(frames: list[bytes], seconds: float) -> bytes:
    """PNGs of one size as an animated PNG that repeats, each shown for so many seconds."""
    sheet, (_, height) = stacked(frames)
    lean = _lean(sheet)  # all frames share a palette
    first, *others = [lean.crop((0, i * height, sheet.width, (i + 1) * height)) for i in range(len(frames))]
    buffer = io.BytesIO()
    first.save(buffer, format="png", save_all=True, append_images=others, duration=1000 * seconds, loop=0, optimize=True)
    return buffer.getvalue()


def stacked(pngs: list[bytes], columns: int = 1) -> tuple[Image.Image, tuple[int, int]]:
    """Pictures in rows of so many columns, and the size of the place that each of them has."""
    if not pngs:
        raise InputError("there is no picture to put on a sheet")
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in pngs]
    width, height = (max(p.size[i] for p in pictures) for i in (0, 1))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet, (width, height)


def beside(pngs: list[bytes], limit: int = 1000 * SHARP) -> bytes:
    """Pictures side by side, in rows no wider than about `limit` pixels."""
    width = max(Image.open(io.BytesIO(data)).width for data in pngs)
    return encoded(stacked(pngs, min(len(pngs), max(1, limit // width)))[0])


def shown_size(data: bytes) -> dict[str, int]:
    """The width and height that a picture has on the page."""
    width, height = Image.open(io.BytesIO(data)).size
    return {"width": width // SHARP, "height": height // SHARP}


def as_base64(data: bytes) -> str:
    """For a data: address, or a notebook's output."""
    return base64.b64encode(data).decode()
