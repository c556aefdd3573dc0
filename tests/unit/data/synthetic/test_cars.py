"""Toy cars: seeded, equal at every size, and with parts and depths that a ray tracer confirms."""

import numpy as np
import pytest

from ddpm_utils.data.sources import load_images
from ddpm_utils.data.synthetic import cars
from ddpm_utils.data.synthetic.cars import CarSet, draw_car, toy_cars
from ddpm_utils.data.synthetic.painting import NEAREST, Painting, in_front
from ddpm_utils.data.synthetic.vehicles import BACKGROUND, BODY, PARTS, ROAD, SHAPES, TYPES, WHEELS, WINDOWS, build, disc
from ddpm_utils.errors import InputError


@pytest.fixture(scope="module")
def some():
    return [draw_car(32, (1, i)) for i in range(140)]


# --- what is drawn ---


def test_a_car_is_a_function_of_size_and_seed():
    np.random.seed(1)  # noqa: NPY002 (nothing may depend on the global generator)
    first = [draw_car(24, (3, i)) for i in range(6)]
    np.random.seed(2)  # noqa: NPY002
    again = [draw_car(24, (3, i)) for i in reversed(range(6))][::-1]
    assert all(np.array_equal(a, b) for one, other in zip(first, again) for a, b in zip(one, other))
    assert not any(np.array_equal(one.image, draw_car(24, (4, i)).image) for i, one in enumerate(first))


def test_every_size_shows_the_same_scene():
    """A pixel of 32 px averages 4 of 64 px; samples differ along edges only. Other scenes differ by 40 levels and more."""
    for i in range(12):
        small, large = draw_car(32, (5, i)), draw_car(64, (5, i))
        assert small.label == large.label
        halved = large.image.reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(halved - small.image).mean() < 6


def test_pictures_have_the_promised_forms(some):
    for car in some:
        assert car.image.shape == (32, 32, 3)
        assert car.image.dtype == car.segmentation.dtype == np.uint8
        assert car.segmentation.shape == car.depth.shape == (32, 32)
        assert car.depth.dtype == np.float32
        assert car.depth.min() >= 0
        assert car.depth.max() <= 1
    assert draw_car(33, 0).image.shape == (33, 33, 3)


def test_all_body_types_are_equally_frequent(some):
    """140 draws of 7 types: 20 each, four binomial standard deviations are 16.6."""
    counts = np.bincount([car.label for car in some], minlength=len(TYPES))
    assert counts.min() > 20 - 16.6
    assert counts.max() < 20 + 16.6


def test_the_whole_car_is_in_the_frame(some):
    for car in some:
        border = np.concatenate([car.segmentation[[0, -1]].ravel(), car.segmentation[:, [0, -1]].ravel()])
        assert set(border) <= {BACKGROUND, ROAD}
        share = (car.segmentation >= BODY).mean()
        assert 0.04 < share < 0.6
        assert (car.segmentation == WHEELS).sum() >= 4
        assert (car.segmentation == WINDOWS).sum() >= 2
        assert (car.segmentation == ROAD).sum() >= 30


def test_pictures_are_neither_flat_nor_clipped(some):
    """Contrast within a picture, and variety over pictures: colours of cars and surroundings are drawn."""
    images = np.stack([car.image for car in some]).astype(float)
    assert images.std((1, 2, 3)).min() > 12
    assert images.mean((1, 2)).std(0).min() > 15
    assert ((images == 255) | (images == 0)).all(-1).mean() < 0.02
    body = np.array([car.image[car.segmentation == BODY].mean(0) for car in some])
    assert body.std(0).min() > 35


# --- parts and depth, against a ray tracer ---


def traced(camera, polygons, size):
    """Distance along the axis to the nearest of the flat convex polygons at every pixel's centre (inf: none), and how near an edge is in pixels."""
    centres = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(centres, centres)
    rays = np.stack([(x - camera.shift[0]) / camera.focal, (y - camera.shift[1]) / camera.focal, np.ones_like(x)], -1)
    nearest, edge, index = np.full((size, size), np.inf), np.full((size, size), np.inf), np.full((size, size), -1)
    for number, polygon in enumerate(polygons):
        view = camera.view(polygon)
        normal = np.cross(view[1] - view[0], view[2] - view[0])
        z = (normal @ view[0]) / (rays @ normal)
        corners = camera.project(view)
        a, b = corners, np.roll(corners, -1, 0)
        along = b - a
        lengths = np.linalg.norm(along, axis=1)
        signed = (along[:, 0] * (y[..., None] - a[:, 1]) - along[:, 1] * (x[..., None] - a[:, 0])) / np.maximum(lengths, 1e-9)
        area = (a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]).sum()
        signed = signed * np.sign(area)  # positive inside of every side
        inside = signed.min(-1) > 0
        edge = np.minimum(edge, np.where(signed.min(-1) > -2 / size, np.abs(signed).min(-1), np.inf) * size)
        hit = inside & (z > 0) & (z < nearest)
        nearest, index = np.where(hit, z, nearest), np.where(hit, number, index)
    return nearest, edge, index


@pytest.mark.parametrize("kind", TYPES)
def test_what_hides_what_is_as_a_ray_tracer_says(kind):
    size, compared = 64, 0
    for i in range(5):
        rng = np.random.default_rng([6, i])
        faces, wheels = build(rng, SHAPES[kind])
        camera = cars._camera(rng, faces, wheels)
        painting = Painting(camera, size)
        painting.flat(np.array([[-99, -99, 0], [99, -99, 0], [99, 99, 0], [-99, 99, 0]]), np.zeros(3), ROAD)
        cars._car(rng, painting, faces, wheels)
        assert len(painting.colours) <= 256  # numbers are bytes
        _, part, depth = painting.developed(1)
        polygons = [face.corners for face in faces]
        polygons += [disc(w.x, y * w.y, w.radius, w.radius) for w in wheels for y in (1.0, 0.86, 0.72)]
        nearest, edge, index = traced(camera, polygons, size)
        clear = (edge > 1.0) & np.isfinite(nearest)
        expected = (1 - NEAREST * camera.distance / nearest).clip(0, 1)
        wrong = np.abs(depth - expected)[clear] > 1e-4  # float32 sums of numbers up to 10
        assert wrong.mean() < 0.01
        assert ((index >= len(faces)) == (part == WHEELS))[clear].mean() > 0.99
        compared += clear.sum()
    assert compared > 400


def test_depth_of_the_ground_is_that_of_the_plane():
    """Where a ray through the pixel's centre meets z = 0; the mean over a pixel's samples is the value at its centre, since 1 / z is affine."""
    rng = np.random.default_rng(7)
    camera = cars._camera(rng, *build(rng, SHAPES["sedan"]))
    painting = Painting(camera, 128)
    painting.flat(np.array([[-99, -99, 0], [99, -99, 0], [99, 99, 0], [-99, 99, 0.0]]), np.zeros(3), ROAD)
    _, part, depth = painting.developed(4)
    centres = (np.arange(32) + 0.5) / 32
    x, y = np.meshgrid(centres, centres)
    rays = np.stack([(x - camera.shift[0]) / camera.focal, (y - camera.shift[1]) / camera.focal, np.ones_like(x)], -1) @ camera.axes
    z = -camera.position[2] / rays[..., 2]
    below = (rays[..., 2] < -0.05) & (part == ROAD)
    expected = 1 - NEAREST * camera.distance / z
    inner = below & (expected > 0.02)
    assert inner.sum() > 300
    np.testing.assert_allclose(depth[inner], expected[inner], atol=2e-5)


def test_the_sky_is_farthest_and_the_ground_comes_nearer_downwards(some):
    for car in some:
        assert car.depth[car.segmentation >= BODY].max() < 0.75
        for column in (0, 31):
            road = car.depth[:, column][car.segmentation[:, column] == ROAD]
            assert (np.diff(road) <= 1e-6).all()
    assert np.mean([car.depth[0].max() for car in some]) > 0.75


def test_a_polygon_is_cut_at_the_near_plane():
    square = np.array([[-1.0, 0, -1], [1, 0, -1], [1, 0, 2], [-1, 0, 2]])
    cut = in_front(square, 0.5)
    assert cut[:, 2].min() == pytest.approx(0.5)
    assert {tuple(p) for p in cut.round(9)} == {(-1, 0, 0.5), (1, 0, 0.5), (1, 0, 2), (-1, 0, 2)}
    far = square + np.array([0, 0, 5])
    assert np.array_equal(in_front(far), far)


# --- sets ---


def test_sets_hold_the_cars_of_their_seed_and_are_kept(cache, monkeypatch):
    data = toy_cars(5, 16, seed=8)
    assert isinstance(data, CarSet)
    assert (len(data), data.size, data.channels, data.classes) == (5, 16, 3, TYPES)
    for i in range(5):
        car = draw_car(16, (8, i))
        assert np.array_equal(data.images[i], car.image)
        assert data.labels[i] == car.label
        assert np.array_equal(data.segmentation[i], car.segmentation)
        assert np.array_equal(data.depth[i], car.depth)
    assert [p.name for p in cache.iterdir()] == [f"cars-v{cars.VERSION}-5x16-seed8"]
    monkeypatch.setattr(cars, "draw_car", None)  # a second look draws nothing
    assert toy_cars(5, 16, seed=8).digest == data.digest


def test_they_are_loaded_by_name():
    train, test = load_images("toy-cars:20", 16), load_images("toy-cars:20", 16, "test")
    assert (len(train), len(test)) == (20, 2)
    assert np.array_equal(train.images[3], draw_car(16, (0, 3)).image)
    assert not any(np.array_equal(a, b) for a in test.images for b in train.images)
    assert load_images("toy-cars:2").size == 32
    assert len(PARTS) == 5


def test_bad_requests_are_told_in_a_sentence(cache):
    with pytest.raises(InputError, match="at least 1, got 0"):
        toy_cars(0, 32)
    with pytest.raises(InputError, match="negative, got -1"):
        toy_cars(1, 32, seed=-1)
    for draw in (lambda: toy_cars(1, 8), lambda: draw_car(8, 0)):
        with pytest.raises(InputError, match="at least 16 pixels a side, got 8"):
            draw()
    for name in ("toy-cars:", "toy-cars:0", "toy-cars:many"):
        with pytest.raises(InputError, match=f"N from 1, got '{name}'"):
            load_images(name)
    with pytest.raises(InputError, match="GB free"):
        toy_cars(10**9, 256)
    assert not cache.exists() or not list(cache.iterdir())
