"""Chapter 08: the hint for a control from a file, for `python -m ddpm_utils sample --control`.

Two kinds of file: an image that the hint is drawn from, as in training; and the hint itself, as a drawing or as another program made it.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpm_utils.control.controlnet import ControlNet
from ddpm_utils.control.hints import HINTS, one_hot, user_scribble
from ddpm_utils.data.images import as_it_lies, fit, picture_for, read_rgb, to_float
from ddpm_utils.errors import InputError


def hint_drawn_from(control: ControlNet, path: Path, how: str = "crop") -> Tensor:
    """The control's hint (1, c, S, S), drawn from an image of any size, which becomes square as training images do.

    how: as in `fit`. Raises InputError for a file that can't be read and for a hint that no function draws, such as depth.
    """
    if control.hint not in HINTS:
        raise InputError(f"the hint {control.hint!r} can't be drawn from an image, only {', '.join(HINTS)} can; pass it as --hint-image")
    image = fit(picture_for("a hint", path, read_rgb), control.config.image_size, how)
    return HINTS[control.hint](to_float(np.array(image)[None]))


def hint_from_image(control: ControlNet, path: Path) -> Tensor:
    """The control's hint (1, c, S, S), as it lies in a file.

    Scribbles may have any size and colours. Other hints must be S by S pixels: segmentations with the number of a part in each pixel (grey
    or with a palette), hints of one channel in grey from 0 to 255, hints of three in colour. Raises InputError where that isn't so.
    """
    size, channels = control.config.image_size, control.hint_channels
    image = picture_for("a hint", path, as_it_lies)
    if control.hint == "scribble":
        return user_scribble(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), size)
    if image.size != (size, size):
        wide, high = image.size
        instead = "or use --hint-from with the image that it was drawn from" if control.hint in HINTS else "without smoothing"
        raise InputError(
            f"a {control.hint} hint must have {size} x {size} pixels, {str(path)!r} has {wide} x {high}; make it anew at that size, {instead}"
        )
    if control.hint == "segmentation":
        return _parts(image, channels, path)
    if channels not in (1, 3):
        raise InputError(
            f"hints of {channels} channels, such as {control.hint!r}, don't fit into an image; use controlnet.controlled in Python"
        )
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels.reshape(1, size, size, channels)).permute(0, 3, 1, 2).float() / 255


def _parts(image: Image.Image, classes: int, path: Path) -> Tensor:
    if image.mode not in ("1", "L", "P"):
        raise InputError(f"a segmentation must be grey or have a palette, one number a pixel; {str(path)!r} is {image.mode}")
    numbers = np.asarray(image).astype(int)
    if numbers.max() >= classes:
        raise InputError(f"the numbers of parts must lie in 0 .. {classes - 1}, {str(path)!r} holds {numbers.max()}")
    return one_hot(numbers[None], classes)
