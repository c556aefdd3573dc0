"""Pictures of every mode that Pillow has, and files of them."""

import io

import numpy as np
from PIL import Image

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F")


def picture(mode: str, width: int, height: int, seed: int) -> Image.Image:
    """Noise in this mode; transparent and opaque pixels where the mode has them."""
    rng = np.random.default_rng(seed)
    if mode.startswith("I") or mode == "F":
        values = rng.integers(0, 65536, (height, width))
        as_type = {"I": np.int32, "I;16": "<u2", "I;16B": ">u2", "F": np.float32}[mode]
        return Image.frombytes(mode, (width, height), values.astype(as_type).tobytes())
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    if mode in ("LA", "PA", "RGBA"):
        image.putalpha(Image.fromarray(rng.choice(np.array([0, 255], np.uint8), (height, width))))
        return image if mode == "RGBA" else image.convert("LA") if mode == "LA" else image.convert("P").convert("PA")
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes | None:
    """The file, or None where Pillow writes no such file."""
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # how its writers refuse a mode
        return None
    return file.getvalue()
