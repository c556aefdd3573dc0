"""What prepare_pairs.py does to one pair of photographs: read it, check it, compare it, cut crops from it.

Photographs are uint8 (H, W, 3) of up to Pillow's limit; everything that needs more than a copy of them goes through them in strips, so that
a pair costs `BYTES_PER_PIXEL` bytes a pixel of its size.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.registration import phase_cross_correlation

from ddpm_utils.data.images import read_rgb
from ddpm_utils.data.pairs import change_mask, roughness_ratio
from ddpm_utils.errors import InputError

BYTES_PER_PIXEL = 18  # of one photograph of the pair, at the peak, while the second one is decoded (measured)
BAR_LEVEL = 24  # a row or column at the border is a black bar if nothing in it is brighter
MAX_SHIFT = 0.75  # pixels
SHIFT_TILE, SHIFT_TILES, LEAST_CONTRAST = 512, 3, 4.0  # side of the tiles that are aligned, how many, standard deviation that they need
STRIP, HALO = 256, 2  # rows compared at a time; an opening by 3x3 looks two rows further
BLOCK = 16  # side of the squares in which changed pixels are counted
LEAST_SHARE = 0.01  # of a crop's pixels that must differ if it is to show a change
UNCHANGED_SHARE = 1 / 6  # of the crops that show none
TRIES = 12  # windows that are drawn for a crop before it is given up


@dataclass(frozen=True)
class Crop:
    """A square window (x, y, side) of a pair of photographs, scaled to (size, size, 3) uint8, and where the two differ, (size, size) bool."""

    window: tuple[int, int, int]
    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray


# --- read and check ---


def read_pair(source: Path, target: Path) -> tuple[np.ndarray, np.ndarray]:
    """Both photographs as uint8 (H, W, 3); InputError if one is damaged or they have different sizes."""
    pair = []
    for path in (source, target):
        try:
            pair.append(np.asarray(read_rgb(path)))
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes make Pillow raise almost anything
            raise InputError(f"{path.name} can't be read: {type(error).__name__}: {error}".replace(f"{path.parent}/", "")) from error
    if pair[0].shape != pair[1].shape:
        raise InputError(f"the source is {pair[0].shape[:2]} pixels high and wide and the target {pair[1].shape[:2]}")
    return pair[0], pair[1]


def without_bars(source: np.ndarray, target: np.ndarray) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of what lies inside bars that are black in both images; InputError if nothing does."""
    rows = np.maximum(*(image.reshape(len(image), -1).max(1) for image in (source, target)))
    columns = np.maximum(*(image.max(0).max(-1) for image in (source, target)))
    bounds = []
    for brightest in (rows, columns):
        bright = np.flatnonzero(brightest > BAR_LEVEL)
        if not len(bright):
            raise InputError("it is black all over; if its files of 16 bits hold values of 12, scale them by 16")
        bounds += [int(bright[0]), int(bright[-1]) + 1]
    return tuple(bounds)


def measure_shift(source: np.ndarray, target: np.ndarray) -> float:
    """Pixels by which the target is shifted against the source: median over the tiles of most contrast; 0 if none has contrast.

    Phase correlation (Kuglin and Hines, 1975) to a tenth of a pixel, under a Hann window so that the borders of the tiles don't count.
    """
    side = min(SHIFT_TILE, *source.shape[:2])
    corners = [(int(y), int(x)) for y in np.linspace(0, source.shape[0] - side, 3) for x in np.linspace(0, source.shape[1] - side, 3)]
    tiles = [np.s_[y : y + side, x : x + side] for y, x in dict.fromkeys(corners)]
    contrasts = [source[tile][::4, ::4].std(axis=(0, 1)).max() for tile in tiles]
    hann = np.hanning(side)[:, None] * np.hanning(side)
    shifts = []
    for i in np.argsort(contrasts)[::-1][:SHIFT_TILES]:
        if contrasts[i] >= LEAST_CONTRAST:
            grey = [tile.mean(-1) for tile in (source[tiles[i]], target[tiles[i]])]
            shift, _, _ = phase_cross_correlation(*((g - g.mean()) * hann for g in grey), upsample_factor=10)
            shifts.append(np.hypot(*shift))
    return float(np.median(shifts)) if shifts else 0.0


# --- compare ---


def compare(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, dict]:
    """The change mask (H, W), and {"changed": its share, "psnr": dB of copying the source, "masked_psnr": the same inside the mask}."""
    height = len(source)
    mask, squares, masked = np.empty(source.shape[:2], bool), 0.0, 0.0
    for top in range(0, height, STRIP):
        first, end = max(0, top - HALO), min(height, top + STRIP)
        mask[top:end] = change_mask(source[first : end + HALO], target[first : end + HALO])[top - first :][: end - top]
        square = np.square(np.maximum(source[top:end], target[top:end]).astype(np.uint16) - np.minimum(source[top:end], target[top:end]))
        squares += float(square.sum())
        masked += float(square[mask[top:end]].sum())
    changed = int(mask.sum())
    return mask, {"changed": changed / mask.size, "psnr": _psnr(squares, mask.size), "masked_psnr": _psnr(masked, changed)}


def _psnr(squares: float, pixels: int) -> float | None:
    """dB of a sum of squared levels over `pixels` pixels of three channels; None where nothing differs."""
    return round(10 * math.log10(255**2 * 3 * pixels / squares), 3) if squares else None


# --- cut ---


def cut_crops(
    source: np.ndarray, target: np.ndarray, mask: np.ndarray, size: int, n: int, rng: np.random.Generator, zoomed: bool = True
) -> list[Crop]:
    """Up to `n` square crops of `size` pixels: most around changes, at zooms from 1:1 to the whole short side; about a sixth without any.

    The windows of the changed crops are spread evenly over the logarithm of their side; zoomed=False: all at 1:1. There are fewer than n
    where too little differs.
    """
    if not mask.any():
        return []
    counts = _block_counts(mask)
    n_unchanged = int(n * UNCHANGED_SHARE + rng.random())
    n_changed = n - n_unchanged
    widest = min(source.shape[:2]) if zoomed else size
    crops = [_changed_crop(source, target, counts, size, widest, (i / n_changed, (i + 1) / n_changed), rng) for i in range(n_changed)]
    crops += [_unchanged_crop(source, target, counts, size, widest, rng) for _ in range(n_unchanged)]
    return [crop for crop in crops if crop]


def crop_statistics(crop: Crop) -> dict:
    """What the records keep of a crop; the roughness ratio says whether the target is smoother."""
    _, numbers = compare(crop.source, crop.target)
    ratio = roughness_ratio(crop.source, crop.target, crop.mask)
    return {"window": list(crop.window), **numbers, "ratio": None if np.isnan(ratio) else round(ratio, 4)}


def _block_counts(mask: np.ndarray) -> np.ndarray:
    """Changed pixels in each BLOCK x BLOCK square."""
    rows = np.add.reduceat(mask, np.arange(0, mask.shape[0], BLOCK), axis=0, dtype=np.int32)
    return np.add.reduceat(rows, np.arange(0, mask.shape[1], BLOCK), axis=1)


def _changed_inside(counts: np.ndarray, window: tuple[int, int, int]) -> int:
    """Changed pixels in the blocks that the window touches."""
    x, y, side = window
    return int(counts[y // BLOCK : -(-(y + side) // BLOCK), x // BLOCK : -(-(x + side) // BLOCK)].sum())


def _changed_crop(source, target, counts, size: int, widest: int, zooms: tuple[float, float], rng: np.random.Generator) -> Crop | None:
    """A crop near a random changed pixel; zooms: from which part of [0, 1] (1:1 to the widest window) to draw first."""
    height, width = source.shape[:2]
    chances = np.cumsum(counts.ravel()) / counts.sum()
    for attempt in range(TRIES):
        zoom = rng.uniform(*zooms) if attempt < TRIES // 2 else rng.random()
        side = round(size * (widest / size) ** zoom)
        block = np.searchsorted(chances, rng.random(), side="right")
        row, column = divmod(int(block), counts.shape[1])
        y, x = (BLOCK * (index + 0.5) + side * rng.uniform(-0.75, -0.25) for index in (row, column))  # the change is near the middle
        window = int(np.clip(x, 0, width - side)), int(np.clip(y, 0, height - side)), side
        if _changed_inside(counts, window) >= LEAST_SHARE * side**2:
            crop = _cut(source, target, window, size)
            if crop.mask.mean() >= LEAST_SHARE:
                return crop
    return None


def _unchanged_crop(source, target, counts, size: int, widest: int, rng: np.random.Generator) -> Crop | None:
    """A crop in which nothing differs: of several random windows the one with most contrast, so that it isn't all background."""
    height, width = source.shape[:2]
    best, most = None, -1.0
    for _ in range(4 * TRIES):
        side = round(size * (widest / size) ** rng.random())
        window = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)), side
        if _changed_inside(counts, window) == 0:
            x, y, _ = window
            step = max(1, side // 64)
            contrast = float(source[y : y + side : step, x : x + side : step].std(axis=(0, 1)).max())
            if contrast > most:
                best, most = window, contrast
    crop = _cut(source, target, best, size) if best else None
    return crop if crop and not crop.mask.any() else None


def _cut(source: np.ndarray, target: np.ndarray, window: tuple[int, int, int], size: int) -> Crop:
    x, y, side = window
    scaled = [
        np.asarray(Image.fromarray(image[y : y + side, x : x + side]).resize((size, size), Image.Resampling.LANCZOS))
        for image in (source, target)
    ]
    return Crop(window, scaled[0], scaled[1], change_mask(scaled[0], scaled[1]))
