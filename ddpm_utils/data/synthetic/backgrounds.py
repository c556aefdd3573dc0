"""What is not cloth in the images of chapter 06: materials, walls, clutter, solid things. A retoucher leaves all of it alone.

A network that has only seen cloth takes bark, wood, gravel or the gloss on a cup for wrinkles; here it learns what they look like.
Conventions as in fabrics.py.
"""

import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import fft, ndimage

from ddpm_utils.data.synthetic.fabrics import blurred, colour, edge, frame, mix, smooth_noise, strokes, zigzag

# --- materials ---


def fractal(rng: np.random.Generator, size: int, slope: float, angle: float = 0.0, stretch: float = 1.0) -> np.ndarray:
    """Noise of unit variance whose amplitudes fall as f^-slope, as in natural images (there about 1); `stretch` times longer along `angle`."""
    fx, fy = fft.rfftfreq(size, 1 / size).astype(np.float32)[None], fft.fftfreq(size, 1 / size).astype(np.float32)[:, None]
    along, across = math.cos(angle) * fx + math.sin(angle) * fy, math.cos(angle) * fy - math.sin(angle) * fx
    f = np.sqrt((stretch * along) ** 2 + across**2)
    f[0, 0] = np.inf
    noise = fft.irfft2(fft.rfft2(rng.standard_normal((size, size), dtype=np.float32)) * f**-slope, (size, size))
    return noise / (noise.std() + 1e-9)


def relief(rng: np.random.Generator, height: np.ndarray) -> np.ndarray:
    """The log of the light on a rough surface lit from the side, (H, W), of unit variance but for what is too steep."""
    dy, dx = np.gradient(height)
    angle = rng.uniform(0, 2 * np.pi)
    slope = dx * math.cos(angle) + dy * math.sin(angle)
    return np.tanh(slope / (slope.std() + 1e-9))


def material(rng: np.random.Generator, size: int) -> np.ndarray:
    """A material that fills the frame, (H, W, 3): stone, plaster, cloud, bark, fur, grass, gravel, wood, or bricks."""
    kind = rng.choice(["rough", "fibres", "cells", "wood", "bricks"], p=[0.3, 0.25, 0.15, 0.2, 0.1])
    angle, slope = rng.uniform(0, np.pi), rng.uniform(0.8, 1.8)
    if kind == "fibres":  # fur, grass, bark
        tone = fractal(rng, size, slope, angle, rng.uniform(2, 10))
    elif kind == "cells":  # gravel, leather, scales: where two fields of bumps cross
        scale = rng.uniform(0.008, 0.04) + 1 / size
        tone = 2 - 3 * np.abs(smooth_noise(rng, size, scale)) + 0.3 * fractal(rng, size, slope)
    elif kind == "wood":  # years in waves, and pores along them
        x, y = frame(size)
        across = math.cos(angle) * y - math.sin(angle) * x + rng.uniform(0.02, 0.1) * fractal(rng, size, 1.8, angle, rng.uniform(3, 8))
        tone = np.sin(2 * np.pi * across / rng.uniform(0.03, 0.15)) + rng.uniform(0.2, 1) * fractal(
            rng, size, 0.6, angle, rng.uniform(5, 20)
        )
    else:
        tone = fractal(rng, size, slope)
    first, second = colour(rng), colour(rng)
    if rng.random() < 0.7:
        second = first * rng.uniform(0.2, 0.8)
    image = mix(np.broadcast_to(first, (size, size, 3)), second, np.clip(0.5 + rng.uniform(0.15, 0.5) * tone, 0, 1))
    light = rng.uniform(0, 0.3) * relief(rng, tone if kind != "wood" else fractal(rng, size, slope)) + 0.1 * smooth_noise(rng, size, 0.3)
    if kind == "bricks":
        light = light - rng.uniform(0.1, 0.6) * joints(rng, size, rng.uniform(0.06, 0.25), rng.uniform(0.3, 0.6), 0.5)
    return np.clip(image * np.exp(light)[..., None], 0, 1)


def joints(rng: np.random.Generator, size: int, pitch: float, aspect: float, offset: float) -> np.ndarray:
    """The lines (H, W) between tiles `pitch` wide and `aspect` times as high; every other row is moved by `offset` of a tile."""
    x, y = frame(size)
    moved = x + pitch * offset * (np.floor(y / (pitch * aspect)) % 2)
    width = max(rng.uniform(0.02, 0.06) * pitch, 0.6 / size)
    gaps = [1 - edge(zigzag(u + 0.5 * p, p) * p / 2 - width) for u, p in ((moved, pitch), (y, pitch * aspect))]
    return np.maximum(*gaps)


# --- things ---


def clutter(rng: np.random.Generator, size: int, leaves: int) -> np.ndarray:
    """Things that hide each other: opaque shapes whose radii follow a power law, as in natural images ("dead leaves")."""
    scale = 2 * size
    canvas = Image.new("RGB", (scale, scale), tuple(int(255 * c) for c in colour(rng)))
    draw = ImageDraw.Draw(canvas)
    palette = [colour(rng) for _ in range(5)]
    radii = np.sort(0.012 * rng.random(leaves) ** -0.7)[::-1].clip(max=0.35) * scale
    for radius in radii:
        x, y = rng.uniform(-0.05, 1.05, 2) * scale
        fill = tuple(int(c) for c in (255 * palette[rng.integers(5)] * rng.uniform(0.5, 1.1)).clip(0, 245))
        kind, aspect = rng.integers(4), rng.uniform(0.3, 1)
        if kind == 0:
            draw.ellipse([x - radius, y - aspect * radius, x + radius, y + aspect * radius], fill=fill)
        elif kind == 1:
            draw.rectangle([x - aspect * radius, y - radius, x + aspect * radius, y + radius], fill=fill)
        elif kind == 2:
            draw.polygon([tuple(p) for p in rng.normal((x, y), radius, (rng.integers(3, 6), 2))], fill=fill)
        else:
            draw.line([tuple(p) for p in rng.normal((x, y), 2 * radius, (2, 2))], fill=fill, width=max(1, int(0.2 * radius)))
    image = np.asarray(canvas.reduce(2), np.float32) / 255
    return image * np.exp(0.15 * smooth_noise(rng, size, 0.05))[..., None]


def things(rng: np.random.Generator, colours: np.ndarray, count: int) -> np.ndarray:
    """Solid things before `colours` (H, W, 3): balls, cups, boxes and rods, shaded as round, many glossy, with rims and soft shadows."""
    size, angle = len(colours), rng.uniform(0, 2 * np.pi)
    light = np.array([math.cos(angle), math.sin(angle)])
    for _ in range(count):
        centre, radius, turn = rng.uniform(0, 1, 2), rng.uniform(0.04, 0.3), rng.uniform(0, 2 * np.pi)
        aspect = rng.choice([1.0, rng.uniform(0.15, 0.9)])
        axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        x, y = frame(size)
        u, v = (axes[k, 0] * (x - centre[0]) + axes[k, 1] * (y - centre[1]) for k in (0, 1))
        u, v = u / radius, v / (radius * aspect)
        if rng.random() < 0.6:  # a ball, or a plate seen from the side
            inside, nu, nv = (1 - np.hypot(u, v)) * radius * aspect, u, v
        else:  # a rod, a cup, a box with round edges
            inside, nu, nv = (1 - np.maximum(np.abs(u), np.abs(v))) * radius * aspect, np.sign(u) * np.abs(u) ** rng.integers(1, 12), v
        coverage = edge(inside)
        flat = 1 - np.clip(nu**2 + nv**2, 0, 0.98)
        normal = nu[..., None] * axes[0] + nv[..., None] * axes[1]  # (H, W, 2), its length at most 1
        towards = np.clip(normal @ light * 0.7 + 0.7 * np.sqrt(flat), 0, None)  # a lamp 45 degrees above the image's plane
        gloss = rng.choice([0.0, 0.4, 0.9]) * np.clip(towards, 0, 1) ** rng.uniform(8, 80)
        rim = rng.choice([0.0, 0.5]) * np.exp(-((inside - rng.uniform(0.02, 0.12) * radius) ** 2) / (0.015 * radius + 0.5 / size) ** 2)
        base = material(rng, size) if rng.random() < 0.2 else np.broadcast_to(colour(rng), (size, size, 3))
        shaded = base * (0.35 + 0.65 * np.minimum(towards, 1.1))[..., None] * (1 + rim)[..., None]
        shadow = np.roll(coverage, tuple(np.rint(-0.25 * radius * size * light[::-1]).astype(int)), (0, 1))
        colours = colours * (1 - 0.5 * blurred(shadow, 0.15 * radius))[..., None]
        colours = mix(colours, shaded + gloss[..., None] * (1 - shaded), coverage)
    return np.clip(colours, 0, 1)


def scratches(rng: np.random.Generator, size: int) -> np.ndarray:
    """The log of the light (H, W) of thin lines over a surface: cracks, branches, vessels, cables, or gleams."""
    lines = []
    for _ in range(rng.integers(2, 15)):
        steps = np.cumsum(rng.normal(0, 0.25, 12)) + rng.uniform(0, 2 * np.pi)
        lines.append(rng.uniform(0, 1, 2) + rng.uniform(0.02, 0.08) * np.cumsum(np.stack([np.cos(steps), np.sin(steps)], 1), axis=0))
    drawn = strokes(size, lines, rng.uniform(0.8, 4) / size)
    return rng.choice([-1, -1, 1]) * rng.uniform(0.1, 0.6) * blurred(drawn, rng.uniform(0, 1.5) / size)


# --- what is behind a garment ---


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """What is behind a garment: wall, wall and floor, tiles, curtain, foliage, a material, or things in or out of focus; (H, W, 3)."""
    x, y = frame(size)
    kind = rng.choice(
        ["wall", "floor", "tiles", "curtain", "foliage", "blurred", "material", "things"], p=[0.26, 0.12, 0.08, 0.08, 0.06, 0.2, 0.1, 0.1]
    )
    if kind == "material":
        return material(rng, size)
    if kind in ("blurred", "things"):
        image = things(
            rng, material(rng, size) if rng.random() < 0.5 else clutter(rng, size, int(rng.integers(40, 250))), int(rng.integers(1, 7))
        )
        sigma = rng.uniform(0.008, 0.05) * size
        return ndimage.gaussian_filter(image, (sigma, sigma, 0)) if kind == "blurred" else image
    image = np.ones((size, size, 3), np.float32) * colour(rng, (0.03, 0.1, 0.2, 0.5), (0.35, 0.97))
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0, 0.25) * ((x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)) * 2 + 0.04 * smooth_noise(rng, size, 0.25)
    if kind == "floor":
        horizon = rng.uniform(0.5, 0.95)
        image = mix(image, colour(rng), edge(y - horizon + rng.normal(0, 0.05) * (x - 0.5)))
        light = light - 0.3 * np.exp(-(((y - horizon) / 0.006) ** 2))
    if kind == "tiles":
        light = light - rng.uniform(0.1, 0.4) * joints(rng, size, rng.uniform(0.08, 0.3), rng.uniform(0.4, 1), 0.0)
    if kind == "curtain":
        light = light + 0.18 * np.sin(2 * np.pi * (x / rng.uniform(0.05, 0.2) + 0.3 * smooth_noise(rng, size, 0.15, np.pi / 2, 6)))
    if kind == "foliage":
        light = light + 0.35 * smooth_noise(rng, size, 0.012) + 0.3 * np.tanh(3 * smooth_noise(rng, size, 0.035))
        image = image * np.array([0.5, 0.75, 0.4], np.float32)
    return np.clip(image * np.exp(light)[..., None], 0, 1)
