"""The shapes of wrinkles for chapter 06: height fields (H, W) over a scene, of any scale; wrinkles.py levels and lights them.

Ripples from the Swift-Hohenberg equation, single creases, stars of creases around a joint, zigzag folds, ironed and packed creases, crumpled
linen. Each draws its own wavelength.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import fft, ndimage

from ddpm_utils.data.synthetic.fabrics import blurred, frame, resample, ridge, ridges, smooth_noise
from ddpm_utils.data.synthetic.garments import Scene


def film(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Ripples as on a compressed film: the Swift-Hohenberg equation, h_t = r h - (laplacian + k0^2)^2 h - h^3, bent and of uneven height.

    Solved on a grid with 7 points a wavelength, semi-implicitly: the linear part in Fourier space.
    """
    size, wavelength = scene.size, wavelength_of(rng, scene)
    n = int(np.clip(7 / wavelength, 16, size))
    k0 = 2 * np.pi / (wavelength * n)
    ky, kx = 2 * np.pi * fft.fftfreq(n).astype(np.float32)[:, None] / k0, 2 * np.pi * fft.rfftfreq(n).astype(np.float32)[None] / k0
    angle, step = rng.uniform(0, np.pi), 1.5
    grain = float(rng.choice([0.0, 0.05, 0.2, 0.6]))  # how much one direction is preferred
    linear = (kx**2 + ky**2 - 1) ** 2 + grain * (kx * math.cos(angle) + ky * math.sin(angle)) ** 2
    growth = np.float32(0.25) + 0.15 * smooth_noise(rng, n, 0.12)
    height = 0.2 * rng.standard_normal((n, n), dtype=np.float32)
    for _ in range(rng.integers(8, 26)):  # few steps leave more defects
        height = fft.irfft2(fft.rfft2(height + step * height * (growth - height * height)) / (1 + step * linear), (n, n))
    height = resample(fft.rfft2(height), size) if n < size else height
    height = bend(rng, height, rng.uniform(0.3, 1.2) * wavelength)
    return height * np.clip(1 + 0.6 * smooth_noise(rng, size, 1.5 * wavelength), 0, 2)


def creases(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Single curved creases here and there."""
    width = 0.25 * wavelength_of(rng, scene)
    return ridges(rng, scene.size, int(rng.integers(3, 12)), (0.15 * scene.unit, 0.7 * scene.unit), (0.5 * width, 1.3 * width))


def star(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Creases that radiate from a point where cloth is held: armpit, elbow, crotch, waist."""
    x, y = frame(scene.size)
    height = np.zeros_like(scene.cloth)
    joints = scene.joints or [np.array([0.5, 0.5])]
    for _ in range(min(len(joints), rng.integers(1, 4))):
        cx, cy = joints[rng.integers(len(joints))] + rng.normal(0, 0.02, 2)
        radius, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
        reach = rng.uniform(0.2, 0.6) * scene.unit
        spokes = np.cumsum(rng.uniform(0.5, 1.5, rng.integers(6, 14)))
        spokes = 2 * np.pi * spokes / spokes[-1]
        heights = rng.uniform(-1, 1, len(spokes)) * (rng.random(len(spokes)) < 0.75)
        bent = angle + rng.normal(0, 0.8) * radius / reach + 0.25 * smooth_noise(rng, scene.size, 0.25 * reach)
        profile = np.zeros_like(radius)
        for spoke, lift in zip(spokes, heights):
            off = (bent - spoke + np.pi) % (2 * np.pi) - np.pi
            profile += lift * ridge(off * radius, 0.12 * reach * (0.15 + radius / reach), rng.uniform(0.5, 2))
        height += profile * np.exp(-((radius / reach) ** 2)) * np.minimum(radius / (0.15 * reach), 1)
    return height


def zigzag(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Compression folds as on a pushed-up sleeve: ridges that run in zigzags, one beneath the other."""
    x, y = frame(scene.size)
    wavelength, angle = 1.3 * wavelength_of(rng, scene), rng.uniform(0, np.pi)
    wander = wavelength * smooth_noise(rng, scene.size, 2 * wavelength)
    u = math.cos(angle) * x + math.sin(angle) * y + 0.5 * wander
    v = math.cos(angle) * y - math.sin(angle) * x
    turns = np.abs(2 * ((v / (rng.uniform(2, 5) * wavelength) + 0.3 * smooth_noise(rng, scene.size, 3 * wavelength)) % 1) - 1)
    phase = (u / wavelength + rng.uniform(0.5, 1.5) * turns) % 1
    profile = np.exp(-(((phase - 0.5) / rng.uniform(0.15, 0.3)) ** 2))
    return blurred(profile, 0.06 * wavelength) * np.clip(0.6 + 0.6 * smooth_noise(rng, scene.size, 1.2 * wavelength), 0, 2)


def packing(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Sharp straight creases of ironing and packing; some cross at right angles."""
    x, y = frame(scene.size)
    height, angle = np.zeros_like(scene.cloth), rng.normal(0, 0.2)
    for _ in range(rng.integers(1, 5)):
        a = angle + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.04)
        across = math.cos(a) * (x - rng.uniform(0.1, 0.9)) + math.sin(a) * (y - rng.uniform(0.1, 0.9))
        across = across + 0.004 * smooth_noise(rng, scene.size, 0.15)
        width = max(rng.uniform(0.02, 0.07) * scene.unit, 2 / scene.size)
        height += rng.choice([-1, 1]) * rng.uniform(0.5, 1) * blurred(np.exp(-np.abs(across) / width), 0.8 / scene.size) * width
    return height


def crumple(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Crumpled linen: smooth facets that meet in sharp, branching ridges."""
    wavelength = wavelength_of(rng, scene)
    height = -np.abs(bend(rng, smooth_noise(rng, scene.size, 0.4 * wavelength), 0.3 * wavelength))
    height -= 0.6 * np.abs(smooth_noise(rng, scene.size, 0.8 * wavelength))
    return blurred(height, 0.05 * wavelength)


def wavelength_of(rng: np.random.Generator, scene: Scene) -> float:
    """A distance between wrinkles, as a share of the frame: 10 to 30 % of a chest's width, at least five pixels."""
    return max(min(rng.uniform(0.1, 0.3) * scene.unit, 0.28), 5 / scene.size)


def bend(rng: np.random.Generator, field: np.ndarray, distance: float) -> np.ndarray:
    """The field, its points moved by about `distance` (share of the frame), smoothly."""
    size = len(field)
    return shifted(field, *(distance * size * smooth_noise(rng, size, max(2 * distance, 0.06)) for _ in range(2)))


def shifted(field: np.ndarray, dx: np.ndarray, dy: np.ndarray, order: int = 1) -> np.ndarray:
    """field (H, W) sampled at (x + dx, y + dy), in pixels. order 1: linear; 3: cubic, which keeps fine texture sharp."""
    rows, columns = np.indices(field.shape, dtype=np.float32)
    return ndimage.map_coordinates(field, [rows + dy, columns + dx], order=order, mode="mirror")


Field = Callable[[np.random.Generator, Scene], np.ndarray]
HEIGHTS: dict[Field, float] = {film: 0.3, creases: 0.25, star: 0.2, zigzag: 0.08, packing: 0.05, crumple: 0.12}  # how likely each is drawn
