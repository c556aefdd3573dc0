"""Hints on pictures with known edges and lines, measures of adherence on hand-made cases, and hinted sets in training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.control.hinted_images import folder_hints, with_hints
from ddpm_utils.control.hints import HINTS, canny, lines, one_hot, scribble, user_scribble
from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.data.sources import load_images
from ddpm_utils.data.synthetic.cars import toy_cars
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.hint_metrics import depth_correlation, edge_agreement, edge_recall, mean_iou
from ddpm_utils.models import Model
from ddpm_utils.training.batches import draw_batch
from ddpm_utils.training.tasks.control import ControlTask, control_config
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.unet import UNet, UNetConfig


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


# --- hints ---


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


# --- sets ---


def test_segmentation_and_depth_of_toy_cars_are_exact(cars):
    parts, depth = with_hints(cars, "segmentation"), with_hints(cars, "depth")
    assert parts.hint_channels == 5
    assert np.array_equal(parts.hints.argmax(-1), cars.segmentation)
    assert set(np.unique(parts.hints)) == {0, 255}
    assert np.abs(depth.hints[..., 0] / 255 - cars.depth).max() <= 0.5 / 255 + 1e-6
    assert torch.equal(one_hot(cars.segmentation).argmax(1), torch.from_numpy(cars.segmentation.astype(np.int64)))
    plain = ImageSet(cars.images, cars.labels, cars.classes)
    with pytest.raises(InputError, match="'depth' is known exactly of toy-cars only"):
        with_hints(plain, "depth")


def test_any_function_will_do_and_the_digest_knows_it(cars):
    bright = with_hints(cars, lambda images: images.mean(1, keepdim=True) / 2 + 0.5)
    assert np.abs(bright.hints[..., 0] - cars.images.mean(-1)).max() <= 1
    edges = with_hints(cars, "canny")
    assert len({cars.digest, bright.digest, edges.digest, edges.digest_with(0.5)}) == 4
    assert edges.digest == edges.digest_with(0.0)
    with pytest.raises(InputError, match="number and size of the images"):
        with_hints(cars, lambda images: images[:, :1, ::2, ::2])


def test_a_folder_of_hint_images_is_matched_by_name(tmp_path):
    images, hints = tmp_path / "images", tmp_path / "hints"
    images.mkdir()
    hints.mkdir()
    levels = {"b": 40, "a": 90, "c": 250}
    for name, level in levels.items():
        Image.new("RGB", (24, 16), (level, 0, 0)).save(images / f"{name}.png")
        Image.new("L", (48, 32), level).save(hints / f"{name}.bmp")
    Image.new("L", (8, 8), 7).save(hints / "another.png")
    found = folder_hints(hints, images, 16)
    assert found.shape == (3, 16, 16, 1)
    assert found[:, 0, 0, 0].tolist() == [90, 40, 250]  # in the order of load_images
    data = with_hints(load_images(images, 16), str(hints), images=images)
    assert np.array_equal(data.hints, found)
    stripes = Image.fromarray(np.arange(32, dtype=np.uint8).repeat(32).reshape(32, 32) % 2, "P")
    stripes.putpalette([255, 0, 0, 0, 0, 255])
    stripes.resize((48, 32), 0).save(hints / "a.png")
    (hints / "a.bmp").unlink()
    parts = folder_hints(hints, images, 24)
    assert {tuple(colour) for colour in parts[0].reshape(-1, 3)} == {(255, 0, 0), (0, 0, 255)}  # classes aren't mixed
    (hints / "c.bmp").unlink()
    with pytest.raises(InputError, match=r"1 images have no hint image .* the first is 'c'"):
        folder_hints(hints, images, 16)
    Image.new("L", (8, 8)).save(hints / "b.png")
    with pytest.raises(InputError, match="two hint images named 'b'"):
        folder_hints(hints, images, 16)
    with pytest.raises(InputError, match="canny, lines, scribble, segmentation, depth or a folder"):
        with_hints(load_images(images, 16), "cany", images=images)
    with pytest.raises(InputError, match="a folder of images"):
        folder_hints(hints, "toy-cars", 16)


def test_a_batch_shows_each_image_with_its_own_hint(cars):
    """The hint is the image itself: it must match after shuffling and mirroring, and be zero where dropped."""
    network = UNetConfig(image_size=32, width=32, multipliers=(1, 1), classes=7)
    base = Model(UNet(network), TrainConfig(network=network), (), {})
    whole, half = (ControlTask(control_config(base, "itself", share, batch_size=4, epochs=30), base, 3) for share in (0.0, 0.5))
    itself = with_hints(cars, lambda images: images / 2 + 0.5)
    for step in range(6):
        batch, plain = draw_batch(whole, itself, step), draw_batch(GenerationTask(replace(whole.config, task=Generation())), cars, step)
        assert torch.allclose(batch.hint * 2 - 1, batch.x0, atol=1e-6)
        assert all(torch.equal(a, b) for a, b in zip(batch[:4], plain[:4]))  # hints change no other draw
        assert plain.hint is None
    batches = [draw_batch(half, itself, step) for step in range(60)]
    dropped = torch.cat([(b.hint.flatten(1) == 0).all(1) for b in batches])
    assert abs(dropped.float().mean() - 0.5) < 0.1  # 240 draws: three standard deviations
    kept = [(b.hint[k] * 2 - 1 - b.x0[k]).abs().max() for b in batches for k in range(4) if b.hint[k].any()]
    assert max(kept) < 1e-6
    assert torch.equal(draw_batch(half, itself, 7).hint, batches[7].hint)


# --- adherence ---


def dots(*places, size=12):
    edges = torch.zeros(1, 1, size, size)
    for row, column in places:
        edges[0, 0, row, column] = 1
    return edges


@pytest.mark.parametrize(
    ("found", "truth", "precision", "recall", "f1"),
    [
        (dots((3, 3)), dots((3, 3)), 1, 1, 1),
        (dots((3, 3)), dots((3, 4)), 1, 1, 1),  # one pixel off
        (dots((3, 3)), dots((4, 4)), 0, 0, 0),  # diagonally: 1.4 pixels off
        (dots((3, 3)), dots((3, 5)), 0, 0, 0),  # two pixels off
        (dots((3, 3), (8, 8)), dots((3, 3)), 0.5, 1, 2 / 3),
        (dots((3, 3)), dots((3, 3), (8, 8), (9, 1), (1, 9)), 1, 0.25, 0.4),
        (dots((3, 2), (3, 3), (3, 4)), dots((3, 3)), 1 / 3, 1, 0.5),  # all three are near, only one has a partner
        (dots((3, 3), (3, 4)), dots((3, 2), (3, 3)), 1, 1, 1),  # only if (3, 3) leaves (3, 3) to (3, 4)
        (dots((3, 3)), dots(), 0, 0, 0),
        (dots(), dots((3, 3)), 0, 0, 0),
        (dots(), dots(), 1, 1, 1),
    ],
)
def test_edge_agreement_by_hand(found, truth, precision, recall, f1):
    agreement = edge_agreement(found, truth)
    assert [v.item() for v in agreement] == pytest.approx([precision, recall, f1])
    assert edge_recall(found, truth).item() == pytest.approx(recall)


def test_edges_are_matched_as_by_an_assignment_of_least_cost(cars):
    """Another algorithm: the Hungarian one, where a pair within a pixel costs 0 and any other 1."""
    edges = canny(to_float(np.array(cars.images)))
    found, truth = edges.roll(1, 0), edges
    for a, b, f1 in zip(found[:, 0].numpy(), truth[:, 0].numpy(), edge_agreement(found, truth).f1, strict=True):
        rows, columns = np.argwhere(a > 0.5), np.argwhere(b > 0.5)
        costs = np.abs(rows[:, None] - columns).sum(-1) > 1
        matched = (~costs[linear_sum_assignment(costs)]).sum()
        assert f1.item() == pytest.approx(2 * matched / (len(rows) + len(columns)), abs=1e-6)


def test_ink_is_met_by_edges_within_a_pixel_however_many_there_are():
    found, hint = dots((3, 3), (9, 9)), dots((3, 2), (3, 3), (3, 4), (4, 4))
    assert edge_recall(found, hint).item() == pytest.approx(3 / 4)
    assert edge_recall(torch.cat([found, dots(), dots()]), torch.cat([dots(), dots(), hint])).tolist() == [0, 1, 0]


def test_edge_agreement_is_of_each_picture_and_counts_edges_above_a_half():
    found, truth = torch.cat([dots((3, 3)), 0.4 * dots((3, 3))]), torch.cat([dots((3, 3))] * 2)
    assert edge_agreement(found, truth).f1.tolist() == [1, 0]
    assert edge_agreement(dots((3, 3)), dots((3, 5)), tolerance=2).f1.item() == 1
    with pytest.raises(InputError, match="equal shapes"):
        edge_agreement(dots(), dots(size=8))


def test_mean_iou_by_hand():
    """Halves against quarters: class 0 has 1 of 2 quarters in common, class 1 has 2 of 3; class 2 is in neither."""
    truth = torch.tensor([[[0, 0], [1, 1]]])
    found = torch.tensor([[[0, 1], [1, 1]]])
    assert mean_iou(found, truth, 3).item() == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert mean_iou(truth, truth, 3).item() == 1
    assert mean_iou(1 - truth, truth, 3).item() == 0
    assert mean_iou(torch.cat([found, truth]), torch.cat([truth, truth]), 2).tolist() == pytest.approx([7 / 12, 1])


def test_depth_correlation_by_hand():
    depth = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert depth_correlation(0.3 * depth + 0.2, depth).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert depth_correlation(1 - depth, depth).tolist() == pytest.approx([-1, -1, -1], abs=1e-6)
    assert depth_correlation(torch.full_like(depth, 0.5), depth).tolist() == [0, 0, 0]
    expected = np.corrcoef(depth[0].ravel(), depth[1].ravel())[0, 1]
    assert depth_correlation(depth[:1, 0], depth[1:2, 0]).item() == pytest.approx(expected, abs=1e-6)
