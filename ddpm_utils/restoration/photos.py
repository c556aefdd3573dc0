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

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ddpm_utils.data.images import open_picture, read_rgb
from ddpm_utils.data.listing import ADVICE
from ddpm_utils.errors import InputError
from ddpm_utils.restoration.file_formats import KINDS, Photograph, as_stored, deep_png, parse
from ddpm_utils.runtime.files import atomic_write

ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}


# --- reading ---


def check_ending(path: Path) -> None:
    """Refuse what isn't named like a photograph that can be retouched."""
    if path.suffix.lower() in ADVICE:
        raise InputError(f"{str(path)!r} is of a kind that can't be retouched; convert it to JPEG first, at its best quality")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{str(path)!r} is no photograph that can be retouched; they end in {', '.join(sorted(ENDINGS))}")


def read_photograph(path: Path) -> Photograph:
    """Read a photograph. Raises InputError, with one sentence, for all that can't be read, or not be written again without a loss."""
    path = Path(path)
    check_ending(path)
    if not path.is_file():
        raise InputError(f"there is no photograph {str(path)!r}; check the name")
    if path.stat().st_size == 0:
        raise InputError(f"{str(path)!r} is empty, it has 0 bytes; restore a whole copy of it")
    try:
        return parse(path)
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise InputError(
            f"{str(path)!r} is larger than {limit} megapixels, the most that can be retouched; shrink it or cut it up"
        ) from error
    except InputError:
        raise
    except Exception as error:  # damaged bytes make Pillow raise almost anything
        raise InputError(f"{str(path)!r} is damaged or no image ({type(error).__name__}: {error}); restore a whole copy of it") from error


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """A user's mask as (height, width) float32: 1 where it is white, 0 where it is black or transparent; scaled if it has the same shape."""
    if not path.is_file():
        raise InputError(
            f"there is no mask {str(path.with_suffix(''))!r}, with whatever ending; add one, white where retouching is allowed"
        )
    try:
        with open_picture(path) as image:
            if image.has_transparency_data:
                rgba = image.convert("RGBA")
                mask = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("L")
            else:
                mask = read_rgb(path).convert("L")
    except Exception as error:  # as above
        raise InputError(f"the mask {str(path)!r} can't be read ({type(error).__name__}: {error}); it should be an image") from error
    if abs(mask.width * height - mask.height * width) > max(height, width):  # more than a pixel off
        raise InputError(
            f"the mask {str(path)!r} is {mask.width}x{mask.height}, its photograph {width}x{height}; give it the same size or proportions"
        )
    return np.asarray(mask.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / 255


def read_allowed(include: Path | None, exclude: Path | None, height: int, width: int) -> np.ndarray | None:
    """Where a user allows retouching, (height, width) float32 in [0, 1]: white in one mask and not white in the other; None: everywhere."""
    if not include and not exclude:
        return None
    allowed = read_mask(include, height, width) if include else np.ones((height, width), np.float32)
    return allowed * (1 - read_mask(exclude, height, width)) if exclude else allowed


# --- writing ---


def write_photograph(photograph: Photograph, pixels: np.ndarray, path: Path) -> None:
    """Write the photograph with other pixels (upright, as its own) to `path`, in the kind of its source. It appears whole or not at all."""
    if np.array_equal(pixels, photograph.pixels):
        data = photograph.path.read_bytes()
    else:
        stored = as_stored(pixels, photograph.orientation)
        if photograph.alpha.size:
            stored = np.concatenate([stored, photograph.alpha], 2)
        data = KINDS[photograph.kind](photograph.path, stored)
    with atomic_write(Path(path)) as file:
        file.write(data)


# --- showing ---


def layer_of(before: np.ndarray, after: np.ndarray) -> bytes:
    """What was added, as a PNG of 16 bits (H, W, 4): half of it about mid-grey, and opaque where anything changed.

    Over `before`, in the mode that editors call linear light (base + 2 layer - 1), it gives `after`.
    """
    levels = np.int32(257 if before.dtype == np.uint8 else 1)  # of 16 bits, that one level of the photograph is
    layer = np.empty((*before.shape[:2], 4), np.uint16)
    changed = np.zeros(before.shape[:2], bool)
    for channel in range(3):
        k = min(channel, before.shape[2] - 1)  # grey: thrice the same
        added = after[..., k].astype(np.int32) - before[..., k]
        layer[..., channel] = 32768 + (added * levels) // 2
        changed |= added != 0
    layer[..., 3] = np.where(changed, 65535, 0)
    return deep_png(layer)


def side_by_side(before: np.ndarray, after: np.ndarray, height: int = 640, found: np.ndarray | None = None) -> Image.Image:
    """Before, after, and where they differ (in red over grey, full at 16 of 255 levels), each at most `height` high and twice as wide.

    found: (h, w, 3) uint8, of any size: a fourth picture, of what was found.
    """
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
    if found is not None:
        panels.append(Image.fromarray(found).resize((width, height), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (len(panels) * (width + 8) - 8, height + 20), "white")
    for i, (panel, title) in enumerate(zip(panels, ("before", "after", "changed", "found"))):
        sheet.paste(panel, (i * (width + 8), 20))
        ImageDraw.Draw(sheet).text((i * (width + 8) + 2, 4), title, fill="black")
    return sheet
