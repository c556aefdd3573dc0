"""A photograph's file: what it holds, and other pixels put into it with every other byte as it was.

`KINDS` maps Pillow's name of a format to the function that does it: (source file, pixels (H, W, C) as they lie in the file) -> bytes of the
new file. JPEG, PNG and TIFF are taken apart and put together again; WebP and BMP are written by Pillow, with all that it can carry over.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from ddpm_utils.data.images import ORIENTATION
from ddpm_utils.errors import InputError

COLOURS = {"L": 1, "LA": 1, "I;16": 1, "RGB": 3, "RGBA": 3}  # modes that can be retouched, and how many channels of them are colour


@dataclass(frozen=True)
class Photograph:
    """A photograph in a file."""

    path: Path
    kind: str  # one of KINDS
    pixels: np.ndarray  # (H, W, 3), or (H, W, 1) if grey; uint8 or uint16; upright
    alpha: np.ndarray  # (H', W', 1), or (H', W', 0) without transparency; as it lies in the file
    orientation: int  # 1 to 8: how the file's pixels must be turned to stand upright (EXIF 2.3, 4.6.4)
    note: str = ""  # what won't be in the result, in words


def open_image(path: Path) -> Image.Image:
    """Pillow's image, not decoded yet. 90 to 179 megapixels come without its warning: they are large, but welcome."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _encode(image: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _bmp(path: Path, array: np.ndarray) -> bytes:
    with open_image(path) as source:
        return _encode(array, "BMP", dpi=source.info.get("dpi", (96, 96)))


def _webp(path: Path, array: np.ndarray) -> bytes:
    with open_image(path) as source:
        kept = {name: source.info[name] for name in ("exif", "icc_profile", "xmp") if name in source.info}
    return _encode(array, "WEBP", lossless=True, exact=True, **kept)  # exact: colours under full transparency, too


# --- JPEG: a chain of segments, each a marker, its length and its data, until the scan begins ---


def _jpeg(path: Path, array: np.ndarray) -> bytes:
    """The source's application segments and comments, and the new image with the source's quantization tables and subsampling."""
    with open_image(path) as source:
        sampling = JpegImagePlugin.get_sampling(source)  # 0: 4:4:4, 1: 4:2:2, 2: 4:2:0, -1: grey, or unusual and then 4:4:4
        options = {"qtables": source.quantization, "subsampling": max(0, sampling), "progressive": "progressive" in source.info}
        as_rgb = source.info.get("adobe_transform") == 0 or source.layer[0][0] == ord("R")
    image = array if array.shape[2] == 1 or as_rgb else _changed_planes(path, array, 2 if sampling == 2 else 1)
    new = _encode(image, "JPEG", optimize=True, **options)
    about = [part for marker, part in _segments(path.read_bytes()) if _is_metadata(marker) and not _describes_coding(marker, part)]
    coding = [part for marker, part in _segments(new) if not _is_metadata(marker)]
    return b"".join([b"\xff\xd8", *about, *coding])


def _changed_planes(path: Path, array: np.ndarray, step: int) -> Image.Image:
    """The luminance and colour planes that lie in a JPEG, with what `array` (H, W, 3) changes added, as a YCbCr image.

    Through RGB, planes would be rounded, and colours of half the size (step 2) smoothed at each opening: every pixel would move a little.
    These are quantized to the very numbers of the source wherever nothing changed. Decoded at half the scale, libjpeg gives such colours
    unsmoothed; repeated `step` times they come out of the encoder's mean as they were.
    """
    height, width = array.shape[:2]
    with open_image(path) as source:
        source.draft("YCbCr", (width, height))
        planes = [np.array(plane) for plane in source.split()]
    if step == 2:
        with open_image(path) as source:
            source.draft("YCbCr", (width // 2, height // 2))
            planes[1:] = [np.array(plane) for plane in source.split()[1:]]
    with open_image(path) as source:
        _add_difference(planes, np.asarray(source), array, step)
    full = (plane if size == 1 else plane.repeat(2, 0).repeat(2, 1)[:height, :width] for plane, size in zip(planes, (1, step, step)))
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in full])


def _add_difference(planes: list[np.ndarray], before: np.ndarray, after: np.ndarray, step: int) -> None:
    """Add to the planes, in place and in strips, by what two RGB images (H, W, 3) differ; the last two planes have a `step`-th of the size."""
    height = len(before)
    for top in range(0, height, 512):
        rows = slice(top, min(top + 512, height))
        old, new = (np.asarray(Image.fromarray(a[rows]).convert("YCbCr"), dtype=np.int16) for a in (before, after))
        for plane, added, size in zip(planes, np.moveaxis(new - old, 2, 0), (1, step, step)):
            part = plane[rows.start // size : -(-rows.stop // size)]
            part[:] = np.clip(part + _block_means(added, size), 0, 255)


def _block_means(field: np.ndarray, size: int) -> np.ndarray:
    """(H, W) -> means of blocks of size x size, rounded; at the right and below, the last row and column count for what is missing."""
    if size == 1:
        return field
    field = np.pad(field, [(0, -n % size) for n in field.shape], mode="edge")
    return np.rint(field.reshape(field.shape[0] // size, size, -1, size).mean((1, 3))).astype(np.int16)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, bytes with marker and length) for every segment after the start of a JPEG; the last is all from the scan on."""
    at = 2
    while True:
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xDA:
            yield marker, data[at:]
            return
        yield marker, data[at : at + 2 + length]
        at += 2 + length


def _is_metadata(marker: int) -> bool:
    return 0xE0 <= marker <= 0xEF or marker == 0xFE  # APP0 to APP15, comment


def _describes_coding(marker: int, part: bytes) -> bool:
    """Adobe's segment tells how colours are coded, which is new; the index of several images points at those that are gone."""
    return marker == 0xEE or (marker == 0xE2 and part[4:8] == b"MPF\0")


def more_behind_jpeg(path: Path) -> bool:
    """Whether anything but zeros lies behind the image's end: phones put gain maps, previews and films there."""
    *_, (_, scan) = _segments(path.read_bytes())
    return bool(scan[scan.find(b"\xff\xd9") + 2 :].strip(b"\0"))


# --- PNG: chunks, each a length, a name, data and a checksum ---


def _png(path: Path, array: np.ndarray) -> bytes:
    """The source's chunks, but for the new header and pixels."""
    new = deep_png(array) if array.dtype == np.uint16 and array.shape[2] > 1 else _encode(array, "PNG")
    parts, written = [new[:8]], False
    for name, chunk in _chunks(path.read_bytes()):
        if name == b"IHDR":
            parts += [c for n, c in _chunks(new) if n == b"IHDR"]
        elif name == b"IDAT":
            parts += [] if written else [c for n, c in _chunks(new) if n == b"IDAT"]
            written = True
        else:
            parts.append(chunk)
    return b"".join(parts)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, whole chunk) for every chunk of a PNG up to the last; what lies behind it is no part of the image."""
    at, name = 8, b""
    while name != b"IEND":
        end = at + 12 + struct.unpack_from(">I", data, at)[0]
        name = data[at + 4 : at + 8]
        yield name, data[at:end]
        at = end


def png_depth(path: Path) -> int:
    """Bits a channel: byte 24 of every PNG."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def read_deep_png(path: Path) -> np.ndarray:
    """16-bit colour, (H, W, 3 or 4) uint16. Pillow keeps the high bytes only; told that the low ones are those, it keeps them."""
    halves = []
    for order in ("B", "L"):
        with open_image(path) as image:
            image.tile = [image.tile[0]._replace(args=f"{image.mode};16{order}")]
            halves.append(np.asarray(image))
    return (halves[0].astype(np.uint16) << 8) | halves[1]


def deep_png(array: np.ndarray) -> bytes:
    """16-bit colour (H, W, 3 or 4) as a PNG, which Pillow can't write: every row as its difference from the one above (filter 2)."""
    height, width, channels = array.shape
    rows = np.zeros((height, 1 + width * channels * 2), np.uint8)
    values = array.astype(">u2").reshape(height, -1).view(np.uint8)
    rows[0, 1:], rows[1:, 1:], rows[:, 0] = values[0], values[1:] - values[:-1], 2
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    return b"".join(parts)


# --- TIFF: whatever its structure, pixels that aren't compressed lie in one piece and can be replaced there ---


def _tiff(path: Path, array: np.ndarray) -> bytes:
    data = bytearray(path.read_bytes())
    with tiff_page(path) as page:
        place = np.frombuffer(data, page.dtype.newbyteorder(page.parent.byteorder), array.size, page.dataoffsets[0])
        place[:] = array.reshape(-1)
    return bytes(data)


@contextmanager
def tiff_page(path: Path):
    """The only page of a TIFF, by tifffile. Raises InputError unless it is grey or RGB of 8 or 16 bits, with alpha or not, uncompressed."""
    import tifffile  # half a second that other formats needn't wait for

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        if page.compression != 1:
            raise InputError(f"{str(path)!r} is a TIFF with {page.compression.name} compression; save it without compression first")
        if page.dtype not in (np.uint8, np.uint16) or page.photometric not in (1, 2) or page.planarconfig != 1 or not page.is_memmappable:
            raise InputError(f"{str(path)!r} is a TIFF of an unusual kind; save it as RGB or grey, 8 or 16 bits, uncompressed")
        yield page


KINDS = {"JPEG": _jpeg, "MPO": _jpeg, "PNG": _png, "TIFF": _tiff, "WEBP": _webp, "BMP": _bmp}  # MPO: a JPEG with another behind it


# --- reading ---


def parse(path: Path) -> Photograph:
    """The photograph in a file, upright. InputError for a kind that can't be written back; anything else that Pillow raises is damage."""
    with open_image(path) as image:
        kind, mode = image.format, image.mode
        _check_kind(path, image)
        if kind == "TIFF":
            with tiff_page(path) as page:
                return _photograph(path, kind, page.asarray(), 3 if page.photometric == 2 else 1, page.tags.valueof(ORIENTATION, 1))
        deep_colour = kind == "PNG" and png_depth(path) == 16 and mode != "I;16"
        array = read_deep_png(path) if deep_colour else np.asarray(image)
        more = kind in ("JPEG", "MPO") and more_behind_jpeg(path)
        note = "what lies behind its first image, such as a gain map or a film, isn't kept" if more else ""
        return _photograph(path, kind, array, COLOURS[mode], image.getexif().get(ORIENTATION, 1), note)


def _photograph(path: Path, kind: str, array: np.ndarray, colours: int, orientation: int, note: str = "") -> Photograph:
    array = array[..., None] if array.ndim == 2 else array  # (H', W', C)
    orientation = orientation if orientation in range(1, 9) else 1  # the standard's default
    return Photograph(path, kind, upright(array[..., :colours], orientation), array[..., colours:], orientation, note)


def _check_kind(path: Path, image: Image.Image) -> None:
    """Refuse what can't be written back as it was."""
    name, kind = str(path), image.format
    if kind not in KINDS:
        raise InputError(f"{name!r} holds a {image.format} image; JPEG, PNG, TIFF, WebP and BMP can be retouched")
    if getattr(image, "n_frames", 1) > 1 and kind != "MPO":
        raise InputError(f"{name!r} holds {image.n_frames} images, an animation or pages; only single ones can be retouched")
    if image.mode == "CMYK":
        raise InputError(f"{name!r} is CMYK, made for print; convert it to RGB first, with its colour profile")
    if image.mode == "P":
        raise InputError(f"{name!r} has a palette of at most 256 colours, too few for a retouched photograph; convert it to RGB first")
    if image.mode not in COLOURS and kind != "TIFF":  # tiff_page checks a TIFF's
        raise InputError(f"{name!r} has pixels of mode {image.mode!r}; convert it to RGB or grey of 8 or 16 bits first")
    if "transparency" in image.info:
        raise InputError(f"{name!r} marks one colour as transparent, and retouching changes colours; give it an alpha channel first")
    if kind == "PNG" and (png_depth(path) < 8 or image.tile[0].args == "LA;16B"):
        raise InputError(f"{name!r} is grey of {png_depth(path)} bits{' with alpha' * (image.mode == 'RGBA')}; convert it to 8 bits first")


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """A view of pixels (H, W, …) from a file, turned or mirrored to stand as the scene did, by EXIF's orientation 1 to 8."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[orientation](array)


def as_stored(array: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `upright`: all are their own, but for the quarter turns."""
    return upright(array, {6: 8, 8: 6}.get(orientation, orientation))
