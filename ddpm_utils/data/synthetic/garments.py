"""Scenes for chapter 06: details of clothes, and scenes without any; people.py dresses whole figures. All of it is what a retoucher keeps.

A scene is painted from back to front. Seams, buttons, pockets, pleats, big folds, prints, shadows, skin and hair are all part of it, and so
of both images of a pair; wrinkles.py adds what a retoucher removes.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ddpm_utils.data.synthetic import backgrounds, fabrics
from ddpm_utils.data.synthetic.fabrics import blurred, edge, ellipse, frame, smooth_noise, strokes


@dataclass
class Scene:
    """An image in parts: colours (H, W, 3), how much of each pixel is cloth (H, W), and the log of the light that falls on it (H, W).

    unit: the width of a chest as a share of the frame. light: where it comes from in the image's plane. joints: where folds start.
    """

    colours: np.ndarray
    cloth: np.ndarray
    light_log: np.ndarray
    unit: float
    light: np.ndarray
    joints: list[np.ndarray] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.cloth)

    def pressed(self) -> np.ndarray:
        """The image (H, W, 3) that a lens would see; more than 1 where it is very bright."""
        return self.colours * np.exp(self.light_log)[..., None]

    def paint(self, coverage: np.ndarray, colours: np.ndarray, cloth: bool, depth: float = 0.03) -> None:
        """Put a body or a piece of cloth over what is there: rounded to `depth` (share of the frame) from its edges, with a soft shadow."""
        soft = blurred(coverage, depth)
        self.light_log -= 0.35 * soft  # on what lies beneath
        dy, dx = np.gradient(soft, depth * self.size)
        towards = -(dx * self.light[0] + dy * self.light[1])
        rounded = 0.5 * towards * depth * self.size + 0.5 * (soft - 1)
        self.light_log += coverage * (rounded - self.light_log)
        self.colours = fabrics.mix(self.colours, colours, coverage)
        self.cloth = self.cloth + coverage * (cloth - self.cloth)

    def put(self, coverage: np.ndarray, colours: np.ndarray) -> None:
        """Put something flat and smooth on it: a button, an eye."""
        self.colours = fabrics.mix(self.colours, colours, coverage)
        self.cloth = self.cloth * (1 - coverage)


# --- things that clothes carry ---


def seam(rng: np.random.Generator, scene: Scene, line: np.ndarray, stitched: bool) -> None:
    """A groove with a bright lip along a polyline (n, 2), and a row of stitches beside it."""
    width = max(0.012 * scene.unit, 0.7 / scene.size)
    along = np.gradient(line, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    scene.light_log -= rng.uniform(0.2, 0.6) * strokes(scene.size, [line], width) * scene.cloth
    scene.light_log += rng.uniform(0.05, 0.2) * strokes(scene.size, [line + 1.3 * width * across], width) * scene.cloth
    if stitched:
        steps = np.linspace(0, len(line) - 1, 60)
        row = np.stack([np.interp(steps, range(len(line)), (line + 3 * width * across)[:, axis]) for axis in (0, 1)], 1)
        scene.light_log -= rng.uniform(0.1, 0.4) * strokes(scene.size, [row[k : k + 2] for k in range(0, 59, 2)], 0.7 * width) * scene.cloth


def buttons(rng: np.random.Generator, scene: Scene, line: np.ndarray, count: int, radius: float) -> None:
    """Round buttons along a polyline, each with a shadow and holes."""
    shade = fabrics.colour(rng, values=(0.1, 0.9))
    for t in np.linspace(0.06, 0.94, count) * (len(line) - 1):
        centre = np.array([np.interp(t, range(len(line)), line[:, axis]) for axis in (0, 1)])
        disc = ellipse(scene.size, centre, (radius, radius))
        if disc.any():
            scene.light_log -= 0.4 * ellipse(scene.size, centre - 0.3 * radius * scene.light, (1.2 * radius, 1.2 * radius)) * (1 - disc)
            scene.put(disc, shade)
            scene.light_log -= 0.5 * ellipse(scene.size, centre, (0.3 * radius, 0.3 * radius)) + 0.3 * disc * scene.light_log


def pocket(rng: np.random.Generator, scene: Scene, corner: np.ndarray, width: float) -> None:
    """A patch pocket: a stitched outline."""
    outline = width * np.array([[0, 0], [1, 0], [1, 0.9], [0.5, 1.1], [0, 0.9], [0, 0]])
    seam(rng, scene, corner + outline, bool(rng.random() < 0.6))


def folds(rng: np.random.Generator, scene: Scene, coverage: np.ndarray, angle: float) -> None:
    """Big folds that a garment has by its cut, its weight and the body in it, most along `angle`; they stay.

    Waves, gathers, sharp pleats, or long single folds; drawn where `coverage` (H, W) is.
    """
    size, unit = scene.size, scene.unit
    kind = rng.choice(["none", "waves", "gathers", "pleats", "long"], p=[0.15, 0.3, 0.18, 0.12, 0.25])
    if kind == "none":
        return
    if kind == "waves":
        scale = max(rng.uniform(0.09, 0.22) * unit, 0.03)
        height = smooth_noise(rng, size, scale, angle, rng.uniform(1.5, 5)) * scale
    elif kind == "long":
        height = fabrics.ridges(rng, size, int(rng.integers(2, 7)), (0.5 * unit, 1.5 * unit), (0.07 * unit, 0.18 * unit), angle)
    else:
        x, y = frame(size)
        period = max(rng.uniform(0.1, 0.35) * unit, 6 / size)
        along, across = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
        wander = (0.5 if kind == "gathers" else 0.04) * smooth_noise(rng, size, 0.2, angle, 3)
        phase = across * (1 + rng.uniform(-0.3, 0.3) * along) / period + wander
        height = np.sin(2 * np.pi * phase) + 0.3 * np.sin(4 * np.pi * phase) if kind == "gathers" else phase % 1
        height = blurred(height, 0.7 / size)
    dy, dx = np.gradient(height)
    slope = -(dx * scene.light[0] + dy * scene.light[1])
    shade = np.tanh(slope / (slope.std() + 1e-6))
    scene.light_log += rng.uniform(0.08, 0.35) * (shade - 0.3 * np.abs(shade)) * coverage


def shadow(rng: np.random.Generator, scene: Scene) -> None:
    """A cast shadow with a hard or a soft edge over everything."""
    x, y = frame(scene.size)
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
    distance = math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5) - offset
    if rng.random() < 0.4:
        distance = np.minimum(distance, rng.uniform(0.05, 0.3) - distance)
    scene.light_log -= rng.uniform(0.15, 0.6) * edge(distance * rng.choice([1.0, 0.5, 0.1]))


# --- scenes ---


def empty_scene(rng: np.random.Generator, colours: np.ndarray, unit: float, cloth: float) -> Scene:
    """A scene of these colours (H, W, 3), evenly lit, `cloth` (0 or 1) all over; the direction of the light is drawn."""
    size, angle = len(colours), rng.uniform(0, 2 * np.pi)
    light = np.array([math.cos(angle), math.sin(angle)], np.float32)
    return Scene(colours, np.full((size, size), cloth, np.float32), np.zeros((size, size), np.float32), unit, light)


def crop(rng: np.random.Generator, size: int) -> Scene:
    """A detail of a garment: cloth fills the frame."""
    unit = math.exp(rng.uniform(-0.5, 0.6))  # from 0.6 to 1.8: the frame shows 1.65 to 0.55 chest widths
    scene = empty_scene(rng, fabrics.fabric(rng, size, unit), unit, 1.0)
    scene.light_log += rng.uniform(0.03, 0.12) * smooth_noise(rng, size, 0.3)
    if rng.random() < 0.3:  # a second piece of cloth over the first: hem, lapel, sleeve
        x, y = frame(size)
        angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.4)
        u, v = math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5), math.cos(angle) * (y - 0.5) - math.sin(angle) * (x - 0.5)
        colours = scene.colours * rng.uniform(0.8, 1.1) if rng.random() < 0.6 else fabrics.fabric(rng, size, unit)
        scene.paint(edge(u + bend * v**2 - rng.uniform(-0.3, 0.3)), np.clip(colours, 0, 1), True, rng.uniform(0.01, 0.03))
    folds(rng, scene, scene.cloth, rng.uniform(0, np.pi))
    ends = rng.uniform(-0.1, 1.1, (2, 2))
    line = np.linspace(*ends, 9) + 0.1 * rng.normal(0, 1, 2) * np.linspace(-1, 1, 9)[:, None] ** 2
    if rng.random() < 0.4:
        seam(rng, scene, line, bool(rng.random() < 0.5))
        if rng.random() < 0.4:
            buttons(rng, scene, line + 0.05 * unit, int(rng.integers(2, 5)), rng.uniform(0.015, 0.03) * unit)
    if rng.random() < 0.15:
        pocket(rng, scene, rng.uniform(0.1, 0.6, 2), rng.uniform(0.25, 0.5) * unit)
    if rng.random() < 0.15:
        shadow(rng, scene)
    scene.joints = list(rng.uniform(-0.1, 1.1, (3, 2)))
    return scene


def still(rng: np.random.Generator, size: int) -> Scene:
    """A scene without a garment: materials, clutter, things near and far, cracks and branches, print, hair-like lines."""
    kind = rng.choice(["background", "clutter", "material"], p=[0.25, 0.25, 0.5])
    if kind == "clutter":
        colours = backgrounds.clutter(rng, size, int(rng.integers(50, 400)))
    else:
        colours = {"background": backgrounds.background, "material": backgrounds.material}[kind](rng, size)
    if rng.random() < 0.6:
        colours = backgrounds.things(rng, colours, int(rng.integers(1, 9)))
    scene = empty_scene(rng, colours, 1.0, 0.0)
    if rng.random() < 0.3:
        scene.light_log += backgrounds.scratches(rng, size)
    if rng.random() < 0.2:
        for _ in range(rng.integers(1, 5)):
            scene.put(fabrics.letters(rng, size, rng.uniform(0.1, 0.9, 2), rng.uniform(0.05, 0.25)), fabrics.colour(rng))
    if rng.random() < 0.2:
        hair(rng, scene, rng.uniform(0, 1, 2), rng.uniform(0.3, 1), fabrics.colour(rng, values=(0.05, 0.5)))
    if rng.random() < 0.3:
        shadow(rng, scene)
    return scene


def hair(rng: np.random.Generator, scene: Scene, root: np.ndarray, length: float, tint: np.ndarray) -> None:
    """Strands from around `root`, hanging down."""
    t = np.linspace(0, 1, 7)[:, None]
    lines = []
    for _ in range(rng.integers(15, 50)):
        start, lean, curl = rng.normal(root, 0.12 * length), rng.normal(0, 0.2), rng.normal(0, 0.12)
        lines.append(start + length * np.concatenate([lean * t + curl * np.sin(4 * t), t], 1))
    for part in (lines[::2], lines[1::2]):
        scene.put(strokes(scene.size, part, 0.6 / scene.size), tint * rng.uniform(0.6, 1.5))
