"""A pinhole camera, and images painted by numbers: colour, part and depth of every pixel, exactly. Used by cars.py.

Every flat polygon is painted with a number of its own, back to front, several times larger than asked for; what the numbers stand for is
looked up at the end. The depth of a plane needs no more than three numbers: 1 / z is an affine function of the position in the image.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ddpm_utils.data.synthetic.vehicles import PARTS

NEAREST = 0.5  # distance, as a share of that of the scene's middle, at which depth is 0


class Camera(NamedTuple):
    """A pinhole camera. axes: rows that point right, down and forward; focal and shift in shares of the frame; distance to the scene's middle."""

    position: np.ndarray
    axes: np.ndarray
    focal: float
    shift: np.ndarray
    distance: float

    def view(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) points of the scene in the camera's axes."""
        return (points - self.position) @ self.axes.T

    def project(self, view: np.ndarray) -> np.ndarray:
        """(n, 3) in the camera's axes -> (n, 2) positions in the image, 0 .. 1 to the right and down."""
        return self.focal * view[:, :2] / view[:, 2:] + self.shift

    def nearness(self, view: np.ndarray) -> np.ndarray:
        """(a, b, c, least, most) of a flat polygon (n, 3) of `view`: at (x, y) in the image distance / z = a x + b y + c.

        Samples on its outline may lie outside by a fraction; they are kept between the least and the most of its corners, which a face that
        is seen at a grazing angle would otherwise exceed by far.
        """
        normal = cross(view[1] - view[0], view[2] - view[0])
        normal = normal * (self.distance / (normal @ view[0]))
        slope = normal[:2] / self.focal
        z = view[:, 2]
        return np.array([*slope, normal[2] - slope @ self.shift, self.distance / z.max(), self.distance / z.min()])


class Painting:
    """An image of `samples` by `samples` numbers, and what each number stands for."""

    def __init__(self, camera: Camera, samples: int):
        self.camera, self.samples = camera, samples
        self.numbers = Image.new("L", (samples, samples))
        self.brush = ImageDraw.Draw(self.numbers)
        self.colours, self.slopes, self.parts, self.planes = [], [], [], []

    def fill(self, outline: np.ndarray, colour: np.ndarray, part: int, plane: np.ndarray, slope: np.ndarray | float = 0.0) -> None:
        """Paint a polygon (n, 2), 0 .. 1. slope: how much brighter it is at the image's bottom than at its top. plane: of Camera.nearness."""
        self.brush.polygon((outline * self.samples - 0.5).ravel().tolist(), fill=len(self.colours))
        self.colours.append(colour)
        self.slopes.append(slope + np.zeros(3))
        self.parts.append(part)
        self.planes.append(plane)

    def flat(self, corners: np.ndarray, colour: np.ndarray, part: int, plane: np.ndarray | None = None, shine: float = 0.0) -> None:
        """Paint a flat polygon (n, 3) of the scene, as far as it lies before the camera. shine: how much brighter its top is than its bottom."""
        view = in_front(self.camera.view(corners))
        outline = self.camera.project(view)
        plane = self.camera.nearness(view) if plane is None else plane
        slope = 0.0
        if shine:
            top, bottom = outline[:, 1].min(), outline[:, 1].max()
            slope = -shine / max(bottom - top, 0.02)
            colour = colour - slope * (top + bottom) / 2
        self.fill(outline, colour, part, plane, slope)

    def developed(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image uint8, parts uint8 and depth float32, with n by n samples a pixel."""
        numbers, size = np.asarray(self.numbers), self.samples // n
        centres = (np.arange(self.samples, dtype=np.float32) + 0.5) / self.samples
        light = np.array(self.colours, np.float32)[numbers] + np.array(self.slopes, np.float32)[numbers] * centres[:, None, None]
        image = light.clip(0, 1).reshape(size, n, size, n, 3).sum(1).sum(2) / n**2
        a, b, c, least, most = np.array(self.planes, np.float32).T[:, numbers]
        depth = (1 - NEAREST * (a * centres + b * centres[:, None] + c).clip(least, most)).clip(0, 1)
        pixels = np.arange(size * size).reshape(size, size).repeat(n, 0).repeat(n, 1)
        bins = (len(PARTS) * pixels + np.array(self.parts)[numbers]).ravel()  # of each sample: its pixel and part
        counts, depths = (np.bincount(bins, w, len(PARTS) * size * size).reshape(-1, len(PARTS)) for w in (None, depth.ravel()))
        part = counts.argmax(1)
        chosen = np.arange(size * size), part
        depth = (depths[chosen] / counts[chosen]).astype(np.float32)
        return (image * 255).round().astype(np.uint8), part.reshape(size, size).astype(np.uint8), depth.reshape(size, size)


def in_front(view: np.ndarray, near: float = 0.5) -> np.ndarray:
    """The part of a convex polygon (n, 3) that lies at least `near` before the camera."""
    if view[:, 2].min() >= near:
        return view
    kept = []
    for a, b in zip(view, np.roll(view, -1, 0)):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            kept.append(a + (near - a[2]) / (b[2] - a[2]) * (b - a))
    return np.array(kept)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product of two vectors (3,); ten times as fast as numpy's."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
