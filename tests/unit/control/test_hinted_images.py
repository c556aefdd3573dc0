"""Sets with hints: exact ones, computed ones and files; and each image with its own in training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.control.hinted_images import folder_hints, with_hints
from ddpm_utils.control.hints import one_hot
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.sources import load_images
from ddpm_utils.data.synthetic.cars import toy_cars
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.training.batches import draw_batch
from ddpm_utils.training.tasks.control import ControlTask, control_config
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.unet import UNet, UNetConfig


@pytest.fixture
def cars():
    return toy_cars(12, 32, seed=2)


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
