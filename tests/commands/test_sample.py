"""`sample --control` as people type it: hints from pictures and as pictures, several controls, and one sentence for everything wrong."""

import numpy as np
import pytest
import torch
from networks import stirred
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.control.controlnet import ControlNet, save_control
from ddpm_utils.control.hint_files import hint_drawn_from, hint_from_image
from ddpm_utils.control.hints import canny, one_hot
from ddpm_utils.data.images import to_float
from ddpm_utils.data.synthetic.cars import TYPES, toy_cars
from ddpm_utils.errors import InputError
from ddpm_utils.models import save_model
from ddpm_utils.unet import UNet, UNetConfig

SMALL = UNetConfig(image_size=16, width=16, multipliers=(1, 2), blocks=1, attention=(8,), groups=8, classes=len(TYPES))
CHANNELS = {"canny": 1, "scribble": 1, "segmentation": 5, "depth": 1, "mine": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a base, controls of all kinds for it, one for another base, and a photograph of 40 x 30 pixels."""
    folder = tmp_path_factory.mktemp("controls")
    base = stirred(UNet(SMALL), 0, 0.1)
    save_model(base, TrainConfig(network=SMALL, task=Generation(timesteps=50, prediction="v")), TYPES, folder / "base.safetensors")
    for i, (hint, channels) in enumerate(CHANNELS.items()):
        save_control(stirred(ControlNet.on(base, channels, hint), i + 1, 0.1), folder / f"{hint}.safetensors")
    save_control(ControlNet.on(stirred(UNet(SMALL), 9, 0.1), 1, "canny"), folder / "foreign.safetensors")
    Image.fromarray(toy_cars(1, 40, seed=3).images[0][:30]).save(folder / "photo.png")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(folder / "grey.png")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16) % 5).save(folder / "parts.png")
    Image.new("RGB", (100, 80), "white").save(folder / "paper.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


def sample(files, *words) -> int:
    known = [str(files / word) if (files / str(word)).is_file() else str(word) for word in words]
    return main(["sample", str(files / "base.safetensors"), "--device", "cpu", "--n", "3", "--steps", "2", "--label", "0", *known])


def images(files, out, *words) -> np.ndarray:
    assert sample(files, "--out", out / "grid.png", "--images", out / "images", *words) == 0
    return np.stack([np.asarray(Image.open(path)) for path in sorted((out / "images").iterdir())]).astype(int)


def test_a_control_changes_the_images_and_strength_0_does_not(files, tmp_path):
    plain = images(files, tmp_path / "plain")
    words = ("--control", "canny.safetensors", "--hint-from", "photo.png")
    assert np.abs(images(files, tmp_path / "on", *words) - plain).max() > 5
    assert np.array_equal(images(files, tmp_path / "off", *words, "--strength", "0"), plain)


def test_a_hint_drawn_from_a_picture_is_the_one_that_training_would_draw(files):
    control = ControlNet(SMALL, 1, "canny")
    cut = Image.open(files / "photo.png").crop((5, 0, 35, 30)).resize((16, 16), Image.Resampling.LANCZOS)
    assert torch.equal(hint_drawn_from(control, files / "photo.png"), canny(to_float(np.array(cut)[None])))


def test_a_hint_image_is_taken_as_it_lies(files):
    grey, parts = (np.asarray(Image.open(files / name)) for name in ("grey.png", "parts.png"))
    assert torch.equal(hint_from_image(ControlNet(SMALL, 1, "depth"), files / "grey.png")[0, 0] * 255, torch.tensor(grey).float())
    assert torch.equal(hint_from_image(ControlNet(SMALL, 5, "segmentation"), files / "parts.png"), one_hot(parts[None], 5))
    assert hint_from_image(ControlNet(SMALL, 3, "mine"), files / "grey.png").shape == (1, 3, 16, 16)
    assert hint_from_image(ControlNet(SMALL, 1, "scribble"), files / "paper.png").sum() == 0  # any size, and nothing drawn


def test_several_controls_add_up_in_any_order(files, tmp_path):
    edges = ("--control", "canny.safetensors", "--hint-from", "photo.png", "--strength", "0.5")
    depth = ("--control", "depth.safetensors", "--strength", "2", "--hint-image", "grey.png")
    both, swapped = images(files, tmp_path / "a", *edges, *depth), images(files, tmp_path / "b", *depth, *edges)
    assert np.abs(both - swapped).max() <= 1  # sums in another order
    for i, one in enumerate((edges, depth)):
        assert np.abs(both - images(files, tmp_path / str(i), *one)).max() > 5


REFUSALS = {
    "needs either --hint-from or --hint-image, it has none": ("--control", "canny.safetensors"),
    "it has both": ("--control", "canny.safetensors", "--hint-from", "photo.png", "--hint-image", "grey.png"),
    "put it behind a --control": ("--hint-from", "photo.png", "--control", "canny.safetensors"),
    "has --strength twice": ("--control", "canny.safetensors", "--strength", "1", "--strength", "2"),
    "the control 'canny' was trained on another base": ("--control", "foreign.safetensors", "--hint-from", "photo.png"),
    "no shipped control 'cany'; those shipped are toy-cars-canny, toy-cars-depth": ("--control", "cany", "--hint-from", "photo.png"),
    "there is no control file": ("--control", "nowhere.safetensors", "--hint-from", "photo.png"),
    "is not a control of this project": ("--control", "base.safetensors", "--hint-from", "photo.png"),
    "there is no image": ("--control", "canny.safetensors", "--hint-from", "nothing.png"),
    "can't be read as an image": ("--control", "canny.safetensors", "--hint-image", "broken.png"),
    "must have 16 x 16 pixels": ("--control", "depth.safetensors", "--hint-image", "photo.png"),
    "the hint 'depth' can't be drawn from an image": ("--control", "depth.safetensors", "--hint-from", "photo.png"),
    "must lie in 0 .. 4": ("--control", "segmentation.safetensors", "--hint-image", "grey.png"),
    "must be at least 0, 1 is as trained; got -1.0": ("--control", "canny.safetensors", "--hint-from", "photo.png", "--strength", "-1"),
    "got nan": ("--control", "canny.safetensors", "--hint-from", "photo.png", "--strength", "nan"),
}


@pytest.mark.parametrize("said", REFUSALS)
def test_what_is_wrong_is_told_in_one_sentence_and_nothing_is_written(files, tmp_path, capsys, said):
    assert sample(files, "--out", tmp_path / "grid.png", *REFUSALS[said]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_colours_are_no_segmentation(files):
    path = files / "colours.png"
    Image.new("RGB", (16, 16)).save(path)
    with pytest.raises(InputError, match="must be grey or have a palette"):
        hint_from_image(ControlNet(SMALL, 5, "segmentation"), path)
    with pytest.raises(InputError, match="hints of 7 channels"):
        hint_from_image(ControlNet(SMALL, 7, "mine"), path)
