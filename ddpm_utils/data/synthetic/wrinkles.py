"""Chapter 06's embedded data set: clothes with wrinkles and the same clothes pressed, drawn from a seed.

A pair is one scene (garments.py, people.py) seen twice by the same camera. Wrinkles are a height field (creases.py) that exists on cloth
only: light from the side turns its slopes into shading, as Lambert's law does for small slopes, its valleys are darker, and it shifts the
fabric's pattern a little. Everything else, big folds and seams and prints among it, is in both images. A quarter of the pairs have
nothing to remove.

Strength, wavelength, share of changed pixels and colour change are fitted to measurements on real retouched photographs
(tests/unit/data/synthetic/test_wrinkles.py holds the ranges); no photograph is part of the images.
"""

import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from ddpm_utils.data.pairs import PairSet, change_mask
from ddpm_utils.data.synthetic.creases import HEIGHTS, shifted
from ddpm_utils.data.synthetic.fabrics import blurred, frame, smooth_noise
from ddpm_utils.data.synthetic.garments import Scene, crop, still
from ddpm_utils.data.synthetic.people import figure
from ddpm_utils.data.synthetic.sets import check_set
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder, filling, whole_files
from ddpm_utils.runtime.processes import process_pool

VERSION = 3  # raise it when other images are drawn: caches and shipped models name it
SMALLEST = 16
KINDS = {"crop": 0.36, "figure": 0.38, "kept": 0.26}  # a detail, a whole garment, a scene with nothing to remove: their shares
KEPT = (crop, figure, still, still)  # the scenes with nothing to remove, equally often
CHUNK = 16  # pairs that a process draws at a time


class Pair(NamedTuple):
    """An image with wrinkles (H, W, 3) uint8, the same without, and where they differ (H, W) bool: `change_mask(source, target)`."""

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray


def wrinkle_pair(size: int, seed: tuple[int, ...] | int, kind: str | None = None) -> Pair:
    """The pair of this seed, `size` by `size` pixels; the same one in every process, whatever was drawn before.

    Far from the mask the images are equal to the bit; near to it there are the faint flanks of wrinkles, and lines too thin for the mask.
    One pair in eight has been through JPEG, each image by itself, and differs a little everywhere.
    kind: "crop", "figure" or "kept" (nothing to remove: both images are equal); by default drawn with the shares KINDS.
    Raises InputError for less than 16 pixels and an unknown kind.
    """
    if size < SMALLEST:
        raise InputError(f"wrinkle pairs need at least {SMALLEST} pixels a side, got {size}")
    if kind not in (None, *KINDS):
        raise InputError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    rng = np.random.default_rng(seed)
    drawn = rng.choice(list(KINDS), p=list(KINDS.values()))
    kind = kind or drawn
    draw_scene = {"crop": crop, "figure": figure, "kept": KEPT[rng.integers(len(KEPT))]}[kind]
    scene = draw_scene(rng, size)
    if kind == "kept":
        pressed = scene.pressed()
        return _photograph(rng, pressed, pressed)
    fewest, most = (0.04, 1.0) if kind == "crop" else (0.004, 0.2)
    for _ in range(4):  # wrinkles may fall where hardly any cloth is seen, or cover more of a figure than retouchers do
        pair = _photograph(rng, _wrinkled(rng, scene, kind), scene.pressed())
        if fewest < pair.mask.mean() < most:
            break
    return pair


# --- light: how wrinkles look ---


def _wrinkled(rng: np.random.Generator, scene: Scene, kind: str) -> np.ndarray:
    """The scene with wrinkles, (H, W, 3), before the camera."""
    height, region = _wrinkles(rng, scene, kind)
    shading = _shading(rng, height, region, scene)
    level = max(float((scene.pressed().mean(-1) * region).sum() / region.sum()), 0.03)
    strength = np.clip(rng.lognormal(math.log(0.072), 0.4), 0.03, 0.16)  # standard deviation of the log of the light
    strength = np.clip(strength, 0.018 / level, 0.05 / level)  # ... and of the light itself: 5 to 13 levels
    change = shading * strength
    tint = 1 + rng.normal(0, 0.06) * np.array([1, 0, -1], np.float32)  # shadows are a little bluer, or warmer, than lights
    dy, dx = np.gradient(height)
    shift = ndimage.minimum_filter(scene.cloth, 3) * region * rng.uniform(0.2, 1) * scene.size * scene.unit * 0.004
    steepest = np.sqrt((dx**2 + dy**2).max()) + 1e-6
    moved = [shifted(scene.colours[..., c], dx / steepest * shift, dy / steepest * shift, order=3) for c in range(3)]
    return np.stack(moved, -1) * np.exp(scene.light_log[..., None] + change[..., None] * tint)


def _wrinkles(rng: np.random.Generator, scene: Scene, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A height field (H, W) and the soft region (H, W) in 0 .. 1 that has wrinkles: a part of the cloth."""
    size = scene.size
    spots = smooth_noise(rng, size, rng.uniform(0.12, 0.25) * min(scene.unit, 1))
    x, y = frame(size)
    for jx, jy in scene.joints if kind == "figure" else []:
        spots = spots + rng.uniform(0, 2) * np.exp(-((x - jx) ** 2 + (y - jy) ** 2) / (0.25 * scene.unit) ** 2)
    share = rng.uniform(0.55, 1.2) if kind == "crop" else rng.uniform(0.2, 0.8)
    on_cloth = spots[scene.cloth > 0.5]
    border = np.quantile(on_cloth, max(1 - share, 0)) if on_cloth.size else np.inf
    t = np.clip((spots - border) / rng.uniform(0.3, 1.0) + 0.5, 0, 1)
    region = scene.cloth * t * t * (3 - 2 * t) + 1e-6
    height = np.zeros((size, size), np.float32)
    weights = np.array(list(HEIGHTS.values()))
    for draw, weight in zip(rng.choice(list(HEIGHTS), rng.integers(1, 4), replace=False, p=weights), (1, 0.6, 0.4)):
        field = draw(rng, scene)
        dy, dx = np.gradient(field)
        steepness = np.sqrt(((dx**2 + dy**2) * region).sum() / region.sum()) + 1e-6
        height += weight / steepness * field
    return height, region


def _shading(rng: np.random.Generator, height: np.ndarray, region: np.ndarray, scene: Scene) -> np.ndarray:
    """The log of the light that the wrinkles add, of mean 0 and variance 1 in the region.

    Slopes towards the light are brighter, the others darker, and so are valleys, which see less of the sky.
    """
    dy, dx = np.gradient(height)
    slope = -(dx * scene.light[0] + dy * scene.light[1])
    slope = slope / _deviation(slope, region)
    valley = np.minimum(height - blurred(height, 0.03 * scene.unit + 1 / scene.size), 0)
    valley = valley / _deviation(valley, region)
    shade = slope + rng.uniform(0.2, 0.9) * valley
    shade = np.tanh(0.6 * shade / _deviation(shade, region))  # a few steep creases must not outshine the rest
    shade = shade - rng.uniform(0.1, 0.6) * shade**2  # shadows are deeper than lights are bright
    shade = shade - (shade * region).sum() / region.sum()
    return shade / _deviation(shade, region) * region


def _deviation(a: np.ndarray, region: np.ndarray) -> float:
    mean = (a * region).sum() / region.sum()
    return float(np.sqrt(((a - mean) ** 2 * region).sum() / region.sum())) + 1e-6


def drawn_folds(rng: np.random.Generator, cloth: np.ndarray, unit: float) -> np.ndarray:
    """The log of the light that drawn wrinkles add to cloth (H, W) bool, H = W, of mean 0 and variance 1 where they are.

    unit: the width of a chest as a share of the frame, which their wavelength goes by.
    """
    size, angle = len(cloth), rng.uniform(0, 2 * np.pi)
    light = np.array([math.cos(angle), math.sin(angle)], np.float32)
    joints = list(rng.uniform(0.1, 0.9, (3, 2)))
    scene = Scene(np.ones((size, size, 3), np.float32), cloth.astype(np.float32), np.zeros((size, size), np.float32), unit, light, joints)
    height, region = _wrinkles(rng, scene, "figure" if rng.random() < 0.6 else "crop")
    return _shading(rng, height, region, scene)


# --- the camera ---


def _photograph(rng: np.random.Generator, wrinkled: np.ndarray, pressed: np.ndarray) -> Pair:
    """Both images through the same camera: exposure, white balance, tone curve, blur, sharpening, noise; rounded to uint8; a few as JPEG.

    Far from wrinkles that the change mask shows, fainter ones are taken back, so that the images are equal there to the bit.
    """
    size = len(pressed)
    brightest = np.maximum(wrinkled, pressed).max(-1)
    gain = min(rng.uniform(0.75, 1.3), 0.95 / np.quantile(brightest, 0.998)) * np.exp(rng.normal(0, 0.03, 3))
    gain, gamma = gain.astype(np.float32), np.float32(np.exp(rng.normal(0, 0.12)))
    sigma, sharpening = max(rng.uniform(-0.6, 0.8), 0), max(rng.uniform(-1.5, 1), 0)
    noise = rng.exponential(0.8) * rng.standard_normal((size, size, 1)) + rng.exponential(0.4) * rng.standard_normal((size, size, 3))

    def develop(light: np.ndarray) -> np.ndarray:
        light = np.clip(light * gain, 0, 0.99) ** gamma
        light = ndimage.gaussian_filter(light, (sigma, sigma, 0)) if sigma > 0.2 else light
        halo = sharpening * (light - ndimage.gaussian_filter(light, (0.8, 0.8, 0))) if sharpening else 0  # an unsharp mask, as cameras do
        return 255 * np.minimum(light + halo, 0.99)

    def to_uint8(levels: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(levels + noise), 0, 255).astype(np.uint8)

    target = develop(pressed)
    if wrinkled is pressed:
        source = target
    else:
        source = develop(wrinkled)
        near = change_mask(to_uint8(source), to_uint8(target))
        near = ndimage.uniform_filter(ndimage.binary_dilation(near, iterations=2 + size // 32).astype(np.float32), 3)
        source = target + near[..., None] * (source - target)
    source, target = to_uint8(source), to_uint8(target)
    if rng.random() < 0.12:
        quality = int(rng.integers(85, 98))
        source, target = _as_jpeg(source, quality), _as_jpeg(target, quality)
    return Pair(source, target, change_mask(source, target))


def _as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.array(image)


# --- many pairs ---


def synthetic_pairs(n: int, size: int, seed: int = 0) -> PairSet:
    """n pairs (size, size) drawn by all cores, kept in the cache folder and mapped into memory.

    Pair i is wrinkle_pair(size, (seed, i)): a larger set begins with the smaller ones. Raises InputError for n < 1, a negative seed, a size
    under 16 pixels and a disk that is too full.
    """
    check_set("wrinkle pairs", n, size, seed, SMALLEST)
    folder = cache_folder() / f"wrinkles-v{VERSION}-{n}x{size}-seed{seed}"
    if not whole_files(folder):
        _draw_into_cache(folder, n, size, seed)
    sources, targets, masks = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("sources", "targets", "masks"))
    return PairSet(images=targets, sources=sources, masks=masks)


def _draw_into_cache(folder: Path, n: int, size: int, seed: int) -> None:
    with filling(folder, 7 * n * size * size) as temporary:
        for name, shape in (("sources", (n, size, size, 3)), ("targets", (n, size, size, 3)), ("masks", (n, size, size))):
            np.lib.format.open_memmap(temporary / f"{name}.npy", "w+", bool if name == "masks" else np.uint8, shape).flush()
        chunks = [(temporary, range(start, min(start + CHUNK, n)), size, seed) for start in range(0, n, CHUNK)]
        bar = tqdm(total=n, desc="drawing wrinkles", unit="pair", leave=False, disable=None)
        with process_pool(len(chunks)) as pool, bar:
            for drawn in pool.map(_draw_chunk, chunks):
                bar.update(drawn)


def _draw_chunk(job: tuple[Path, range, int, int]) -> int:
    """Pairs of these numbers, written to their places; how many."""
    folder, numbers, size, seed = job
    sources, targets, masks = (np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("sources", "targets", "masks"))
    for i in numbers:
        sources[i], targets[i], masks[i] = wrinkle_pair(size, (seed, i))
    return len(numbers)
