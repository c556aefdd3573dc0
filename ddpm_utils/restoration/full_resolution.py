"""Chapter 06: photographs of any size, retouched by a network that learnt on small pictures.

*Lift the residual, not the picture.* The network sees the photograph shrunk to a short side of 256 pixels and says what to add to it. Only
that difference is enlarged and added to the full-size photograph: every thread stays, because no thread is ever enlarged. An enlarged
picture, be it the perfect answer, would be blurred to less than the untouched photograph is worth. Retouching is smooth, so that little is lost.

*Tiles for fine creases* (`detail=True`): the residual of the whole picture is first enlarged to a scale four times finer and added there;
overlapping tiles of the sum go through the network, which says what is still to do; their answers are blended with weights that rise
from the border of a tile and sum to 1 at every pixel. Both residuals together are then lifted as one.

A pixel whose residual is below half a level stays bit-identical.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ddpm_utils.data.images import to_float
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.restoration.formulations import check_restorer, restore
from ddpm_utils.sampling import timesteps

SHORT_SIDE = 256  # pixels of the short side that the network sees
FINER = 4  # tiles show the picture this many times finer
LONGEST = 4  # long sides beyond this many short ones shrink the picture further, so that a panorama costs no more than four squares
LEAST_SIDE = 16  # smaller pictures hold nothing to retouch
STRIP = 2**20  # pixels that are computed in float32 at a time
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG


class Change(NamedTuple):
    """What a network would do to a picture, at the size h x w at which it saw it; on the CPU, float32."""

    residual: Tensor  # (3, h, w), to add to the picture in [-1, 1]; exactly 0 where it should be left alone
    mask: Tensor  # (1, h, w), probability that a retoucher would work here
    spread: Tensor  # (1, h, w), standard deviation over the samples


def retouch(
    model: Model,
    image: np.ndarray,
    strength: float = 1.0,
    mask: np.ndarray | None = None,
    detail: bool = False,
    short_side: int = SHORT_SIDE,
    samples: int = 1,
    steps: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> np.ndarray:
    """The picture without its wrinkles: same shape and dtype, and bit-identical wherever the network would leave it alone.

    image: (H, W, 3), or (H, W, 1) for grey, uint8 or uint16, upright. strength: 0 (a copy) to 1, scales what is added. mask: (H, W) in
    [0, 1] scales it by pixel; 0: this pixel stays. The rest is as in `predict_change`. Raises InputError.
    """
    check_picture(image)
    check_mask(mask, image)
    check_settings(model, strength, short_side, samples, steps, seed)
    if strength == 0:
        return image.copy()
    change = predict_change(model, image, detail, short_side, samples, steps, seed, progress)
    return apply_change(image, change.residual, strength, mask)


def predict_change(
    model: Model,
    image: np.ndarray,
    detail: bool = False,
    short_side: int = SHORT_SIDE,
    samples: int = 1,
    steps: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Change:
    """What the model would change in `image` (H, W, 3 or 1) uint8 or uint16; `apply_change` does it, at any strength.

    short_side: pixels of the short side that the network sees; smaller pictures are seen as they are. detail: tiles on top, FINER times
    finer, at most at full size, each `short_side` wide. samples, steps, seed: as in `forms.restore`. progress: a bar over the tiles.
    """
    check_picture(image)
    check_settings(model, 1.0, short_side, samples, steps, seed)
    device = next(model.network.parameters()).device

    def ask(source: Tensor) -> Change:  # (1, 3, h, w) in [-1, 1]
        return Change(*(field[0].float().cpu() for field in restore(model, source.to(device), steps, samples, seed)))

    size = working_size(*image.shape[:2], short_side)
    coarse = ask(shrink(image, *size))
    fine_size = working_size(*image.shape[:2], FINER * short_side)
    if not detail or fine_size == size:
        return coarse
    so_far = Change(*(enlarge(field, *fine_size) for field in coarse))
    lifted = (shrink(image, *fine_size) + so_far.residual).clamp(-1, 1)  # (1, 3, h, w)
    fine = Change(*blend_tiles(lambda tile: torch.cat(ask(tile)), lifted, short_side, progress).split([3, 1, 1]))
    mask = torch.maximum(so_far.mask.clamp(0, 1), fine.mask)
    return Change(so_far.residual + fine.residual, mask, torch.hypot(so_far.spread, fine.spread))


def apply_change(image: np.ndarray, residual: Tensor, strength: float = 1.0, mask: np.ndarray | None = None) -> np.ndarray:
    """image + strength * mask * residual, the residual (3, h, w) enlarged to the image's size; rounded and clipped to the image's dtype.

    Grey images (H, W, 1) get the residual's luminance. Works in strips: beside the result, memory doesn't grow with the image's height.
    """
    check_picture(image)
    check_mask(mask, image)
    height, width, channels = image.shape
    brightest = np.iinfo(image.dtype).max
    if channels == 1:
        residual = (torch.tensor(LUMINANCE)[:, None, None] * residual).sum(0, keepdim=True)
    levels = residual * (strength * brightest / 2)  # (C, h, w): [-1, 1] is 2 wide
    out = np.empty_like(image)
    for rows, strip in enlarged_strips(levels, height, width):
        if mask is not None:
            strip = strip * torch.from_numpy(np.ascontiguousarray(mask[rows], dtype=np.float32))
        added = strip.round().int().permute(1, 2, 0).numpy()  # (rows, W, C)
        out[rows] = np.clip(image[rows] + added, 0, brightest) if added.any() else image[rows]
    return out


# --- sizes ---


def working_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width at which the network sees a picture: the short side brought down to `short_side`, never up; panoramas further."""
    scale = min(1.0, short_side / min(height, width), LONGEST * short_side / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def shrink(image: np.ndarray, height: int, width: int) -> Tensor:
    """(H, W, C) uint8 or uint16 -> (1, 3, height, width) float32 in [-1, 1]. The network learnt on 8 bits, so it sees 8 bits."""
    eight_bit = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    picture = Image.fromarray(eight_bit[..., 0] if image.shape[2] == 1 else eight_bit)
    small = picture.resize((width, height), Image.Resampling.LANCZOS).convert("RGB")
    return to_float(np.array(small)[None])


def enlarge(field: Tensor, height: int, width: int) -> Tensor:
    """(C, h, w) -> (C, height, width), bicubic: exactly 0 wherever the four by four nearest values are 0."""
    return F.interpolate(field[None], size=(height, width), mode="bicubic", align_corners=False)[0]


def enlarged_strips(field: Tensor, height: int, width: int) -> Iterator[tuple[slice, Tensor]]:
    """`enlarge(field, height, width)`, some rows at a time: yields (rows, (C, rows, width)).

    Along a row as ever; from row to row by the matrix that the interpolation is, of which a strip needs few columns.
    """
    h = field.shape[1]
    wide = enlarge(field, h, width)  # (C, h, width)
    matrix = enlarge(torch.eye(h)[None], height, h)[0]  # (height, h), four weights a row
    step = max(1, STRIP // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        used = matrix[rows].any(0).nonzero()
        columns = slice(int(used.min()), int(used.max()) + 1)
        yield rows, matrix[rows, columns] @ wide[:, columns]


# --- tiles ---


def blend_tiles(ask: Callable[[Tensor], Tensor], picture: Tensor, side: int, progress: bool = False) -> Tensor:
    """`ask` of every tile (1, C, side, side) of picture (1, C, H, W), blended: sum of weight * answer / sum of weight, (K, H, W).

    ask: (1, C, h, w) -> (K, h, w). Neighbours overlap by a quarter at least; weights rise from the border of a tile over that length.
    """
    height, width = picture.shape[-2:]
    side_y, side_x = min(side, height), min(side, width)
    weight = feather(side_y, side // 4)[:, None] * feather(side_x, side // 4)  # (side_y, side_x)
    corners = [(y, x) for y in tile_starts(height, side_y, side // 4) for x in tile_starts(width, side_x, side // 4)]
    total, answers = torch.zeros(height, width), None
    for y, x in tqdm(corners, desc="tiles", unit="tile", leave=False, disable=None if progress else True):
        part = (..., slice(y, y + side_y), slice(x, x + side_x))
        answer = ask(picture[part])
        if answers is None:
            answers = torch.zeros(len(answer), height, width)
        answers[part] += weight * answer
        total[part] += weight
    return answers / total


def tile_starts(length: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin so that they cover `length`, the last border too, spread evenly, neighbours overlapping by at least `overlap`."""
    count = 1 + -(-(length - side) // (side - overlap))
    return [round(k * (length - side) / max(1, count - 1)) for k in range(count)]


def feather(side: int, overlap: int) -> Tensor:
    """(side,) weights of a tile's pixels along one axis: rising over `overlap` pixels, 1, falling."""
    rising = (torch.arange(side) + 0.5) / max(1, overlap)
    return torch.minimum(rising, rising.flip(0)).clamp(max=1)


# --- checks ---


def check_settings(model: Model, strength: float, short_side: int, samples: int, steps: int | None, seed: int) -> None:
    """Refuse a model that can't retouch and numbers that mean nothing, before any work."""
    check_restorer(model)
    if not 0 <= strength <= 1:
        raise InputError(f"strength must lie in [0, 1], got {strength}")
    if short_side < LEAST_SIDE:
        raise InputError(f"short_side must be at least {LEAST_SIDE} pixels, {SHORT_SIDE} is usual; got {short_side}")
    if samples < 1:
        raise InputError(f"samples must be at least 1, got {samples}")
    if not 0 <= seed < 2**63 - samples:  # each sample has its own
        raise InputError(f"seed must be a whole number from 0 to 2**63 - 1 - samples, got {seed}")
    if steps is not None:
        timesteps(model.config.timesteps, steps)  # refuses wrong numbers


def check_picture(image: np.ndarray) -> None:
    """Refuse what is no picture of 8 or 16 bits, or too small to hold a wrinkle."""
    kinds = (np.uint8, np.uint16)
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype not in kinds:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"a picture must be an array (H, W, 3), or (H, W, 1) for grey, of uint8 or uint16, got {found}")
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise InputError(f"a picture must be at least {LEAST_SIDE} pixels wide and high to be retouched, got {width}x{height}")


def check_mask(mask: np.ndarray | None, image: np.ndarray) -> None:
    """Refuse masks of another size or outside [0, 1]."""
    if mask is None:
        return
    if mask.shape != image.shape[:2]:
        raise InputError(f"a mask must have the picture's height and width {image.shape[:2]}, got {mask.shape}")
    if not (mask.min() >= 0 and mask.max() <= 1):  # also refuses NaN
        raise InputError(f"a mask must lie in [0, 1], got values from {mask.min()} to {mask.max()}")
