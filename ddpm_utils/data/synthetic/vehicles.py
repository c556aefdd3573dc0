"""The shapes of toy cars, for cars.py: body types as convex solids of flat faces, and what is painted upon them.

Lengths are metres; x points to the car's front, y to its left, z up, and the wheels stand on z = 0. Colours are (3,) in 0 .. 1.
"""

import colorsys
from typing import NamedTuple

import numpy as np

PARTS = ("background", "road", "body", "windows", "wheels")
BACKGROUND, ROAD, BODY, WINDOWS, WHEELS = range(5)
DARK, GLASS, CHROME = np.array([0.13, 0.13, 0.15]), np.array([0.22, 0.31, 0.4]), np.array([0.78, 0.79, 0.8])
CIRCLE = np.stack([np.cos(np.arange(20) * np.pi / 10), np.zeros(20), np.sin(np.arange(20) * np.pi / 10)], 1)
LAMP, TAIL = np.array([1, 0.95, 0.72]), np.array([0.9, 0.08, 0.07])


class Upper(NamedTuple):
    """A solid on the body: (rear, front) at its foot and at its top, height of the top, half widths there, side windows from rear to front."""

    foot: tuple[float, float]
    top: tuple[float, float]
    height: float
    halves: tuple[float, float]
    windows: tuple[tuple[float, float], ...] = ()
    ends: bool = True  # windows at front and rear
    cargo: bool = False  # a colour of its own
    above: float = 0.0  # its foot above the body


class Shape(NamedTuple):
    """A body type. low: rear, front, bottom, belt line, where the bonnet begins, height of its nose."""

    low: tuple[float, float, float, float, float, float]
    half: float
    wheels: tuple[float, ...]
    radius: float
    uppers: tuple[Upper, ...]


SHAPES = {
    "bus": Shape(
        (-3.4, 3.4, 0.3, 1.15, 3.3, 1.0),
        1.15,
        (-2.1, 2.2),
        0.47,
        (Upper((-3.4, 3.35), (-3.36, 3.2), 2.6, (1.15, 1.08), tuple((0.03 + 0.16 * k, 0.16 + 0.16 * k) for k in range(6))),),
    ),
    "hatchback": Shape(
        (-1.75, 1.85, 0.28, 0.95, 0.95, 0.78),
        0.86,
        (-1.12, 1.2),
        0.38,
        (Upper((-1.74, 1.0), (-1.4, 0.15), 1.55, (0.86, 0.66), ((0.09, 0.46), (0.53, 0.9))),),
    ),
    "pickup": Shape(
        (-2.55, 2.4, 0.42, 1.05, 1.2, 0.88),
        0.95,
        (-1.6, 1.5),
        0.46,
        (Upper((-0.45, 1.25), (-0.3, 0.5), 1.75, (0.93, 0.72), ((0.08, 0.42), (0.52, 0.88))),),
    ),
    "sedan": Shape(
        (-2.25, 2.2, 0.28, 0.95, 1.0, 0.76),
        0.88,
        (-1.35, 1.4),
        0.38,
        (Upper((-1.7, 1.05), (-0.95, 0.2), 1.48, (0.88, 0.66), ((0.12, 0.46), (0.53, 0.88))),),
    ),
    "sports car": Shape(
        (-2.1, 2.25, 0.18, 0.76, 0.7, 0.56),
        0.95,
        (-1.3, 1.35),
        0.33,
        (
            Upper((-1.5, 0.8), (-0.6, -0.1), 1.14, (0.9, 0.58), ((0.3, 0.88),)),
            Upper((-2.15, -1.8), (-2.15, -1.8), 1.06, (0.9, 0.9), ends=False, above=0.22),
        ),
    ),
    "truck": Shape(
        (-3.1, 2.9, 0.45, 0.85, 2.82, 0.78),
        1.0,
        (-2.2, -1.1, 2.0),
        0.48,
        (
            Upper((1.35, 2.88), (1.4, 2.5), 2.2, (1.0, 0.9), ((0.3, 0.86),)),
            Upper((-3.1, 1.15), (-3.1, 1.15), 2.85, (1.1, 1.1), ends=False, cargo=True),
        ),
    ),
    "van": Shape(
        (-2.3, 2.3, 0.3, 1.1, 1.75, 0.85),
        0.97,
        (-1.45, 1.5),
        0.4,
        (Upper((-2.28, 1.78), (-2.22, 0.85), 2.1, (0.97, 0.82), ((0.06, 0.33), (0.39, 0.64), (0.7, 0.93))),),
    ),
}
TYPES = tuple(SHAPES)


class Face(NamedTuple):
    """A flat convex polygon (n, 3), its colour and part, and what is painted upon it: (polygon, colour, part).

    level: how high its solid stands, 0 for the body. x: from where to where its solid reaches. outwards: 1 where the corners run
    counter-clockwise as seen from outside, else -1.
    """

    corners: np.ndarray
    colour: np.ndarray
    part: int
    decals: list[tuple[np.ndarray, np.ndarray, int]]
    level: int = 0
    x: tuple[float, float] = (0.0, 0.0)
    outwards: int = 1


class Wheel(NamedTuple):
    """The middle of a wheel's outer side is at (x, y, radius)."""

    x: float
    y: float
    radius: float


def _patch(quad: np.ndarray, u0: float, u1: float, v0: float, v1: float) -> np.ndarray:
    """The part of a quadrilateral (4, d) between shares u of its first side and v of its second."""
    bottom, top = quad[0] + np.outer((u0, u1), quad[1] - quad[0]), quad[3] + np.outer((u0, u1), quad[2] - quad[3])
    across = top - bottom
    return np.concatenate([bottom + v0 * across, (bottom + v1 * across)[::-1]])


def _solid(profile: np.ndarray, halves: tuple[float, float], colour: np.ndarray, level: int) -> list[Face]:
    """A profile (n, 2) of x and z, drawn out to both sides: two sides, then a strip for each edge. halves: half widths at foot and top."""
    x, z = profile.T
    half = halves[0] + (halves[1] - halves[0]) * (z - z.min()) / (z.max() - z.min())
    left, right = np.stack([x, half, z], 1), np.stack([x, -half, z], 1)
    after = [*range(1, len(x)), 0]
    strips = [np.array([right[i], left[i], left[k], right[k]]) for i, k in enumerate(after)]
    reach = (float(x.min()), float(x.max()))
    return [Face(corners, colour, BODY, [], level, reach, outwards=-1 if corners is left else 1) for corners in (left, right, *strips)]


def build(rng: np.random.Generator, shape: Shape) -> tuple[list[Face], list[Wheel]]:
    """A car of this shape, in colours and proportions of its own."""
    colour, accent = paint(rng), paint(rng)
    stretch = rng.uniform(0.93, 1.07, 3)
    two_tone, striped = rng.random() < 0.25, rng.random() < 0.3
    rear, front, bottom, belt, bonnet, nose = shape.low
    low = np.array([[rear + 0.1, bottom], [front - 0.1, bottom], [front, 0.6 * bottom + 0.4 * nose], [front - 0.12, nose], [bonnet, belt],
                    [rear + 0.08, belt], [rear, 0.5 * (bottom + belt)]])  # fmt: skip
    chassis = any(upper.cargo for upper in shape.uppers)
    faces = _solid(low, (shape.half, shape.half), DARK + 0.1 if chassis else colour, 0)
    left, right, _, bumper, lights, hood, deck, tail, skirt = faces
    for side in (left, right):
        y = side.corners[0, 1]
        box = np.array([[rear + 0.1, y, bottom], [front - 0.1, y, bottom], [front - 0.1, y, belt], [rear + 0.1, y, belt]])
        side.decals.append((_patch(box, 0, 1, 0, 0.16), DARK + 0.05, BODY))
        if striped and not chassis:
            side.decals.append((_patch(box, 0, 0.97, 0.42, 0.6), accent, BODY))
        for centre in shape.wheels:
            arch = disc(centre, y, shape.radius, 1.18 * shape.radius)
            side.decals.append((np.stack([arch[:, 0], arch[:, 1], arch[:, 2].clip(bottom, belt)], 1), DARK, BODY))
    for face in (bumper, skirt):
        face.decals.append((_patch(face.corners, 0, 1, 0, 1), DARK + 0.08, BODY))
    lights.decals.append((_patch(lights.corners, 0.3, 0.7, 0.1, 0.75), DARK, BODY))
    for u in (0.03, 0.75):
        lights.decals.append((_patch(lights.corners, u, u + 0.22, 0.15, 0.9), LAMP, BODY))
        tail.decals.append((_patch(tail.corners, u, u + 0.22, 0.2, 0.85), TAIL, BODY))
    tail.decals.append((_patch(tail.corners, 0.36, 0.64, 0.3, 0.8), CHROME, BODY))
    if shape is SHAPES["pickup"]:
        deck.decals.append((_patch(deck.corners, 0.08, 0.92, 0.5, 0.97), DARK, BODY))
    if shape is SHAPES["sports car"] and striped:
        for face in (hood, deck):
            face.decals.append((_patch(face.corners, 0.38, 0.62, 0, 1), accent, BODY))
    closed = int(rng.integers(0, 3)) if shape is SHAPES["van"] else 0  # a delivery van has fewer windows
    for upper in shape.uppers:
        second = accent if upper.cargo or (two_tone and upper.ends) else colour
        faces += _cabin(upper._replace(windows=upper.windows[closed:]), belt, second)
    scaled = [
        face._replace(
            corners=face.corners * stretch,
            decals=[(corners * stretch, *rest) for corners, *rest in face.decals],
            x=(face.x[0] * stretch[0], face.x[1] * stretch[0]),
        )
        for face in faces
    ]
    y = shape.half * stretch[1] + 0.02
    return scaled, [Wheel(x * stretch[0], side * y, shape.radius) for x in shape.wheels for side in (-1, 1)]


def _cabin(upper: Upper, belt: float, colour: np.ndarray) -> list[Face]:
    """What stands on the body: a solid of four edges, with windows."""
    foot = belt + upper.above
    profile = np.array([[upper.foot[0], foot], [upper.foot[1], foot], [upper.top[1], upper.height], [upper.top[0], upper.height]])
    faces = _solid(profile, upper.halves, colour, 1)
    left, right, _, front, _, rear = faces
    if upper.above:
        faces = [face._replace(level=2) for face in faces]
    for side in (left, right):
        side.decals.extend((_patch(side.corners, u0, u1, 0.22, 0.88), GLASS, WINDOWS) for u0, u1 in upper.windows)
    if upper.ends:
        front.decals.append((_patch(front.corners, 0.06, 0.94, 0.1, 0.9), GLASS, WINDOWS))
        rear.decals.append((_patch(rear.corners, 0.1, 0.9, 0.12, 0.78), GLASS, WINDOWS))
    elif upper.windows:
        front.decals.append((_patch(front.corners, 0.06, 0.94, 0.15, 0.9), GLASS, WINDOWS))
    return faces


def disc(x: float, y: float, z: float, radius: float) -> np.ndarray:
    """A regular polygon (20, 3) that stands upright along x."""
    return CIRCLE * radius + (x, y, z)


def paint(rng: np.random.Generator) -> np.ndarray:
    """The colour of a car: three in four are bright, the others white, silver, grey or nearly black."""
    hue, saturation, value = rng.random(), rng.uniform(0.6, 0.95), rng.uniform(0.65, 1)
    grey = rng.choice([0.95, 0.95, 0.7, 0.45, 0.22])
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value)) if rng.random() < 0.75 else np.full(3, grey)
