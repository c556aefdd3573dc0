"""Retouching and prepare-pairs on pictures of any kind: size and mode stay, outside of the change nothing moves, and what can't be done is said."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from any_pictures import MODES, picture, saved
from cases import cases, check_sentence
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image
from retouchers import make_model

from ddpm_utils.data.images import ORIENTATION
from ddpm_utils.data.pairs import change_mask
from ddpm_utils.data.prepare_pairs import prepare_pairs
from ddpm_utils.data.prepare_settings import PrepareSettings
from ddpm_utils.errors import InputError
from ddpm_utils.restoration import retouch
from ddpm_utils.restoration.photos import read_photograph, write_photograph
from ddpm_utils.restoration.settings import RetouchSettings

ENDINGS = {"PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp", "JPEG": ".jpg"}
FAST = RetouchSettings(short_side=64)
OPEN = make_model("regression", seed=1, bias=20.0)


@st.composite
def photographs(draw, low=1, high=80) -> tuple[str, bytes]:
    """(ending, content) of a picture in a file, of any mode that its kind can hold."""
    kind = draw(st.sampled_from(sorted(ENDINGS)))
    about = {"width": draw(st.integers(low, high)), "height": draw(st.integers(low, high)), "seed": draw(st.integers(0, 9))}
    exif = Image.Exif()
    exif[ORIENTATION] = draw(st.integers(0, 9))
    options = {} if kind == "BMP" else {"exif": exif}
    return ENDINGS[kind], saved(picture(draw(st.sampled_from(MODES)), **about), kind, **options) or b""


@cases(60)
@given(photographs(), st.sampled_from((0.0, 0.5, 1.0)), st.integers(0, 3))
def test_a_retouched_photograph_keeps_size_mode_alpha_and_all_pixels_outside_the_mask(photograph, strength, seed):
    ending, content = photograph
    with TemporaryDirectory() as folder:
        path, out = Path(folder) / f"before{ending}", Path(folder) / f"after{ending}"
        path.write_bytes(content)
        try:
            before = read_photograph(path)
            mask = (np.random.default_rng(seed).random(before.pixels.shape[:2]) < 0.5).astype(np.float32)
            pixels = retouch(OPEN, before.pixels, RetouchSettings(short_side=64, strength=strength), mask)
        except InputError as error:
            event("refused")
            check_sentence(error)
            return
        assert np.array_equal(pixels[mask == 0], before.pixels[mask == 0])
        event("retouched" if (pixels != before.pixels).any() else "left alone")
        write_photograph(before, pixels, out)
        assert path.read_bytes() == content
        if (pixels == before.pixels).all():
            assert out.read_bytes() == content
        after = read_photograph(out)
        assert (after.pixels.shape, after.pixels.dtype) == (pixels.shape, pixels.dtype)
        with Image.open(path) as a, Image.open(out) as b:
            assert (a.mode, a.size, a.format) == (b.mode, b.size, b.format)
        assert np.array_equal(after.alpha, before.alpha)
        if ending != ".jpg":
            assert np.array_equal(after.pixels, pixels)


def pair_of(ending: str, seed: int, shift: int) -> tuple[bytes, bytes]:
    """A file and the same picture with a smoother square somewhere; shift: pixels by which it is moved."""
    rng = np.random.default_rng(seed)
    y, x = rng.integers(0, 24, 2)
    source = np.asarray(Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((64, 64), Image.Resampling.BICUBIC))
    target = np.roll(source, shift, 1).copy()
    target[y : y + 30, x : x + 30] = target[y : y + 30, x : x + 30].mean((0, 1))
    both = [saved(Image.fromarray(a), {v: k for k, v in ENDINGS.items()}[ending], quality=95) for a in (source, target)]
    return both[0], both[1]


PAIRS = st.tuples(st.sampled_from((".png", ".bmp", ".jpg")), st.integers(0, 99), st.sampled_from((0, 0, 0, 3)))


@cases(15)
@given(
    st.lists(PAIRS, min_size=1, max_size=3),
    st.lists(photographs(8, 40), max_size=2),
    st.sampled_from((16, 32, 64)),
    st.integers(1, 4),
    st.booleans(),
)
def test_crops_are_cut_out_of_their_photographs_and_differ_where_their_mask_says(pairs, odd, size, crops, skip_broken):
    with TemporaryDirectory() as folder:
        source, target, out = (Path(folder) / name for name in ("source", "target", "out"))
        source.mkdir()
        target.mkdir()
        for i, (ending, seed, shift) in enumerate(pairs):
            for place, content in zip((source, target), pair_of(ending, seed, shift)):
                (place / f"{i}{ending}").write_bytes(content)
        for i, (ending, content) in enumerate(odd):
            for place in (source, target):
                (place / f"odd{i}{ending}").write_bytes(content)
        try:
            prepare_pairs(source, target, out, PrepareSettings(size=size, crops=crops), skip_broken)
        except InputError as error:
            event("refused")
            check_sentence(error)
            return
        event("cut")
        split = json.loads((out / "split.json").read_text())
        names = [f"{name}_{i:02d}.png" for part in ("train", "test") for name, n in split[part].items() for i in range(n)]
        assert sorted(names) == sorted(path.name for path in (out / "source").iterdir())
        for name in names:
            a, b, mask = (np.asarray(Image.open(out / part / name)) for part in ("source", "target", "mask"))
            assert a.shape == b.shape == (size, size, 3)
            assert np.array_equal(change_mask(a, b), mask > 0)
            photograph = name.rpartition("_")[0]
            record = json.loads((out / "records" / f"{photograph}.json").read_text())
            x, y, side = record["crops"][int(name[-6:-4])]["window"]
            top, _, left, _ = record["bars"]
            if side == size:  # nothing is scaled: the crop is a part of the photograph, pixel by pixel
                [file] = source.glob(f"{photograph}.*")
                whole = np.asarray(Image.open(file).convert("RGB"))[top:, left:]
                assert np.array_equal(a, whole[y : y + side, x : x + side])


@cases(40)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99), st.sampled_from((np.uint8, np.uint16)), st.sampled_from((1, 3)))
def test_a_network_that_leaves_all_alone_changes_no_bit(height, width, seed, dtype, channels):
    image = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)
    closed = make_model("regression", seed=1, bias=-1e6)
    torch.manual_seed(seed)
    try:
        assert np.array_equal(retouch(closed, image, FAST), image)
    except InputError as error:
        check_sentence(error)
