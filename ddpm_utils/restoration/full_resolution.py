"""Chapter 06: photographs of any size, retouched by a network that was trained on small images.

*Lift the residual, not the image.* The network's input is the photograph shrunk to a short side of 512 pixels, its output what to add to that.
Only this residual is enlarged and added to the full-size photograph: every thread stays, because no thread is ever enlarged. An enlarged
image, be it the perfect target, would be blurred to less than the untouched photograph is worth. Retouching is smooth, so that little is lost.

*Tiles for fine creases* (`detail=True`): the residual of the whole photograph is first enlarged to a scale four times finer and added there;
for overlapping tiles of the sum the network predicts what is still to be added; these residuals are blended with weights that rise from the
border of a tile and sum to 1 at every pixel. Both residuals together are then lifted as one.

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

from ddpm_utils.data.images import LUMINANCE, check_finite, to_float, to_uint8
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.restoration.company import bold, company, finest_structure, in_the_colours_of_shading
from ddpm_utils.restoration.faces import DETECTION_SIDE, away_from_faces, find_faces
from ddpm_utils.restoration.formulations import check_restorer, gate, restore
from ddpm_utils.restoration.settings import LEAST_SIDE, RetouchSettings
from ddpm_utils.sampling import timesteps

FINER = 4  # the scale of tiles is this many times finer
LONGEST = 4  # a panorama longer than this many short sides is seen in tiles of that length: it keeps its scale, and memory its bounds
FAINT = 2.5 / 127.5  # changes up to 2.5 levels, at the network's scale, aren't made: nobody sees them; up to 5 in part
STRIP = 2**20  # pixels that are computed in float32 at a time
DEFAULTS = RetouchSettings()


class Change(NamedTuple):
    """What a network predicts for an image, at the size h x w of its input; on the CPU, float32."""

    residual: Tensor  # (3, h, w), to add to the image in [-1, 1]; exactly 0 where it should be left alone
    mask: Tensor  # (1, h, w), probability that a retoucher would work here
    spread: Tensor  # (1, h, w), standard deviation over the samples
    company: Tensor | None = None  # (1, h, w) in [0, 1], how much wrinkles count in each place (company.py); None: nobody looked
    faces: list[tuple[int, int, int]] | None = None  # those that were spared, as `find_faces` gives them; None: nobody looked


def retouch(
    model: Model,
    image: np.ndarray,
    settings: RetouchSettings = DEFAULTS,
    mask: np.ndarray | None = None,
    progress: bool = False,
) -> np.ndarray:
    """The photograph without its wrinkles: same shape and dtype, and bit-identical wherever the network would leave it alone.

    image: (H, W, 3), or (H, W, 1) for grey, uint8 or uint16, upright. mask: (H, W) in [0, 1], scales what is added by pixel; 0: this pixel
    stays. progress: a bar over the tiles. Raises InputError for what is no image, for masks of another size, and for models that can't
    retouch or have fewer timesteps than `settings.steps`.
    """
    check_image(image)
    check_mask(mask, image)
    check_settings(model, settings)
    if settings.strength == 0:
        return image.copy()
    change = predict_change(model, image, settings, progress)
    return apply_change(image, change.residual, settings.strength, mask)


def predict_change(
    model: Model, image: np.ndarray, settings: RetouchSettings = DEFAULTS, progress: bool = False, wrinkles: np.ndarray | None = None
) -> Change:
    """What the model would change in `image` (H, W, 3 or 1) uint8 or uint16; `apply_change` does it, at any strength.

    With `settings.detail`, tiles on top: FINER times finer, at most at full size, each `settings.short_side` wide. progress: a bar over them.
    wrinkles: (H, W) in [0, 1], where a person says that they are: there they need no company, and elsewhere nothing changes;
    with `settings.raw`, where nobody asks for company, it says nothing.
    """
    check_image(image)
    check_mask(wrinkles, image)
    check_settings(model, settings)
    device = next(model.network.parameters()).device

    def answer(source: Tensor) -> Tensor:  # (1, 3, h, w) in [-1, 1] -> (5, h, w)
        restored = restore(model, source.to(device), settings.steps, settings.samples, settings.seed)
        said = torch.cat([field[0].float().cpu() for field in restored])
        check_finite(said)
        return said

    def predict(source: Tensor) -> Tensor:
        if settings.raw:
            return answer(source)
        return (answer(source) + answer(source.flip(-1)).flip(-1)) / 2  # what it says of the mirror image is as true, and errs elsewhere

    size = working_size(*image.shape[:2], settings.short_side)
    small = shrink(image, *size)  # (1, 3, h, w)
    coarse = fitted(_predict_whole(predict, small, LONGEST * settings.short_side, progress), small, image, settings, wrinkles)
    fine_size = working_size(*image.shape[:2], FINER * settings.short_side)
    if not settings.detail or fine_size == size:
        return coarse
    so_far = Change(*(enlarge(field, *fine_size) for field in coarse[:3]))
    lifted = (shrink(image, *fine_size) + so_far.residual).clamp(-1, 1)  # (1, 3, h, w)
    blended = blend_tiles(predict, lifted, settings.short_side, progress)  # (5, h, w)
    fine = fitted(_change_of(blended), lifted, image, settings, wrinkles, threads=True)
    mask = torch.maximum(so_far.mask.clamp(0, 1), fine.mask)
    return Change(so_far.residual + fine.residual, mask, torch.hypot(so_far.spread, fine.spread), fine.company, fine.faces)


def _predict_whole(predict: Callable[[Tensor], Tensor], small: Tensor, longest: int, progress: bool) -> Change:
    """The change of small (1, 3, h, w): at once, or in tiles of `longest` pixels where it is longer."""
    return _change_of(predict(small) if max(small.shape[-2:]) <= longest else blend_tiles(predict, small, longest, progress))


def _change_of(fields: Tensor) -> Change:
    """(5, h, w): residual, mask and spread one upon the other."""
    return Change(*fields.split([3, 1, 1]))


def fitted(
    change: Change, seen: Tensor, image: np.ndarray, settings: RetouchSettings, wrinkles: np.ndarray | None = None, threads: bool = False
) -> Change:
    """The change kept to wrinkles that have others of their kind, in the colours of the shading, away from what is bolder than cloth, with a
    share of the finest structure taken away besides (all by company.py), without what is too faint to be seen, and away from faces.

    seen: (1, 3, h, w), what the network saw of the image. wrinkles: (H, W) in [0, 1], where they are; None: company tells. threads: whether
    the finest that is seen are threads, which stay.
    """
    if settings.raw or not change.residual.any():
        return change
    small = to_uint8(seen)[0]  # (h, w, 3)
    if wrinkles is None:
        allowed = company(change.mask[0].numpy(), small)  # (h, w)
    else:
        painted = torch.from_numpy(np.ascontiguousarray(wrinkles, dtype=np.float32))[None, None]
        allowed = F.interpolate(painted, size=small.shape[:2], mode="area")[0, 0].numpy()
    residual = change.residual.permute(1, 2, 0).numpy() * allowed[..., None]
    opened = gate(change.mask[0]).numpy() * allowed
    cloth = 1 - bold(small, opened)
    residual = in_the_colours_of_shading(residual * cloth[..., None], small, opened * cloth)
    if not threads:
        residual -= finest_structure(small, opened * cloth) / 127.5
    largest = np.abs(residual).max(-1, keepdims=True)
    residual *= np.clip(largest / FAINT - 1, 0, 1)
    counts = torch.from_numpy(allowed)[None]
    kept = Change(torch.from_numpy(residual).permute(2, 0, 1), change.mask * counts, change.spread, counts)
    return spare_faces(kept, image, settings)


def spare_faces(change: Change, image: np.ndarray, settings: RetouchSettings) -> Change:
    """The change without what it does to faces in the image, unless they are to be retouched too."""
    if settings.faces or not change.residual.any():
        return change
    looked_at = for_detection(image)
    faces = find_faces(looked_at)
    allowed = away_from_faces(faces, *looked_at.shape[:2])
    allowed = F.interpolate(allowed[None, None], size=change.mask.shape[-2:], mode="bilinear", align_corners=False)[0]
    return change._replace(residual=change.residual * allowed, mask=change.mask * allowed, faces=faces)


def for_detection(image: np.ndarray) -> np.ndarray:
    """image (H, W, 3 or 1) as faces are looked for in it, (h, w, 3) uint8."""
    return to_uint8(shrink(image, *working_size(*image.shape[:2], DETECTION_SIDE)))[0]


def apply_change(image: np.ndarray, residual: Tensor, strength: float = 1.0, mask: np.ndarray | None = None) -> np.ndarray:
    """image + strength * mask * residual, the residual (3, h, w) enlarged to the image's size; rounded and clipped to the image's dtype.

    Grey images (H, W, 1) get the residual's luminance. Works in strips: beside the result, memory doesn't grow with the image's height.
    """
    check_image(image)
    check_mask(mask, image)
    check_finite(residual)
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
    """Height and width of the network's input: the image's short side brought down to `short_side`, never up."""
    scale = min(1.0, short_side / min(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def shrink(image: np.ndarray, height: int, width: int) -> Tensor:
    """(H, W, C) uint8 or uint16 -> (1, 3, height, width) float32 in [-1, 1]. The network was trained on 8 bits, so it gets 8 bits."""
    eight_bit = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image
    whole = Image.fromarray(eight_bit[..., 0] if image.shape[2] == 1 else eight_bit)
    small = whole.resize((width, height), Image.Resampling.LANCZOS).convert("RGB")
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


def blend_tiles(predict: Callable[[Tensor], Tensor], image: Tensor, side: int, progress: bool = False) -> Tensor:
    """`predict` of every tile (1, C, side, side) of image (1, C, H, W), blended: sum of weight * output / sum of weight, (K, H, W).

    predict: (1, C, h, w) -> (K, h, w). Neighbours overlap by a quarter at least; weights rise from the border of a tile over that length.
    """
    height, width = image.shape[-2:]
    side_y, side_x = min(side, height), min(side, width)
    weight = feather(side_y, side_y // 4)[:, None] * feather(side_x, side_x // 4)  # (side_y, side_x)
    corners = [(y, x) for y in tile_starts(height, side_y, side_y // 4) for x in tile_starts(width, side_x, side_x // 4)]
    total, blended = torch.zeros(height, width), None
    for y, x in tqdm(corners, desc="tiles", unit="tile", leave=False, disable=None if progress else True):
        part = (..., slice(y, y + side_y), slice(x, x + side_x))
        output = predict(image[part])
        if blended is None:
            blended = torch.zeros(len(output), height, width)
        blended[part] += weight * output
        total[part] += weight
    return blended / total


def tile_starts(length: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin so that they cover `length`, the last border too, spread evenly, neighbours overlapping by at least `overlap`."""
    count = 1 + -(-(length - side) // (side - overlap))
    return [round(k * (length - side) / max(1, count - 1)) for k in range(count)]


def feather(side: int, overlap: int) -> Tensor:
    """(side,) weights of a tile's pixels along one axis: rising over `overlap` pixels, 1, falling."""
    rising = (torch.arange(side) + 0.5) / max(1, overlap)
    return torch.minimum(rising, rising.flip(0)).clamp(max=1)


# --- checks ---


def check_settings(model: Model, settings: RetouchSettings) -> None:
    """Refuse a model that can't retouch, or that has fewer timesteps than the settings ask for, before any work."""
    check_restorer(model)
    if settings.steps is not None:
        timesteps(model.config.timesteps, settings.steps)  # refuses wrong numbers


def check_image(image: np.ndarray) -> None:
    """Refuse what is no image of 8 or 16 bits, or too small to hold a wrinkle."""
    kinds = (np.uint8, np.uint16)
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype not in kinds:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"an image must be an array (H, W, 3), or (H, W, 1) for grey, of uint8 or uint16, got {found}")
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise InputError(f"an image must be at least {LEAST_SIDE} pixels wide and high to be retouched, got {width}x{height}")


def check_mask(mask: np.ndarray | None, image: np.ndarray) -> None:
    """Refuse masks of another size or outside [0, 1]."""
    if mask is None:
        return
    if mask.shape != image.shape[:2]:
        raise InputError(f"a mask must have the image's height and width {image.shape[:2]}, got {mask.shape}")
    if not (mask.min() >= 0 and mask.max() <= 1):  # also refuses NaN
        raise InputError(f"a mask must lie in [0, 1], got values from {mask.min()} to {mask.max()}")
