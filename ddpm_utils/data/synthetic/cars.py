"""Chapter 08's embedded data set: toy cars in colour, drawn from a seed, with everything known about every pixel.

A car is a few convex solids of flat faces and wheels (vehicles.py) on a road, seen by a pinhole camera (painting.py). Body type, colours,
proportions, point of view, light and surroundings are drawn; segmentation and depth are exact.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.synthetic.painting import Camera, Painting, cross
from ddpm_utils.data.synthetic.sets import check_set, count_and_seed
from ddpm_utils.data.synthetic.vehicles import BACKGROUND, CHROME, DARK, ROAD, SHAPES, TYPES, WHEELS, WINDOWS, Face, Wheel, build, disc
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder, filling, whole_files

VERSION = 1  # raise it when other images are drawn: caches and shipped models name it
SMALLEST = 16
COUNT = 5000  # of load_images("toy-cars")
SUPERSAMPLING = 4  # samples a pixel and axis


class Car(NamedTuple):
    """An image (H, W, 3) uint8, its body type's number, the part (H, W) uint8 that covers most of each pixel, and that part's depth there.

    depth (H, W) float32 in [0, 1]: 1 - 0.5 D / z at distance z along the camera's axis, the car's middle being at D; 1 in the sky.
    """

    image: np.ndarray
    label: int
    segmentation: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class CarSet(ImageSet):
    """An ImageSet with the parts (N, H, W) uint8 and the depths (N, H, W) float32 of its pixels."""

    segmentation: np.ndarray | None = None
    depth: np.ndarray | None = None


def draw_car(size: int, seed: tuple[int, ...] | int) -> Car:
    """The toy car of this seed, `size` by `size` pixels: the same scene at every size, whatever was drawn before."""
    if size < SMALLEST:
        raise InputError(f"toy cars need at least {SMALLEST} pixels a side, got {size}")
    rng = np.random.default_rng(seed)
    label = int(rng.integers(len(TYPES)))
    faces, wheels = build(rng, SHAPES[TYPES[label]])
    camera = _camera(rng, faces, wheels)
    painting = Painting(camera, size * SUPERSAMPLING)
    _surroundings(rng, painting)
    _car(rng, painting, faces, wheels)
    image, parts, depth = painting.developed(SUPERSAMPLING)
    return Car(image, label, parts, depth)


def toy_cars(n: int, size: int, seed: int = 0) -> CarSet:
    """n cars, kept in the cache folder and mapped into memory; car i is draw_car(size, (seed, i)), so a larger set begins with the smaller.

    Raises InputError for n < 1, a negative seed, a size under 16 pixels and a disk that is too full.
    """
    check_set("toy cars", n, size, seed, SMALLEST)
    folder = cache_folder() / f"cars-v{VERSION}-{n}x{size}-seed{seed}"
    if not whole_files(folder):
        with filling(folder, 8 * n * size * size) as temporary:
            kinds = {"image": (np.uint8, (size, size, 3)), "segmentation": (np.uint8, (size, size)), "depth": (np.float32, (size, size))}
            stacks = {k: np.lib.format.open_memmap(temporary / f"{k}.npy", "w+", dtype, (n, *shape)) for k, (dtype, shape) in kinds.items()}
            labels = np.empty(n, np.int64)
            for i in tqdm(range(n), desc="drawing cars", unit="car", leave=False, disable=None):
                car = draw_car(size, (seed, i))
                labels[i] = car.label
                for kind, stack in stacks.items():
                    stack[i] = getattr(car, kind)
            for stack in stacks.values():
                stack.flush()
            np.save(temporary / "labels.npy", labels)
    images, parts, depth = (np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in ("image", "segmentation", "depth"))
    return CarSet(images, np.load(folder / "labels.npy"), TYPES, parts, depth)


def cars_by_name(name: str, size: int, split: str) -> CarSet:
    """The set called toy-cars or toy-cars:N; a test set has other cars, a tenth as many."""
    n, seed = count_and_seed(name, COUNT, split, "toy cars")
    return toy_cars(n, size, seed)


# --- the camera ---


def _camera(rng: np.random.Generator, faces: list[Face], wheels: list[Wheel]) -> Camera:
    """Somewhere beside the car, at most 50 degrees to its front or rear, a little above it, and so that it fits into the frame."""
    points = np.concatenate([face.corners for face in faces] + [[[w.x - w.radius, w.y, 0], [w.x + w.radius, w.y, 0]] for w in wheels])
    low, high = points.min(0), points.max(0)
    middle, length = (low + high) / 2, high[0] - low[0]
    side = rng.choice([-1, 1]) * math.pi / 2
    azimuth, elevation = side + math.radians(rng.uniform(-50, 50)), math.radians(rng.uniform(6, 22))
    forward = -np.array([math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)])
    right = cross(forward, np.array([0.0, 0, 1]))
    right /= np.linalg.norm(right)
    distance = rng.uniform(1.9, 2.6) * length
    camera = Camera(middle - distance * forward, np.stack([right, cross(forward, right), forward]), 1.0, np.zeros(2), distance)
    seen = camera.project(camera.view(points))
    low, high = seen.min(0), seen.max(0)
    focal = rng.uniform(0.7, 0.92) / (high - low).max()
    free = 1 - focal * (high - low)  # how far the car can be moved in the frame
    share = np.array([rng.uniform(0.25, 0.75), rng.uniform(0.45, 0.8)])
    return camera._replace(focal=focal, shift=share * free - focal * low)


# --- the scene, from back to front ---


def _surroundings(rng: np.random.Generator, painting: Painting) -> None:
    """Sky, something on the horizon, the ground, and a road along the car."""
    camera = painting.camera
    forward = camera.axes[2]
    horizon = camera.shift[1] + camera.focal * forward[2] / math.hypot(*forward[:2])
    style = rng.choice(["hills", "city", "trees", "studio"], p=[0.3, 0.25, 0.25, 0.2])
    zenith, haze = _sky(rng)
    ground = GROUNDS[rng.integers(len(GROUNDS))] * rng.uniform(0.85, 1.1)
    asphalt = np.array([0.44, 0.45, 0.48]) * rng.uniform(0.7, 1.35)
    if style == "studio":
        zenith = haze = ground = asphalt = 0.35 + 0.6 * rng.random() ** 0.5 * (0.7 + 0.3 * rng.random(3))
    far = np.zeros(5)  # infinitely far
    whole = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    painting.fill(whole, zenith, BACKGROUND, far, (haze - zenith) / max(horizon, 0.2))
    _skyline(rng, painting, str(style), horizon, haze)
    reach = 80.0
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    painting.flat(square * 40 * reach, ground, ROAD if style == "studio" else BACKGROUND, shine=-0.08)
    if style != "studio":
        half, y = rng.uniform(1.9, 3.6), rng.uniform(-0.5, 0.5)
        painting.flat(square * [reach, half, 0] + [0, y, 0], asphalt, ROAD, shine=-0.05)
        for edge in (-1, 1):
            painting.flat(square * [reach, 0.07, 0] + [0, y + edge * 0.92 * half, 0], np.full(3, 0.92), ROAD)


def _sky(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours at the zenith and above the horizon."""
    skies = ((0.35, 0.6, 0.92), (0.85, 0.93, 1.0)), ((0.62, 0.68, 0.75), (0.86, 0.88, 0.9)), ((0.3, 0.35, 0.62), (1.0, 0.72, 0.5))
    skies += (((0.4, 0.75, 0.85), (0.97, 0.95, 0.82)), ((0.1, 0.12, 0.28), (0.35, 0.35, 0.55)))
    zenith, haze = skies[rng.integers(len(skies))]
    return np.array(zenith), np.array(haze)


GROUNDS = tuple(np.array(c) for c in ((0.45, 0.66, 0.33), (0.36, 0.56, 0.36), (0.82, 0.73, 0.52), (0.88, 0.9, 0.93), (0.66, 0.62, 0.57)))


def _skyline(rng: np.random.Generator, painting: Painting, style: str, horizon: float, haze: np.ndarray) -> None:
    """Hills, houses or trees on the horizon."""
    far = np.array([0, 0, 0.08, 0.08, 0.08])  # they stand twelve times as far away as the car
    if style == "hills":
        x = np.linspace(0, 1, 25)
        for layer in range(2):
            height = rng.uniform(0.05, 0.16) / (1 + layer)
            top = horizon - height * (
                1 + 0.6 * np.sin(rng.uniform(4, 9) * x + rng.uniform(0, 6)) + 0.3 * np.sin(14 * x + rng.uniform(0, 6))
            )
            colour = (0.6 - 0.3 * layer) * haze + (0.4 + 0.3 * layer) * np.array([0.3, 0.42, 0.36])
            painting.fill(np.array([[0, horizon + 0.02], *zip(x, top), [1, horizon + 0.02]]), colour, BACKGROUND, far)
    if style == "city":
        left = -0.05
        while left < 1:
            wide, high = rng.uniform(0.08, 0.2), rng.uniform(0.08, 0.38)
            colour = 0.35 * haze + 0.65 * rng.uniform(0.35, 0.75) * (0.85 + 0.3 * rng.random(3))
            house = np.array([[left, horizon - high], [left + wide, horizon - high], [left + wide, horizon + 0.02], [left, horizon + 0.02]])
            painting.fill(house, colour, BACKGROUND, far)
            left += wide
    if style == "trees":
        for x in np.arange(0, 1.1, 0.14) + rng.uniform(-0.05, 0.05, 8):
            high = rng.uniform(0.07, 0.15)
            crown = disc(x, 0, horizon - 0.8 * high, high)[:, [0, 2]]
            painting.fill(crown, np.array([0.22, 0.42, 0.24]) * rng.uniform(0.7, 1.3), BACKGROUND, far, -0.5)


def _car(rng: np.random.Generator, painting: Painting, faces: list[Face], wheels: list[Wheel]) -> None:
    """The car with its shadow: what it hides of itself is painted first."""
    eye = painting.camera.position
    azimuth, elevation = math.atan2(eye[1], eye[0]) + rng.uniform(-1, 1), rng.uniform(0.6, 1.1)
    light = np.array([math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)])
    _shadow(painting, faces)
    for wheel in wheels:
        for y in (1.0, 0.86, 0.72):  # the tyre's thickness
            painting.flat(disc(wheel.x, y * wheel.y, wheel.radius, wheel.radius), 0.6 * DARK, WHEELS)
    farthest_first = sorted(faces, key=lambda face: (face.level, -max(face.x[0] - eye[0], eye[0] - face.x[1], 0.0)))
    for face in farthest_first:
        normal = cross(face.corners[1] - face.corners[0], face.corners[2] - face.corners[0])
        normal *= face.outwards / np.linalg.norm(normal)
        if normal @ (eye - face.corners[0]) <= 1e-3:
            continue  # seen from behind
        shade = 0.62 + 0.46 * max(0.0, normal @ light)
        plane = painting.camera.nearness(painting.camera.view(face.corners))
        painting.flat(face.corners, shade * face.colour, face.part, plane, 0.1)
        for corners, colour, part in face.decals:
            painting.flat(corners, shade * colour, part, plane, 0.3 if part == WINDOWS else 0.0)
    for wheel in wheels:
        if wheel.y * eye[1] > 0:
            plane = painting.camera.nearness(painting.camera.view(disc(wheel.x, wheel.y, wheel.radius, wheel.radius)))
            for share, colour in ((1.0, DARK), (0.62, CHROME), (0.2, 2 * DARK)):
                painting.flat(disc(wheel.x, wheel.y, wheel.radius, share * wheel.radius), colour, WHEELS, plane)


def _shadow(painting: Painting, faces: list[Face]) -> None:
    """Dark ground beneath the car, darkest in the middle."""
    points = np.concatenate([face.corners for face in faces])
    low, high = points.min(0), points.max(0)
    for margin, strength in ((0.22, 0.8), (0.1, 0.55), (-0.1, 0.35)):
        (x0, y0), (x1, y1) = low[:2] - margin, high[:2] + margin
        corners = np.array([[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]])
        painting.flat(corners, strength * np.array([0.4, 0.4, 0.44]), ROAD)
