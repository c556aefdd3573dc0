"""What images of clothes are made of: smooth noise, antialiased shapes, fabrics. Used by backgrounds.py and garments.py.

Positions and lengths are shares of the frame's side (0 .. 1, x to the right, y down), so that a scene can be drawn at any size; fields are
float32 (H, W), colours float32 (..., 3) in 0 .. 1 as they are displayed.
"""

import colorsys
import math
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import fft, ndimage

SUPERSAMPLING = 3  # shapes are drawn this many times larger and averaged: edges as soft as a camera's


# --- fields and shapes ---


def frame(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel's centre, each (size, size)."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return np.broadcast_to(centres, (size, size)), np.broadcast_to(centres[:, None], (size, size))


def smooth_noise(rng: np.random.Generator, size: int, scale: float, angle: float = 0.0, stretch: float = 1.0) -> np.ndarray:
    """Gaussian noise of unit variance, white noise blurred with a Gaussian of standard deviation `scale`, and `scale * stretch` along `angle`.

    Only the few frequencies that survive the blur are drawn; they are brought to `size` by padding the spectrum with zeros.
    """
    n = min(size, 2 * int(np.ceil(0.6 / scale)) + 4)  # at 0.6 / scale periods a frame the blur leaves 1e-3
    f = fft.fftfreq(n, 1 / n).astype(np.float32)
    fx, fy = f[: n // 2 + 1][None], f[:, None]
    along, across = math.cos(angle) * fx + math.sin(angle) * fy, math.cos(angle) * fy - math.sin(angle) * fx
    blur = np.exp(-2 * (np.pi * scale) ** 2 * ((stretch * along) ** 2 + across**2))
    noise = resample(fft.rfft2(rng.standard_normal((n, n), dtype=np.float32)) * blur, size)
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def resample(spectrum: np.ndarray, size: int) -> np.ndarray:
    """The periodic field with this rfft2 (n, n // 2 + 1), n <= size, on a grid of size by size."""
    n = spectrum.shape[0]
    half = (n + 1) // 2
    padded = np.zeros((size, size // 2 + 1), np.complex64)
    padded[:half, :half] = spectrum[:half, :half]
    padded[size - (half - 1) :, :half] = spectrum[n - (half - 1) :, :half]
    return fft.irfft2(padded, (size, size)) * np.float32(size * size / (n * n))


def blurred(a: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur; sigma is a share of the frame."""
    return ndimage.gaussian_filter(a, sigma * a.shape[0], mode="nearest", truncate=2.5)


def edge(distance: np.ndarray) -> np.ndarray:
    """An antialiased step: 0 where the signed distance is negative, 1 where it is positive."""
    return np.clip(distance * distance.shape[0] + 0.5, 0, 1)


def shape(size: int, paint: Callable[[ImageDraw.ImageDraw, int], None]) -> np.ndarray:
    """Coverage 0 .. 1 of what `paint(draw, scale)` draws with fill 255; it multiplies frame coordinates with `scale`."""
    scale = SUPERSAMPLING * size
    canvas = Image.new("L", (scale, scale))
    paint(ImageDraw.Draw(canvas), scale)
    return np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / 255


def ridges(rng: np.random.Generator, size: int, count: int, lengths: tuple, widths: tuple, angle: float | None = None) -> np.ndarray:
    """Heights (H, W) of single curved creases: each a ridge or a valley with one steep and one gentle side, tapering off.

    lengths, widths: from which they are drawn, shares of the frame. angle: about which they run; anywhere by default.
    """
    x, y = frame(size)
    height = np.zeros((size, size), np.float32)
    for _ in range(count):
        length, width = rng.uniform(*lengths), rng.uniform(*widths)
        turn = rng.uniform(0, np.pi) if angle is None else rng.normal(angle, 0.35)
        dx, dy = x - rng.uniform(0.05, 0.95), y - rng.uniform(0.05, 0.95)
        along = (math.cos(turn) * dx + math.sin(turn) * dy) * (2 / length)
        across = math.cos(turn) * dy - math.sin(turn) * dx
        across = across + length * (rng.normal(0, 0.12) * along**2 + 0.03 * np.sin(rng.uniform(2, 6) * along + rng.uniform(0, 6)))
        sign = 1 if rng.random() < 0.5 else -1
        height += sign * rng.uniform(0.3, 1) * ridge(across, width, rng.uniform(0.4, 2.5)) * np.exp(-(along**2))
    return height


def ridge(across: np.ndarray, width: float | np.ndarray, skew: float) -> np.ndarray:
    """The profile of a crease at this distance from its line: height 1, `skew` times as wide on its far side."""
    return (1 + (across / np.where(across > 0, width * skew, width)) ** 2) ** -2


def polygon(size: int, points: np.ndarray, rounding: int = 2) -> np.ndarray:
    """Coverage of the polygon with these corners (n, 2), its corners cut `rounding` times (Chaikin)."""
    for _ in range(rounding):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.8 * points + 0.2 * after, 0.2 * points + 0.8 * after], 1).reshape(-1, 2)
    return shape(size, lambda draw, scale: draw.polygon([tuple(p) for p in points * scale], fill=255))


def ellipse(size: int, centre: np.ndarray, radii: tuple[float, float]) -> np.ndarray:
    """Coverage of an upright ellipse."""
    return shape(size, lambda draw, scale: draw.ellipse([*((centre - radii) * scale), *((centre + radii) * scale)], fill=255))


def strokes(size: int, lines: Iterable[np.ndarray], width: float) -> np.ndarray:
    """Coverage of polylines, each (n, 2); lines thinner than a pixel become faint."""

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for line in lines:
            draw.line([tuple(p) for p in line * scale], fill=255, width=max(1, round(width * scale)))

    return shape(size, paint)


def letters(rng: np.random.Generator, size: int, centre: np.ndarray, height: float) -> np.ndarray:
    """Coverage of a line of random letters, slightly turned."""
    text = "".join(rng.choice(list("ABCDEFGHKLMNOPRSTUVWXYZaegnorst0123456789&"), rng.integers(2, 8)))
    scale = SUPERSAMPLING * size
    canvas = Image.new("L", (scale, scale))
    font = ImageFont.load_default(max(8, height * scale))
    ImageDraw.Draw(canvas).text(tuple(centre * scale), text, fill=255, font=font, anchor="mm")
    canvas = canvas.rotate(rng.normal(0, 8), Image.Resampling.BILINEAR, center=tuple(centre * scale))
    return np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / 255


def mix(below: np.ndarray, above: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """`above`, an image or one colour, over the image `below`."""
    return below + coverage[..., None] * (above - below)


# --- fabrics ---


def colour(rng: np.random.Generator, saturations=(0.03, 0.15, 0.45, 0.8), values=(0.2, 0.97)) -> np.ndarray:
    """A colour of clothes or walls: mostly muted."""
    saturation = rng.choice(saturations, p=[0.35, 0.25, 0.25, 0.15])
    return np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(*values)), np.float32)


def contrasting(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """A second colour for a pattern on `base`."""
    if rng.random() < 0.3:
        return colour(rng)
    return base * rng.uniform(0.4, 0.85) if base.mean() > 0.45 else base + rng.uniform(0.3, 0.9) * (1 - base)


def _wave(u: np.ndarray, period: float, offset: float = 0.0) -> np.ndarray:
    """Antialiased stripes: 1 where sin(2 pi u / period) > offset."""
    sharpness = period * u.shape[0] / (2 * np.pi)
    return np.clip(0.5 + (np.sin(2 * np.pi / period * u) - offset) * sharpness, 0, 1)


def zigzag(u: np.ndarray, period: float) -> np.ndarray:
    """A triangle wave between 0 and 1."""
    return np.abs(2 * ((u / period) % 1) - 1)


def _scattered(rng: np.random.Generator, size: int, period: float) -> np.ndarray:
    """Flowers: scattered groups of petals."""
    petals = rng.integers(1, 7)

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for x, y in rng.random((min(80, int(0.5 / period**2)), 2)) * scale:
            r, turn = rng.uniform(0.12, 0.4) * period * scale, rng.uniform(0, 2 * np.pi)
            for k in range(petals):
                cx, cy = x + r * np.cos(turn + 2 * np.pi * k / petals), y + r * np.sin(turn + 2 * np.pi * k / petals)
                draw.ellipse([cx - 0.7 * r, cy - 0.7 * r, cx + 0.7 * r, cy + 0.7 * r], fill=255)

    return shape(size, paint)


def _pattern(rng: np.random.Generator, kind: str, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    """How much of the second colour every pixel has, 0 .. 1."""
    size = u.shape[0]
    if kind == "stripes":
        return _wave(u, period, rng.uniform(-0.2, 0.9))
    if kind == "plaid":
        width = rng.uniform(-0.1, 0.7)
        return 0.5 * _wave(u, period, width) + 0.5 * _wave(v, period, width)
    if kind == "dots":
        bumps = np.cos(2 * np.pi / period * u) + np.cos(2 * np.pi / period * v)
        return np.clip(0.5 + (bumps - rng.uniform(0.9, 1.6)) * period * size / 8, 0, 1)
    if kind == "knit":  # rows of V-shaped stitches
        stitch = max(0.35 * period, 4 / size)
        return 0.5 * rng.uniform(0.3, 0.8) * (1 + np.sin(2 * np.pi * (v / stitch + 0.7 * zigzag(u, stitch))))
    if kind == "herringbone":
        return 0.5 * _wave(v + 0.5 * zigzag(u, period) * period, max(0.3 * period, 4 / size))
    if kind == "camouflage":
        return np.clip(0.5 + 8 * (smooth_noise(rng, size, 0.5 * period) - rng.uniform(-0.3, 0.8)), 0, 1)
    if kind == "flowers":
        return _scattered(rng, size, period)
    if kind == "letters":
        spots = rng.uniform(0.1, 0.9, (rng.integers(1, 4), 2))
        return np.max([letters(rng, size, spot, rng.uniform(0.6, 2) * period) for spot in spots], axis=0)
    if kind == "denim":  # pale streaks along the warp, worn patches
        streaks = smooth_noise(rng, size, 1 / size, np.arctan2(v[1, 0] - v[0, 0], v[0, 1] - v[0, 0]), rng.uniform(3, 9))
        return np.clip(0.25 + 0.05 * streaks + 0.08 * smooth_noise(rng, size, 0.2), 0, 1)
    if kind == "heather":  # threads of two colours
        return np.clip(0.4 + 0.08 * smooth_noise(rng, size, 0.7 / size, rng.uniform(0, np.pi), 4), 0, 1)
    return np.zeros((size, size), np.float32)  # plain, twill, weave


PATTERNS = {"plain": 0.4, "twill": 0.13, "weave": 0.06, "stripes": 0.09, "plaid": 0.07, "dots": 0.04, "knit": 0.04, "herringbone": 0.02}
PATTERNS |= {"camouflage": 0.02, "flowers": 0.03, "letters": 0.02, "denim": 0.06, "heather": 0.02}  # kind: its share of all fabrics


def fabric(rng: np.random.Generator, size: int, unit: float) -> np.ndarray:
    """A flat piece of fabric that fills the frame, (H, W, 3). unit: the width of a chest as a share of the frame."""
    kind = rng.choice(list(PATTERNS), p=list(PATTERNS.values()))
    period = max(unit * rng.choice([0.04, 0.08, 0.16]) * rng.uniform(0.7, 1.4), 4.5 / size)
    x, y = frame(size)
    angle = rng.normal(0, 0.15) if rng.random() < 0.8 else rng.uniform(0, np.pi)
    bend = 0.25 * period
    u = math.cos(angle) * x + math.sin(angle) * y + bend * smooth_noise(rng, size, 0.3)
    v = math.cos(angle) * y - math.sin(angle) * x + bend * smooth_noise(rng, size, 0.3)
    base = np.array(colorsys.hsv_to_rgb(rng.uniform(0.56, 0.65), rng.uniform(0.2, 0.7), rng.uniform(0.25, 0.7)), np.float32)
    base = base if kind == "denim" else colour(rng)
    second = base + 0.7 * (1 - base) if kind == "denim" else contrasting(rng, base)
    cloth = base + _pattern(rng, kind, u, v, period)[..., None] * (second - base)
    if kind == "flowers":
        cloth = mix(cloth, contrasting(rng, second), _scattered(rng, size, 0.7 * period))
    threads = max(unit * 0.012, rng.uniform(2.1, 3.5) / size)  # the weave, as fine as pixels can show it
    if kind in ("twill", "denim"):
        relief = np.sin(2 * np.pi / threads * (u + v))
    else:
        relief = np.sin(2 * np.pi / threads * u) * np.sin(2 * np.pi / threads * v)
    grain = rng.uniform(0.003, 0.02) * relief + rng.uniform(0.002, 0.012) * rng.standard_normal((size, size), dtype=np.float32)
    return np.clip(cloth * (1 + (2.5 if kind == "weave" else 1) * grain)[..., None], 0, 1)
