"""Chapter 06: pairs to train on, out of photographs of garments that nobody retouched: the command fold-pairs.

The target is a photograph with its cloth flattened, or as it is where it has a pattern; the source is the same with folds on it: its own, those
of another garment, or drawn ones. A seventh of the scenes is drawn (synthetic/people.py), for skin and hair, which the photographs lack;
one pair in four has nothing to remove. Strength and wavelength are those of retouched photographs of people at a short side of 512 pixels; of the
cloth about twice as much is touched (tests/unit/data/test_folds.py holds the ranges).
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from ddpm_utils.data.folders import find_images
from ddpm_utils.data.folds import blurred, laid_out, lay, lift
from ddpm_utils.data.images import LUMINANCE, read_rgb
from ddpm_utils.data.pairs import change_mask
from ddpm_utils.data.synthetic.garments import still
from ddpm_utils.data.synthetic.people import figure
from ddpm_utils.data.synthetic.wrinkles import drawn_folds
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import atomic_write, check_folder_can_be
from ddpm_utils.runtime.processes import process_pool

SHORT = 400  # pixels of a photograph's short side, which the bands of folds.py are meant for
SCALES = (0.64, 1.12)  # that photographs are brought to, over SHORT
FINE, COARSE = (0.55, 1.0), (5, 18)  # pixels at SHORT: the ends of the band that is taken away
LENT_BAND = (0.7, 14)  # and of the one that is lent
DRAWN = 0.14  # share of drawn scenes
KEPT = (0.2, 0.3)  # shares of photographs, and of drawn scenes, with nothing to remove
LENT = 200  # garments whose folds are laid onto others
SHARES = (0.003, 0.33)  # of a crop, that folds change at least and at most


class Garment(NamedTuple):
    """A photograph of a garment, and a mask that is white where its cloth is."""

    photograph: Path
    mask: Path


class Scene(NamedTuple):
    """A crop before folds are laid onto it: its colours (H, W, 3) in 0..255, its cloth (H, W) bool, how channels follow a fold, its own one."""

    colours: np.ndarray
    cloth: np.ndarray
    slopes: np.ndarray
    own: np.ndarray | None = None


def fold_pairs(photographs: Path, masks: Path, out: Path, n: int, size: int = 256, seed: int = 0) -> str:
    """Draw n pairs into `out`: source/ and target/, PNG of size x size pixels; returns a sentence. Pair i depends on (seed, i) alone.

    photographs, masks: folders of photographs of garments, and of masks of the same names. Raises InputError for too few of either, for a
    mask without a photograph's proportions, and for an `out` that holds something.
    """
    garments = find_garments(photographs, masks)
    if n < 1:
        raise InputError(f"the number of pairs must be at least 1, got {n}")
    if not 64 <= size <= SCALES[0] * SHORT:
        raise InputError(f"fold pairs have from 64 to {int(SCALES[0] * SHORT)} pixels a side, got {size}")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"fold pairs need a folder that is empty or new, {str(out)!r} holds something")
    check_folder_can_be(out)
    with process_pool() as pool:
        lifted = tqdm(pool.map(_lent_by, garments, chunksize=8), "lifting folds", len(garments), leave=False, disable=None)
        lent = [field for field in lifted if field is not None]
        if not lent:
            raise InputError(f"no garment in {str(photographs)!r} is of one colour and has folds to lend, which takes at least one")
        for folder in ("source", "target"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        jobs = ((garments, lent[:LENT], out, size, (seed, i)) for i in range(n))
        kinds = list(tqdm(pool.map(_write_pair, jobs, chunksize=4), "drawing pairs", n, unit="pair", leave=False, disable=None))
    said = f"{n} pairs of {size} px out of {len(garments)} garments, {len(lent[:LENT])} of which lent their folds"
    return f"{said}; {sum(kinds)} have something to remove"


def find_garments(photographs: Path, masks: Path) -> list[Garment]:
    """The photographs that have a mask of the same name."""
    of = {path.stem: path for path in find_images(masks).files}
    found = [Garment(path, of[path.stem]) for path in find_images(photographs).files if path.stem in of]
    if not found:
        raise InputError(f"no photograph in {str(photographs)!r} has a mask of its name in {str(masks)!r}, white where its cloth is")
    return found


def open_garment(garment: Garment, scale: float, least: int) -> tuple[np.ndarray, np.ndarray]:
    """The photograph (H, W, 3) float32 in 0..255 with its short side at scale * SHORT, and its mask (H, W) bool; no side below `least`."""
    image, mask = read_rgb(garment.photograph), read_rgb(garment.mask).convert("L")
    if abs(image.width * mask.height - image.height * mask.width) > 0.02 * image.width * mask.height:
        raise InputError(
            f"the mask {str(garment.mask)!r} is {mask.width}x{mask.height}, which isn't the shape of its photograph, {image.width}x{image.height}"
        )
    factor = scale * SHORT / min(image.size)
    size = tuple(max(least, round(factor * side)) for side in image.size)
    colours = np.asarray(image.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    return colours, np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) > 127


def _lent_by(garment: Garment) -> np.ndarray | None:
    """The folds (h, w) float16 of a garment that is plain and has strong ones; else None."""
    photograph, cloth = open_garment(garment, 0.8, 1)
    fold = lift(photograph, cloth, *LENT_BAND, scale=0.8)
    if fold is None or not fold.plain or fold.strength < 0.03:
        return None
    rows, columns = (slice(n.min(), n.max() + 1) for n in np.nonzero(cloth))
    return fold.field[rows, columns].astype(np.float16)


def _write_pair(job: tuple) -> bool:
    """Draw a pair and write it; whether its two images differ."""
    garments, lent, out, size, (seed, i) = job
    source, target = draw_pair(np.random.default_rng((seed, i)), garments, lent, size)
    for folder, image in (("source", source), ("target", target)):
        with atomic_write(out / folder / f"{i:06d}.png") as file:
            Image.fromarray(image).save(file, "PNG")
    return bool((source != target).any())


def draw_pair(rng: np.random.Generator, garments: list[Garment], lent: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and target, (size, size, 3) uint8."""
    while True:
        is_drawn = rng.random() < DRAWN
        scene = _drawn_scene(rng, size) if is_drawn else _photographed_scene(rng, garments[rng.integers(len(garments))], size)
        if scene.cloth.mean() < 0.03 or rng.random() < KEPT[is_drawn]:
            return _camera(rng, scene.colours, scene.colours)
        folded = _folded(rng, scene, lent)
        if folded is not None:
            source, target = _camera(rng, folded, scene.colours)
            if SHARES[0] < change_mask(source, target).mean() < SHARES[1]:
                return source, target


# --- scenes ---


def _photographed_scene(rng: np.random.Generator, garment: Garment, size: int) -> Scene:
    """A part of a photograph: plain cloth flattened, patterned cloth as it is."""
    scale = rng.uniform(*SCALES)
    photograph, cloth = open_garment(garment, scale, size)
    crop = _crop(rng, cloth, size, on_cloth=rng.random() < 0.85)
    wide = tuple(slice(max(0, part.start - 20), part.stop + 20) for part in crop)  # a band needs some room
    fold = lift(photograph[wide], cloth[wide], rng.uniform(*FINE), rng.uniform(*COARSE), scale)
    colours, cloth = photograph[crop], cloth[crop]
    if fold is None or not fold.plain:
        return Scene(colours, cloth, _interreflection(rng, colours))
    own = fold.field[tuple(slice(part.start - room.start, part.stop - room.start) for part, room in zip(crop, wide))]
    return Scene(lay(colours, -own, fold.slopes), cloth, fold.slopes, own if fold.strength > 0.03 else None)


def _drawn_scene(rng: np.random.Generator, size: int) -> Scene:
    """A part of a drawn person, or of things without any cloth, at nearly twice the scale."""
    drawn = (figure if rng.random() < 0.85 else still)(rng, 7 * size // 4)
    colours = np.clip(drawn.pressed() * 255 * rng.uniform(0.75, 1.1), 0, 252)
    crop = _crop(rng, drawn.cloth > 0.7, size, on_cloth=rng.random() < 0.6)
    return Scene(colours[crop], drawn.cloth[crop] > 0.7, _interreflection(rng, colours[crop]))


def _crop(rng: np.random.Generator, cloth: np.ndarray, size: int, on_cloth: bool) -> tuple[slice, slice]:
    """A square of the frame, its middle near to some cloth or anywhere."""
    middle = (
        np.argwhere(cloth)[rng.integers(cloth.sum())] + rng.normal(0, 30, 2) if on_cloth and cloth.any() else rng.uniform(0, cloth.shape)
    )
    start = np.clip(middle - size / 2, 0, np.array(cloth.shape) - size).astype(int)
    return tuple(slice(first, first + size) for first in start)


def _interreflection(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Slopes (H, W, 3): light that bounces between folds is taken up more often where a channel is dark, so that it follows more."""
    return 1 + rng.uniform(0, 2.6) * (1 - colours / np.maximum(colours.max(-1, keepdims=True), 8))


# --- folds ---


def _folded(rng: np.random.Generator, scene: Scene, lent: list[np.ndarray]) -> np.ndarray | None:
    """The scene's colours with folds on its cloth, its own or others; None where there is no room for them."""
    kind = rng.random()
    if scene.own is not None and kind < 0.35:
        return lay(scene.colours, scene.own * rng.uniform(0.85, 1.25), scene.slopes)
    cloth = ndimage.binary_erosion(scene.cloth, iterations=2)
    if cloth.mean() < 0.03:
        return None
    if kind < 0.72:
        field = laid_out(rng, lent[rng.integers(len(lent))], scene.cloth)
        field = None if field is None else field * _region(rng, len(cloth), rng.uniform(0.25, 0.9))
    else:
        field = drawn_folds(rng, cloth, rng.uniform(0.14, 0.8))
    if field is None:
        return None
    field = _as_strong_as_real(rng, field * blurred(cloth, rng.uniform(0.5, 1.5)) * cloth, scene.colours, cloth)
    if field is None:
        return None
    slopes = scene.slopes if rng.random() < 0.7 else _interreflection(rng, scene.colours)
    return lay(scene.colours, field, slopes, shoulder=rng.random() < 0.5)


def _region(rng: np.random.Generator, size: int, share: float) -> np.ndarray:
    """(size, size) in 0..1: soft spots that cover about this share."""
    n = int(rng.integers(5, 12))
    spots = ndimage.zoom(rng.standard_normal((n, n)).astype(np.float32), size / n, order=3)
    return np.clip((spots - np.quantile(spots, 1 - share)) / (spots.std() * rng.uniform(0.6, 1.6)) + 0.5, 0, 1)


def _as_strong_as_real(rng: np.random.Generator, field: np.ndarray, colours: np.ndarray, cloth: np.ndarray) -> np.ndarray | None:
    """The field with a standard deviation of about 0.1, 5 to 17 levels, where it is strong; None if it nowhere is."""
    on = (np.abs(field) > 0.35 * np.percentile(np.abs(field[cloth]), 97)) & cloth
    if on.sum() < 60:
        return None
    level = max(float(colours[on].mean()), 12)
    strength = np.clip(np.clip(rng.lognormal(math.log(0.095), 0.4), 0.03, 0.22), 5 / level, 17 / level)
    return np.clip(field * (strength / (field[on].std() + 1e-6)), -0.9, 0.7)


# --- the camera ---


def _camera(rng: np.random.Generator, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as uint8, through one exposure, white balance, tone curve, saturation, blur, sharpening and noise; equal far from what differs."""
    gain = np.exp(rng.normal(0, 0.12))
    gain = min(gain, max(1, 250 / max(np.percentile(target, 99.5), 1)))
    balance, gamma = np.exp(rng.normal(0, 0.04, 3)).astype(np.float32), np.exp(rng.normal(0, 0.12))
    saturation = rng.choice([1, 0, rng.uniform(0.6, 1.6)], p=[0.5, 0.14, 0.36])
    sigma, sharpening = max(rng.uniform(-0.8, 0.8), 0), max(rng.uniform(-1.2, 0.9), 0)
    noise = rng.exponential(0.7) * rng.standard_normal((*target.shape[:2], 1))
    noise = noise + (saturation > 0) * rng.exponential(0.4) * rng.standard_normal(target.shape)

    def develop(levels: np.ndarray) -> np.ndarray:
        light = np.clip(levels * gain * balance / 255, 0, 1) ** gamma
        grey = (light @ np.float32(LUMINANCE))[..., None]
        light = grey + saturation * (light - grey)
        light = ndimage.gaussian_filter(light, (sigma, sigma, 0)) if sigma > 0.25 else light
        halo = sharpening * (light - ndimage.gaussian_filter(light, (0.8, 0.8, 0))) if sharpening else 0
        return 255 * (light + halo)

    def to_uint8(levels: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(levels + noise), 0, 255).astype(np.uint8)

    source, target = develop(source), develop(target)
    near = ndimage.binary_dilation(change_mask(to_uint8(source), to_uint8(target)), iterations=5)
    near = ndimage.uniform_filter(near.astype(np.float32), 5)[..., None]
    return to_uint8(target + near * (source - target)), to_uint8(target)
