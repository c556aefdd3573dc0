"""Image files of any mode, depth, size and orientation are read as the picture that they show."""

from tempfile import TemporaryDirectory

import numpy as np
from any_pictures import MODES, picture, saved
from cases import cases
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from ddpm_utils.choices import FITS
from ddpm_utils.data.images import ORIENTATION, fit, read_rgb
from ddpm_utils.restoration.file_formats import upright

LOSSLESS = {"PNG", "TIFF", "BMP", "PPM", "TGA"}
KINDS = (*sorted(LOSSLESS), "JPEG", "WEBP", "GIF", "ICO", "JPEG2000", "PCX", "AVIF")
PICTURES = {
    "mode": st.sampled_from(MODES),
    "width": st.integers(1, 40),
    "height": st.integers(1, 40),
    "seed": st.integers(0, 9),
}


def read(content: bytes, min_side: int | None = None) -> Image.Image:
    with TemporaryDirectory() as folder:
        path = f"{folder}/a.img"
        with open(path, "wb") as file:
            file.write(content)
        return read_rgb(path, min_side)


@cases(150)
@given(st.fixed_dictionaries(PICTURES), st.sampled_from(KINDS), st.none() | st.integers(1, 40))
def test_any_file_that_pillow_writes_is_read_as_rgb_of_its_size(about, kind, min_side):
    content = saved(picture(**about), kind)
    assume(content is not None)
    rgb = read(content, min_side)
    assert rgb.mode == "RGB"
    if kind not in ("JPEG", "ICO"):  # a JPEG may be read smaller; an icon's picture is a square at most 256 wide
        assert rgb.size == (about["width"], about["height"])
    assert min(rgb.size) >= min(min_side or 1, about["width"], about["height"])


@cases(80)
@given(
    st.fixed_dictionaries({**PICTURES, "mode": st.sampled_from(("1", "L", "RGB"))}), st.sampled_from(sorted(LOSSLESS)), st.integers(1, 8)
)
def test_eight_bits_are_read_as_they_are_and_turned_by_their_tag(about, kind, orientation):
    image = picture(**about)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"exif": exif} if kind in ("PNG", "TIFF") else {}
    content = saved(image, kind, **options)
    assume(content is not None)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(content), upright(expected, orientation) if options else expected)


@cases(60)
@given(st.fixed_dictionaries({**PICTURES, "mode": st.sampled_from(("I;16", "I;16B"))}), st.sampled_from(("PNG", "TIFF")))
def test_sixteen_bits_are_scaled_to_the_nearest_of_eight(about, kind):
    image = picture(**about)
    values = np.frombuffer(image.tobytes(), ">u2" if about["mode"] == "I;16B" else "<u2").reshape(about["height"], about["width"])
    content = saved(image, kind)
    assume(content is not None)
    assert np.abs(np.asarray(read(content)).astype(int) - (values / 257)[..., None]).max() <= 0.5


@cases(60)
@given(st.fixed_dictionaries({**PICTURES, "mode": st.sampled_from(("LA", "RGBA"))}), st.sampled_from(("PNG", "TIFF", "WEBP")))
def test_what_is_transparent_becomes_white_and_nothing_else_changes(about, kind):
    image = picture(**about)
    content = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assume(content is not None)
    rgba, rgb = np.asarray(image.convert("RGBA")), np.asarray(read(content))
    seen = rgba[..., 3] > 0
    assert (rgb[~seen] == 255).all()
    assert np.array_equal(rgb[seen], rgba[seen][:, :3])


@cases(150)
@given(st.integers(1, 3000), st.integers(1, 40), st.booleans(), st.integers(1, 33), st.sampled_from(FITS))
@example(3000, 1, True, 8, "pad")
def test_an_image_of_any_proportions_becomes_a_square_of_any_size(long, short, lies, size, how):
    square = fit(Image.new("RGB", (long, short) if lies else (short, long), (10, 20, 30)), size, how)
    assert (square.mode, square.size) == ("RGB", (size, size))
    if how != "pad":
        assert square.getextrema() == ((10, 10), (20, 20), (30, 30))
