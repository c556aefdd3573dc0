"""Real photographs in every kind of file: their geometry and their values after decoding."""

import numpy as np
import pytest
import skimage.data
import torch
from image_folders import write, write_all
from PIL import Image, ImageDraw

from ddpm_utils.data.images import DIM, fit, read_rgb, to_float, to_uint8
from ddpm_utils.data.reading import Reading
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError
from ddpm_utils.restoration.file_formats import deep_png

# --- kinds of file ---


@pytest.mark.parametrize("ending", [".png", ".bmp", ".webp"])
def test_lossless_files_are_read_exactly(tmp_path, photographs, ending):
    path = write(tmp_path / f"a{ending}", photographs[1], **({"lossless": True} if ending == ".webp" else {}))
    assert np.array_equal(read_rgb(path), photographs[1])


def test_gray_files_become_three_equal_channels(tmp_path):
    camera = skimage.data.camera()[::4, ::4]
    expected = np.repeat(camera[..., None], 3, axis=2)
    assert np.array_equal(read_rgb(write(tmp_path / "gray.png", camera)), expected)
    assert np.abs(np.asarray(read_rgb(write(tmp_path / "gray.jpg", camera, quality=95)), dtype=int) - expected).mean() < 2


def test_transparency_becomes_white(tmp_path):
    logo = skimage.data.logo()  # RGBA
    alpha = logo[..., 3:] / 255
    expected = logo[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(read_rgb(write(tmp_path / "logo.png", logo))) - expected).max() <= 1

    palette = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png", transparency=1)
    expected = [[[255, 0, 0], [255, 255, 255]], [[0, 0, 255], [255, 255, 255]]]
    assert np.asarray(read_rgb(tmp_path / "palette.png")).tolist() == expected

    gray = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    assert np.asarray(read_rgb(write(tmp_path / "la.png", gray)))[0].tolist() == [[10] * 3, [255] * 3]


def test_cmyk_photographs_keep_their_colours(tmp_path, photographs):
    rgb = photographs[2]
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(np.asarray(read_rgb(tmp_path / "print.jpg"), dtype=int) - rgb).mean() < 4


@pytest.mark.parametrize("brightest", [65535, 30000, 200])
def test_16_bit_pngs_are_scaled_by_their_depth_and_not_by_their_contents(tmp_path, brightest):
    deep = np.linspace(0, brightest, 64).astype(np.uint16).reshape(8, 8)
    decoded = np.asarray(read_rgb(write(tmp_path / "deep.png", deep)))
    assert np.abs(decoded - (deep / 65535 * 255)[..., None]).max() <= 0.51


def test_one_bit_pngs_are_black_and_white(tmp_path):
    horse = skimage.data.horse()[::4, ::4]
    Image.fromarray(horse).save(tmp_path / "bits.png", bits=1)
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "bits.png"))[..., 1], np.where(horse, 255, 0))


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright_whatever_exif_says(tmp_path, photographs, orientation, ending):
    upright = photographs[0]
    stored = {  # how a camera stores an upright scene under each value of the tag (EXIF 2.3, 4.6.4)
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / f"camera{ending}", np.ascontiguousarray(stored), exif=exif, quality=95)
    decoded = np.asarray(read_rgb(path), dtype=int)
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).mean() < (0.01 if ending == ".png" else 6)


# --- geometry and values ---


@pytest.mark.parametrize(("width", "height"), [(200, 120), (120, 200), (120, 120), (1000, 60), (30, 42)])
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_the_middle_square_is_kept_and_nothing_else(root, width, height, ending):
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    picture = Image.new("RGB", (width, height), "red")
    ImageDraw.Draw(picture).rectangle((left, top, left + side - 1, top + side - 1), fill="blue")
    root.mkdir()
    picture.save(root / f"a{ending}", **({"subsampling": 0, "quality": 98} if ending == ".jpg" else {}))
    image = load_images(root, size=20).images[0]
    assert np.abs(image[2:-2, 2:-2].astype(int) - (0, 0, 255)).max() <= 3
    assert (image[..., 2] > image[..., 0]).all(), "the red border is cut off"


def test_shrinking_a_large_jpeg_gives_the_mean_of_its_pixels(root):
    rocket = skimage.data.rocket()
    tall = rocket[:400, :400]
    write(root / "rocket.jpg", tall, quality=95)
    expected = tall.reshape(10, 40, 10, 40, 3).mean((1, 3))
    decoded = load_images(root, size=10).images[0].astype(float)
    assert np.abs(decoded - expected).mean() < 4


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5,), (0.5,)), ((0.0,), (1.0,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.1, 0.2, 0.9), (3.0, 0.01, 1.0))],
)
def test_all_256_values_survive_the_way_to_floats_and_back(mean, std):
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    floats = to_float(every, mean, std)
    assert floats.shape == (1, 3, 16, 16)
    assert floats.dtype == torch.float32
    assert np.array_equal(to_uint8(floats, mean, std), every)


def test_floats_lie_in_minus_one_to_one_and_channels_keep_their_place():
    pixels = np.array([[[[0, 128, 255]]]], dtype=np.uint8)
    assert to_float(pixels).flatten().tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-6)
    assert to_float(pixels, (0.0, 0.5, 1.0), (1.0, 0.5, 2.0)).flatten().tolist() == pytest.approx([0, 1 / 255, 0], abs=1e-6)
    assert to_uint8(torch.tensor([-7.0, 0.0, 7.0]).reshape(1, 1, 1, 3)).flatten().tolist() == [0, 128, 255]


def test_a_sample_takes_the_nearest_of_the_256_values():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for off in (-0.4, 0.0, 0.4):
        assert np.array_equal(to_uint8(to_float(values) + off / 127.5), values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_and_never_black_pixels(value):
    x = torch.zeros(2, 3, 4, 4)
    x[1, 2, 3, 0] = value
    with pytest.raises(InputError, match="1 of 96 values of an image are NaN or infinite"):
        to_uint8(x)


# --- files of 16 bits that use fewer ---


@pytest.mark.parametrize(("largest", "is_dim"), [(0, False), (200, True), (4095, True), (4096, False), (65535, False)])
def test_values_of_12_bits_in_a_16_bit_file_are_noticed_and_not_changed(tmp_path, largest, is_dim):
    values = np.linspace(0, largest, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = read_rgb(tmp_path / "deep.png")
    assert (DIM in image.info) is is_dim
    assert np.array_equal(np.asarray(image)[..., 0], (values / 257).round().astype(np.uint8))


@pytest.mark.parametrize(("largest", "is_dim"), [(4095, True), (4096, False)])
def test_colours_of_12_bits_in_a_16_bit_file_are_noticed_too(tmp_path, largest, is_dim):
    values = np.zeros((16, 16, 3), np.uint16)
    values[3, 4, 1] = largest
    (tmp_path / "deep.png").write_bytes(deep_png(values))
    assert (DIM in read_rgb(tmp_path / "deep.png").info) is is_dim


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize(("largest", "is_dim"), [(255, False), (4095, True), (4096, False)])
def test_whole_numbers_of_32_bits_and_floats_are_taken_for_16_bits_above_255(tmp_path, dtype, largest, is_dim):
    values = np.linspace(0, largest, 256).round().astype(dtype).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    image = read_rgb(tmp_path / "deep.tif")
    assert (DIM in image.info) is is_dim
    assert np.array_equal(np.asarray(image)[..., 0], (values / (1 if largest == 255 else 257)).round().astype(np.uint8))


def test_an_8_bit_image_may_be_as_dark_as_it_likes(tmp_path):
    Image.fromarray(np.full((16, 16, 3), 3, np.uint8)).save(tmp_path / "dark.png")
    assert DIM not in read_rgb(tmp_path / "dark.png").info


# --- becoming square ---


def test_crop_keeps_the_middle_squash_keeps_everything_and_pad_keeps_the_shape(photographs):
    wide = Image.fromarray(np.repeat(np.arange(120, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2))  # grey rises from left to right
    crop, squash, pad = (np.asarray(fit(wide, 20, how)).astype(int)[..., 0] for how in ("crop", "squash", "pad"))
    assert crop[10, [0, -1]] == pytest.approx([41, 78], abs=1), "pixels 40 to 79, two into one"
    assert squash[10, [0, -1]] == pytest.approx([2.5, 116.5], abs=1), "six into one"
    assert (pad[[0, 5, 14, -1]] == 255).all(), "a third of the height is image"
    assert pad[10, [0, -1]] == pytest.approx([2.5, 116.5], abs=1)
    for how in ("crop", "squash", "pad"):
        assert np.array_equal(fit(Image.fromarray(photographs[0][:30, :30]), 30, how), photographs[0][:30, :30]), "a square stays"


@pytest.mark.parametrize("how", ["crop", "squash", "pad"])
def test_folders_are_read_as_asked_and_each_way_is_kept_by_itself(root, photographs, how):
    write(root / "wide.png", photographs[1][:60])
    for _ in range(2):
        load_images(root, size=16)
        images = load_images(root, size=16, reading=Reading(fit=how)).images
        assert np.array_equal(images[0], np.asarray(fit(Image.fromarray(photographs[1][:60]), 16, how)))


def test_embedded_sets_refuse_what_is_for_photographs():
    for reading in (Reading(fit="squash"), Reading(labels="body")):
        with pytest.raises(InputError, match="are square"):
            load_images("digits", reading=reading)
    with pytest.raises(InputError, match="fit must be one of crop, squash, pad, got 'stretch'"):
        Reading(fit="stretch")


def test_a_class_with_a_single_image_is_named(root, photographs):
    for name, n in (("ape", 3), ("yak", 1), ("bee", 1)):
        write_all(root / name, photographs[:n])
    said = load_images(root, size=8).classes_in_words()
    assert said == "classes: ape 3, bee 1, yak 1; a single image is copied rather than learned from: bee, yak"
