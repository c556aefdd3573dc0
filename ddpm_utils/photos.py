"""Photographs in and out of files, with nothing lost on the way.

A retouched photograph is its source file with other pixels in it. JPEG, PNG and TIFF keep every byte of the container that isn't pixels:
EXIF with the orientation and the camera's own notes, the ICC profile, XMP, resolution, comments. The depth of 8 or 16 bits stays, and
transparency stays bit by bit. What that can't be done for is refused in one sentence, not converted silently.

| kind | pixels that weren't retouched |
|---|---|
| PNG, TIFF, BMP | bit-identical |
| WebP | bit-identical: the result is written losslessly, so it is larger than a lossy source |
| JPEG | compressed once more, but from the planes that lie in the file and with their tables: 98 to 99 of 100 stay bit-identical at |
| | qualities up to 92, 88 at 97, beyond the retouched blocks' neighbours (4:2:2: fewer, its colours are smoothed) |

A photograph without any changed pixel is copied byte for byte, whatever its kind.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ddpm_utils.checkpoints import atomic_write
from ddpm_utils.containers import KINDS, more_behind_jpeg, open_picture, png_depth, read_deep_png, tiff_page
from ddpm_utils.data import read_rgb
from ddpm_utils.errors import InputError

ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}
COLOURS = {"L": 1, "LA": 1, "I;16": 1, "RGB": 3, "RGBA": 3}  # modes that can be retouched, and how many channels of them are colour
ORIENTATION = 0x0112  # EXIF tag: which way up


@dataclass(frozen=True)
class Photo:
    """A photograph in a file."""

    path: Path
    kind: str  # one of containers.KINDS
    pixels: np.ndarray  # (H, W, 3), or (H, W, 1) if grey; uint8 or uint16; upright
    alpha: np.ndarray  # (H', W', 1), or (H', W', 0) without transparency; as it lies in the file
    orientation: int  # 1 to 8: how the file's pixels must be turned to stand upright (EXIF 2.3, 4.6.4)
    note: str = ""  # what won't be in the result, in words


# --- reading ---


def read_photo(path: Path) -> Photo:
    """Read a photograph. Raises InputError, with one sentence, for all that can't be read, or not be written again without a loss."""
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{str(path)!r} is no photograph that can be retouched; they end in {', '.join(sorted(ENDINGS))}")
    if not path.is_file():
        raise InputError(f"there is no photograph {str(path)!r}; check the name")
    if path.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty, it has 0 bytes; restore a whole copy of it")
    try:
        return _read(path)
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise InputError(
            f"{str(path)!r} is larger than {limit} megapixels, the most that can be retouched; shrink it or cut it up"
        ) from error
    except InputError:
        raise
    except Exception as error:  # damaged bytes make Pillow raise almost anything
        raise InputError(f"{str(path)!r} is damaged or no picture ({type(error).__name__}: {error}); restore a whole copy of it") from error


def _read(path: Path) -> Photo:
    with open_picture(path) as image:
        kind, mode = image.format, image.mode
        _check_kind(path, image)
        if kind == "TIFF":
            with tiff_page(path) as page:
                return _photo(path, kind, page.asarray(), 3 if page.photometric == 2 else 1, page.tags.valueof(ORIENTATION, 1))
        deep_colour = kind == "PNG" and png_depth(path) == 16 and mode != "I;16"
        array = read_deep_png(path) if deep_colour else np.asarray(image)
        more = kind in ("JPEG", "MPO") and more_behind_jpeg(path)
        note = "what lies behind its first picture, such as a gain map or a film, isn't kept" if more else ""
        return _photo(path, kind, array, COLOURS[mode], image.getexif().get(ORIENTATION, 1), note)


def _photo(path: Path, kind: str, array: np.ndarray, colours: int, orientation: int, note: str = "") -> Photo:
    array = array[..., None] if array.ndim == 2 else array  # (H', W', C)
    orientation = orientation if orientation in range(1, 9) else 1  # the standard's default
    return Photo(path, kind, upright(array[..., :colours], orientation), array[..., colours:], orientation, note)


def _check_kind(path: Path, image: Image.Image) -> None:
    """Refuse what can't be written back as it was."""
    name, kind = str(path), image.format
    if kind not in KINDS:
        raise InputError(f"{name!r} holds a {image.format} picture; JPEG, PNG, TIFF, WebP and BMP can be retouched")
    if getattr(image, "n_frames", 1) > 1 and kind != "MPO":
        raise InputError(f"{name!r} holds {image.n_frames} pictures, an animation or pages; only single ones can be retouched")
    if image.mode == "CMYK":
        raise InputError(f"{name!r} is CMYK, made for print; convert it to RGB first, with its colour profile")
    if image.mode == "P":
        raise InputError(f"{name!r} has a palette of at most 256 colours, too few for a retouched picture; convert it to RGB first")
    if image.mode not in COLOURS and kind != "TIFF":  # a TIFF is looked at more closely
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


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """A user's mask as (height, width) float32: 1 where it is white, 0 where it is black or transparent; scaled if it has the same shape."""
    if not path.is_file():
        raise InputError(
            f"there is no mask {str(path.with_suffix(''))!r}, with whatever ending; add one, white where retouching is allowed"
        )
    try:
        with Image.open(path) as image:
            if image.has_transparency_data:
                rgba = image.convert("RGBA")
                mask = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("L")
            else:
                mask = read_rgb(path).convert("L")
    except Exception as error:  # as above
        raise InputError(f"the mask {str(path)!r} can't be read ({type(error).__name__}: {error}); it should be a picture") from error
    if abs(mask.width * height - mask.height * width) > max(height, width):  # more than a pixel off
        raise InputError(
            f"the mask {str(path)!r} is {mask.width}x{mask.height}, its photograph {width}x{height}; give it the same size or proportions"
        )
    return np.asarray(mask.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / 255


# --- writing ---


def write_photo(photo: Photo, pixels: np.ndarray, path: Path) -> None:
    """Write the photo with other pixels (upright, as `photo.pixels`) to `path`, in the kind of its source. It appears whole or not at all."""
    if np.array_equal(pixels, photo.pixels):
        data = photo.path.read_bytes()
    else:
        stored = as_stored(pixels, photo.orientation)
        if photo.alpha.size:
            stored = np.concatenate([stored, photo.alpha], 2)
        data = KINDS[photo.kind](photo.path, stored)
    with atomic_write(Path(path)) as file:
        file.write(data)


# --- showing ---


def side_by_side(before: np.ndarray, after: np.ndarray, height: int = 640) -> Image.Image:
    """Before, after, and where they differ (in red over grey, full at 16 of 255 levels), each at most `height` high and twice as wide."""
    if before.dtype == np.uint16:
        before, after = (before >> 8).astype(np.uint8), (after >> 8).astype(np.uint8)
    difference = np.maximum(before, after) - np.minimum(before, after)  # (H, W, C), without overflow
    red = Image.fromarray(np.minimum(difference.max(2), 15) * np.uint8(17))  # 16 levels and more: 255
    panels = [Image.fromarray(a[..., 0] if a.shape[2] == 1 else a).convert("RGB") for a in (before, after)]
    scale = min(1, height / before.shape[0], 2 * height / before.shape[1])
    width, height = max(1, round(scale * before.shape[1])), max(1, round(scale * before.shape[0]))
    panels = [panel.resize((width, height), Image.Resampling.LANCZOS) for panel in panels]
    grey = panels[0].convert("L").convert("RGB")
    panels.append(Image.composite(Image.new("RGB", (width, height), (255, 0, 0)), grey, red.resize((width, height), Image.Resampling.BOX)))
    sheet = Image.new("RGB", (3 * width + 16, height + 20), "white")
    for i, (panel, title) in enumerate(zip(panels, ("before", "after", "changed"))):
        sheet.paste(panel, (i * (width + 8), 20))
        ImageDraw.Draw(sheet).text((i * (width + 8) + 2, 4), title, fill="black")
    return sheet
