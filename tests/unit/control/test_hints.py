"""Hints on pictures with known edges and lines."""

import numpy as np
import pytest
import torch

from ddpm_utils.control.hints import HINTS, canny, lines, scribble, user_scribble
from ddpm_utils.data.images import to_float
from ddpm_utils.data.synthetic.cars import toy_cars
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.hint_metrics import edge_recall


def square(size=32, low=10, high=22):
    """A white square on black: (1, 3, size, size), and the ring of its border pixels, inside and outside."""
    image = torch.full((1, 3, size, size), -1.0)
    image[:, :, low:high, low:high] = 1
    ring = torch.zeros(1, 1, size, size)
    ring[:, :, low:high, low:high] = 1
    ring[:, :, low + 1 : high - 1, low + 1 : high - 1] = 0
    return image, ring


@pytest.fixture
def cars():
    return toy_cars(12, 32, seed=2)


def test_canny_finds_the_border_of_a_square_and_nothing_else():
    image, ring = square()
    assert edge_recall(canny(image, sigma=1), ring).item() == 1
    assert edge_recall(ring, canny(image, sigma=1)).item() == 1
    assert canny(image).unique().tolist() == [0, 1]
    for brightness in (-1.0, 0.0, 1.0):
        assert canny(torch.full((1, 3, 32, 32), brightness)).sum() == 0


def test_edges_are_where_brightness_changes_as_an_eye_sees_it():
    """Rec. 601: 0.114 of blue is as bright as 0.114 / 0.299 of red, and green is the brightest of the three."""
    blue, red, green = (torch.tensor(colour)[:, None, None] for colour in ([0, 0, 1.0], [0.114 / 0.299, 0, 0], [0, 1.0, 0]))
    inside = square()[0][:, :1] > 0  # (1, 1, 32, 32)
    assert canny(2 * torch.where(inside, blue, red) - 1).sum() == 0
    assert canny(2 * torch.where(inside, blue, green) - 1).sum() > 20


def test_lines_are_where_straight_edges_are():
    image = torch.full((1, 3, 48, 48), -1.0)
    row, column = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    image[:, :, row > 0.5 * column + 10] = 1
    found = lines(image)[0, 0]
    distance = (row - 0.5 * column - 10).abs() / 1.25**0.5  # in pixels, from the line row = column / 2 + 10
    assert found.sum() > 25
    assert distance[found > 0].max() < 2.5
    hit = [(found[:, c] > 0.3).any() for c in range(4, 44)]
    assert np.mean(hit) > 0.8
    assert lines(torch.zeros(1, 3, 48, 48)).sum() == 0


def test_lines_of_a_square_are_its_sides():
    image, ring = square(48, 12, 36)
    assert edge_recall(ring, lines(image), tolerance=2).item() == 1
    assert edge_recall(lines(image), ring, tolerance=2).item() > 0.8


def test_scribbles_follow_edges_with_a_pen_of_random_thickness():
    image, ring = square(64, 18, 46)
    drawn = torch.cat([scribble(image, seed) for seed in range(12)])
    near = torch.nn.functional.max_pool2d(ring, 15, 1, 7) > 0
    assert (drawn * ~near).sum() / drawn.sum() < 0.01
    assert edge_recall(drawn, ring.expand(12, -1, -1, -1), tolerance=4).min() > 0.8
    ink = drawn.mean((1, 2, 3))
    assert ink.max() > 1.5 * ink.min()
    assert ((drawn > 0.05) & (drawn < 0.95)).any()  # antialiased
    assert scribble(torch.zeros(1, 3, 32, 32)).sum() == 0


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_is_a_function_of_its_image_alone(name, cars):
    images = to_float(np.array(cars.images[:6]))
    together = HINTS[name](images)
    assert together.shape == (6, 1, 32, 32)
    assert together.dtype == torch.float32
    assert together.min() >= 0
    assert together.max() <= 1
    assert (together.amax((1, 2, 3)) > 0.5).all()
    assert torch.equal(HINTS[name](images[[4, 1]]), together[[4, 1]])


def test_hints_need_images():
    with pytest.raises(InputError, match=r"got shape \(3, 8, 8\)"):
        canny(torch.zeros(3, 8, 8))
    assert canny(torch.zeros(2, 1, 16, 16)).shape == (2, 1, 16, 16)


def test_a_users_scribble_is_ink_whatever_its_colours():
    ink = np.zeros((64, 64), np.float64)
    ink[20:28, 8:56] = 1
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., 0] = 200 * ink
    rgba[..., 3] = 255 * ink
    on_white = np.repeat((255 - 255 * ink).astype(np.uint8)[..., None], 3, -1)
    opaque = np.dstack([on_white, np.full((64, 64), 255, np.uint8)])
    expected = ink.reshape(32, 2, 32, 2).mean((1, 3)) > 0.5
    for picture in (ink, (255 * ink).astype(np.uint8), 1 - ink, rgba, on_white, opaque):
        hint = user_scribble(picture, 32)
        assert hint.shape == (1, 1, 32, 32)
        assert np.array_equal(hint[0, 0].numpy() > 0.5, expected)
    assert user_scribble(np.full((10, 20, 3), 255, np.uint8), 16).sum() == 0  # an empty sheet
    with pytest.raises(InputError, match=r"got shape \(4, 4, 2\)"):
        user_scribble(np.zeros((4, 4, 2)), 32)
    with pytest.raises(InputError, match="from 0 to 7"):
        user_scribble(np.linspace(0, 7, 16).reshape(4, 4), 32)
