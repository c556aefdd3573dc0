"""`sample` from images that are there: holes filled, images blended, varied and enlarged, and one sentence for everything wrong."""

import numpy as np
import pytest
from networks import as_if_trained
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.data.synthetic.cars import toy_cars
from ddpm_utils.models import save_model
from ddpm_utils.unet_config import UNetConfig

SMALL = {"image_size": 8, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (), "groups": 4}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Models of colour, of grey, with labels and of two channels; photographs, a small image, masks."""
    folder = tmp_path_factory.mktemp("edits")
    for name, extra in {"colour": {}, "grey": {"channels": 1}, "labels": {"classes": 2}, "two": {"channels": 2}}.items():
        config = UNetConfig(**{**SMALL, **extra})
        run = TrainConfig(network=config, task=Generation(timesteps=50, prediction="x0"))
        save_model(as_if_trained(config), run, ("cat", "dog")[: config.classes or 0], folder / f"{name}.safetensors")
    rng = np.random.default_rng(0)
    for name, shape in {"a": (8, 8, 3), "b": (16, 24, 3), "small": (4, 4, 3), "odd": (3, 3, 3)}.items():
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / f"{name}.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(0 * mask).save(folder / "black.png")
    (folder / "broken.png").write_text("no picture")
    return folder


def sample(files, monkeypatch, tmp_path, words):
    monkeypatch.chdir(files)
    model, *rest = words.split()
    out = ["--device", "cpu", "--out", str(tmp_path / "grid.png"), "--images", str(tmp_path / "images")]
    return main(["sample", f"{model}.safetensors", *rest, *out, *([] if "--n" in rest else ["--n", "3"])])


def drawn(tmp_path):
    return np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "images").iterdir())]).astype(int)


def test_outside_of_the_hole_the_image_stays_and_inside_each_result_differs(files, monkeypatch, tmp_path):
    film = tmp_path / "film.png"
    assert sample(files, monkeypatch, tmp_path, f"colour --inpaint a.png --mask mask.png --steps 10 --resamplings 2 --film {film}") == 0
    images, image = drawn(tmp_path), np.asarray(Image.open(files / "a.png")).astype(int)
    assert np.array_equal(images[:, :, :4], np.broadcast_to(image[:, :4], (3, 8, 4, 3)))
    assert np.abs(images[0, :, 4:] - images[1, :, 4:]).max() > 5
    assert film.stat().st_size > 0


def test_an_interpolation_begins_and_ends_at_the_two_images(files, monkeypatch, tmp_path):
    """As nearly as inverting with so few steps can."""
    assert sample(files, monkeypatch, tmp_path, "labels --interpolate a.png a.png --label dog --steps 50") == 0
    images = drawn(tmp_path)
    assert np.abs(images[0] - images[2]).max() <= 1
    assert sample(files, monkeypatch, tmp_path / "2", "colour --interpolate a.png b.png --steps 50 --sampler dpm") == 0
    assert len({image.tobytes() for image in drawn(tmp_path / "2")}) == 3


def test_the_less_noise_the_nearer_a_variation_stays_to_its_image(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    image, off = toy_cars(1, 32, seed=3).images[0], []
    Image.fromarray(image).save("car.png")
    for share in (0.1, 0.9):
        words = (
            f"sample toy-cars --from-image car.png --noise {share} --steps 20 --n 2 --label bus --device cpu --images {tmp_path / 'images'}"
        )
        assert main(words.split()) == 0
        off.append(np.abs(drawn(tmp_path) - image.astype(int)).mean())
    assert 2 * off[0] < off[1]


@pytest.mark.parametrize("model", ["colour", "grey"])
def test_an_enlarged_image_has_the_means_of_the_small_one(files, monkeypatch, tmp_path, model):
    assert sample(files, monkeypatch, tmp_path, f"{model} --super-resolve small.png --steps 10") == 0
    images, small = drawn(tmp_path), Image.open(files / "small.png")
    expected = np.asarray(small.convert("L" if model == "grey" else "RGB")).astype(float)
    means = images.reshape(3, 4, 2, 4, 2, -1).mean((2, 4)).reshape(3, *expected.shape)
    inside = (expected > 64) & (expected < 191)  # elsewhere pixels of a block may be cut off at black and white
    assert np.abs(means - expected)[:, inside].mean() < 4
    assert np.abs(images[0] - images[1]).max() > 5


def test_edits_take_a_batch_at_a_time_and_the_same_seed_draws_the_same(files, monkeypatch, tmp_path):
    words = "colour --from-image a.png --noise 0.5 --seed 7 --batch-size"
    for name, size in (("whole", 3), ("parts", 2)):
        assert sample(files, monkeypatch, tmp_path / name, f"{words} {size}") == 0
    assert np.array_equal(drawn(tmp_path / "whole"), drawn(tmp_path / "parts"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("colour --inpaint a.png --super-resolve small.png", "--inpaint and --super-resolve can't be used together"),
        ("colour --inpaint a.png", "--inpaint needs --mask"),
        ("colour --mask mask.png", "--mask belongs to --inpaint, which is missing"),
        ("colour --from-image a.png --resamplings 3", "--resamplings belongs to --inpaint"),
        ("colour --interpolate a.png b.png --noise 0.3", "--noise belongs to --from-image"),
        ("colour --inpaint a.png --mask black.png", "'black.png' is black all over"),
        ("colour --inpaint a.png --mask mask.png --sampler ddim", "which --sampler can't change"),
        ("colour --inpaint a.png --mask mask.png --resamplings 0", "--resamplings must be at least 1"),
        ("colour --interpolate a.png b.png --n 1", "--n must be at least 2, got 1"),
        ("colour --interpolate a.png b.png --sampler ddpm", "needs a deterministic sampler"),
        ("labels --interpolate a.png b.png", "--interpolate needs --label"),
        ("colour --from-image a.png --noise 0", "--noise must lie in (0, 1]"),
        ("colour --from-image none.png", "there is no image 'none.png' for --from-image"),
        ("colour --from-image broken.png", "'broken.png' can't be read as an image"),
        ("colour --super-resolve odd.png", "a square image whose side divides 8, 'odd.png' has 3 x 3 pixels"),
        ("colour --super-resolve a.png", "'a.png' has 8 x 8 pixels"),
        ("two --from-image a.png", "a model of images with 1 or 3 channels, this one has 2"),
        ("colour --from-image a.png --steps 99", "steps must lie in 1 .. T=50"),
    ],
)
def test_what_can_not_be_done_is_told_in_a_sentence(files, monkeypatch, tmp_path, capsys, words, sentence):
    assert sample(files, monkeypatch, tmp_path, words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "images").exists() or not list((tmp_path / "images").glob("*.png"))
