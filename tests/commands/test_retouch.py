"""`python -m ddpm_utils retouch`: one photograph, a folder of them, and what is refused."""

import os
import shutil
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image
from retouch_record import large_photograph, measure, random_model

from ddpm_utils import models
from ddpm_utils.__main__ import main
from ddpm_utils.config import TrainConfig
from ddpm_utils.models import load_model, save_model
from ddpm_utils.restoration import photos, retouch
from ddpm_utils.restoration.photos import read_photograph
from ddpm_utils.restoration.settings import RetouchSettings
from ddpm_utils.unet import UNet, UNetConfig


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_model(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def image():
    return skimage.data.coffee()[100:196, 200:320]


@pytest.fixture
def photo(tmp_path, image):
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def folder(tmp_path, image):
    """Three good photographs, one of them in a subfolder, one broken, and a file that is none."""
    root = tmp_path / "photos"
    (root / "of a day").mkdir(parents=True)
    Image.fromarray(image).save(root / "a.png")
    Image.fromarray(image).save(root / "b.jpg", quality=95)
    Image.fromarray(image[::-1]).save(root / "of a day" / "c.png")
    (root / "broken.jpg").write_bytes((root / "b.jpg").read_bytes()[:900])
    (root / "notes.txt").write_text("not a photograph")
    return root


def run(*words):
    return main(["retouch", *map(str, words), "--device", "cpu"])


def pixels(path):
    return np.asarray(Image.open(path))


# --- one photograph ---


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ((), {}),
        (("--strength", "0.5", "--seed", "3"), {"strength": 0.5, "seed": 3}),
        (("--samples", "2", "--steps", "2"), {"samples": 2, "steps": 2}),
        (("--detail", "--short-side", "24"), {"detail": True, "short_side": 24}),
    ],
)
def test_the_command_does_what_the_function_does(model, photo, image, tmp_path, capsys, flags, settings):
    out = tmp_path / "new" / "out.png"
    assert run(model, photo, "--out", out, *flags) == 0
    expected = retouch(load_model(model), image, RetouchSettings(**settings))
    assert np.array_equal(pixels(out), expected)
    share = (expected != image).any(2).mean()
    assert 0.5 < share < 1
    assert f"photo.png: {share:.1%} of the pixels changed" in capsys.readouterr().out
    assert np.array_equal(pixels(photo), image), "the source stays"


def test_without_a_model_the_shipped_one_is_used(model, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "SHIPPED", tmp_path / "weights")
    assert run(photo, "--out", tmp_path / "a.png") == 2
    assert "no shipped model 'retouch'; those shipped are none in this copy" in capsys.readouterr().err
    (tmp_path / "weights").mkdir()
    shutil.copy(model, tmp_path / "weights" / "retouch.safetensors")
    for i, words in enumerate([(model,), ("retouch",), ()]):
        assert run(*words, photo, "--out", tmp_path / f"{i}.png") == 0
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_strength_0_gives_the_file_itself(model, image, tmp_path, capsys, ending):
    Image.fromarray(image).save(tmp_path / f"photo{ending}")
    assert run(model, tmp_path / f"photo{ending}", "--out", tmp_path / f"out{ending}", "--strength", 0) == 0
    assert (tmp_path / f"out{ending}").read_bytes() == (tmp_path / f"photo{ending}").read_bytes()
    assert "0.0% of the pixels changed" in capsys.readouterr().out


def test_a_mask_is_painted_on_the_photograph_as_it_is_seen(model, image, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side in the file
    Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(tmp_path / "photo.png", exif=turned)
    Image.fromarray(np.repeat(np.uint8([0, 255]), 60)[None].repeat(96, 0)).save(tmp_path / "mask.png")
    assert run(model, tmp_path / "photo.png", "--out", tmp_path / "out.png", "--mask", tmp_path / "mask.png") == 0
    result = read_photograph(tmp_path / "out.png")
    assert result.orientation == 6
    changed = (result.pixels != image).any(2)
    assert changed.shape == (96, 120)
    assert not changed[:, :60].any()
    assert changed[:, 60:].mean() > 0.5


def test_alpha_grey_and_16_bits_go_through(model, image, tmp_path):
    alpha = np.arange(96 * 120, dtype=np.uint8).reshape(96, 120, 1)
    kinds = {"rgba": np.dstack([image, alpha]), "grey": image[..., 1], "la": np.dstack([image[..., 1], alpha])}
    kinds["deep"] = image[..., 1].astype(np.uint16) * 257
    for name, array in kinds.items():
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        assert run(model, tmp_path / f"{name}.png", "--out", tmp_path / f"{name}-out.png") == 0
        after = pixels(tmp_path / f"{name}-out.png")
        assert after.shape == array.shape
        assert after.dtype == array.dtype
        assert (after != array).any()
        if name in ("rgba", "la"):
            assert np.array_equal(after[..., -1:], alpha)


def test_side_by_side_shows_before_and_after(model, photo, image, tmp_path):
    for ending in ("png", "jpg"):
        assert run(model, photo, "--out", tmp_path / f"{ending}.png", "--side-by-side", tmp_path / f"sheet.{ending}") == 0
    sheet = pixels(tmp_path / "sheet.png")
    assert sheet.shape == (96 + 20, 3 * 120 + 16, 3)
    assert np.array_equal(sheet[20:, :120], image)
    assert np.array_equal(sheet[20:, 128:248], pixels(tmp_path / "png.png"))
    assert Image.open(tmp_path / "sheet.jpg").format == "JPEG"


def test_what_was_found_is_told_and_shown(photo, tmp_path, capsys):
    assert run(photo, "--out", tmp_path / "out.png", "--people", "--cloth", "--side-by-side", tmp_path / "sheet.png") == 0
    assert "; wrinkles count on 0.0% of the photograph; no face was found, " in capsys.readouterr().out
    assert pixels(tmp_path / "sheet.png").shape == (96 + 20, 4 * 120 + 24, 3)


def test_a_photograph_without_wrinkles_says_how_to_see_what_the_network_thought(photo, image, tmp_path, capsys):
    assert run(photo, "--out", tmp_path / "out.png") == 0
    assert (
        "0.0% of the pixels changed (no wrinkle is sure enough; --raw shows what the network alone would change), "
        in capsys.readouterr().out
    )
    assert run(photo, "--out", tmp_path / "raw.png", "--raw") == 0
    assert "sure enough" not in capsys.readouterr().out
    assert (pixels(tmp_path / "raw.png") != image).any()


def test_wrinkles_are_where_a_person_painted_them(model, photo, image, tmp_path):
    Image.fromarray(np.repeat(np.uint8([0, 255]), 60)[None].repeat(96, 0)).save(tmp_path / "here.png")
    assert run(model, photo, "--out", tmp_path / "out.png", "--wrinkles", tmp_path / "here.png") == 0
    changed = (pixels(tmp_path / "out.png") != image).any(2)
    assert not changed[:, :60].any()
    assert changed[:, 60:].mean() > 0.5
    assert run(model, photo, "--out", tmp_path / "less.png", "--wrinkles", tmp_path / "here.png", "--exclude", tmp_path / "here.png") == 0
    assert (pixels(tmp_path / "less.png") == image).all()


# --- a folder ---


def test_what_was_rejected_on_the_page_is_put_back(model, folder, tmp_path, capsys):
    (folder / "broken.jpg").unlink()
    out, page = tmp_path / "out", tmp_path / "report.html"
    assert run(model, folder, "--out", out, "--report", page) == 0
    assert f"3 photographs to look at: {page}" in capsys.readouterr().out
    assert all(name in page.read_text() for name in ("photos/a.png", "photos/b.jpg", "out/of%20a%20day/c.png"))
    (tmp_path / "decisions.json").write_text('{"rejected": ["of a day/c.png", "b.jpg"]}')
    assert run(model, folder, "--out", out, "--restore", tmp_path / "decisions.json") == 0
    assert "2 put back as they were" in capsys.readouterr().out
    same = {name: (out / name).read_bytes() == (folder / name).read_bytes() for name in ("a.png", "b.jpg", "of a day/c.png")}
    assert same == {"a.png": False, "b.jpg": True, "of a day/c.png": True}


def test_a_broken_file_does_not_lose_the_others(model, folder, tmp_path, capsys):
    out, sheets = tmp_path / "out", tmp_path / "sheets"
    assert run(model, folder, "--out", out, "--side-by-side", sheets) == 1
    said = capsys.readouterr().out
    assert "left out: 1 .txt\n" in said
    assert "3 retouched, 1 failed\n  broken.jpg: " in said
    assert said.count("of the pixels changed") == 3
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert written == ["a.png", "b.jpg", "of a day/c.png"], "no half and no temporary file"
    assert sorted(p.name for p in sheets.rglob("*.png")) == ["a.png.png", "b.jpg.png", "c.png.png"]
    expected = retouch(load_model(model), pixels(folder / "of a day" / "c.png"))
    assert np.array_equal(pixels(out / "of a day" / "c.png"), expected), "as alone, whatever came before"


def test_what_is_done_stays_unless_asked(model, folder, capsys):
    out = folder / "retouched"  # inside the folder: its images aren't photographs of the next run
    (folder / "broken.jpg").unlink()
    assert run(model, folder, "--out", out) == 0
    first = {p: p.stat().st_mtime_ns for p in out.rglob("*.*")}
    (out / "a.png").unlink()
    capsys.readouterr()
    assert run(model, folder, "--out", out) == 0
    said = capsys.readouterr().out
    assert "2 are in" in said
    assert "1 retouched, 0 failed" in said
    assert out / "b.jpg" in first
    assert (out / "b.jpg").stat().st_mtime_ns == first[out / "b.jpg"]
    assert run(model, folder, "--out", out, "--overwrite") == 0
    assert (out / "b.jpg").stat().st_mtime_ns > first[out / "b.jpg"]
    assert "3 retouched, 0 failed" in capsys.readouterr().out


def test_linked_folders_are_followed_and_hidden_ones_are_not(model, image, tmp_path, capsys):
    root, store = tmp_path / "photos", tmp_path / "store"
    for name in ("a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png", "._a.png", "phone/b.heic", "c.gif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / name, format="PNG")
    store.mkdir()
    Image.fromarray(image[::-1]).save(store / "d.png")
    (root / "linked").symlink_to(store)
    (root / "linked" / "loop").symlink_to(root)
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "circle").symlink_to("circle")
    out = tmp_path / "out"
    assert run(model, root, "--out", out, "--strength", 0) == 0
    said = capsys.readouterr().out
    assert "left out: 1 .gif, 1 .heic (convert them to JPEG), 1 folder seen already by another name, 1 hidden, 1 link to nowhere\n" in said
    assert "2 retouched, 0 failed" in said
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == ["a.png", "linked/d.png"]
    assert np.array_equal(pixels(out / "linked" / "d.png"), image[::-1])


def test_names_of_photographs_are_escaped(model, image, tmp_path, capsys):
    root = tmp_path / "photos"
    root.mkdir()
    for name in (b"\x1b[31mred\n.png", b"caf\xe9.png"):
        Image.fromarray(image).save(tmp_path / "plain.png")
        (tmp_path / "plain.png").rename(os.fsdecode(os.fsencode(root) + b"/" + name))
    (root / "\x07.png").write_bytes(b"")
    (root / "a.\x1b]0;title\x07").write_bytes(b"")
    assert run(model, root, "--out", tmp_path / "out", "--strength", 0) == 1
    said = capsys.readouterr().out
    assert all(c.isprintable() or c in "\n\r" for c in said)
    assert all(name in said for name in (r"\x1b[31mred\n.png: 0.0%", r"caf\udce9.png: 0.0%", r"\x07.png: failed"))


def test_ctrl_c_leaves_what_is_finished(model, folder, tmp_path, monkeypatch, capsys):
    seen = []

    def interrupted(path):
        seen.append(path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return read_photograph(path)

    monkeypatch.setattr(photos, "read_photograph", interrupted)
    (folder / "broken.jpg").unlink()
    assert run(model, folder, "--out", tmp_path / "out") == 130
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["a.png", "b.jpg"]


def test_every_photograph_of_a_folder_has_its_mask(model, folder, tmp_path, image, capsys):
    masks = tmp_path / "masks"
    (masks / "of a day").mkdir(parents=True)
    half = Image.fromarray(np.repeat(np.uint8([0, 255]), 60)[None].repeat(96, 0))
    half.save(masks / "a.png")
    half.save(masks / "of a day" / "c.bmp")
    assert run(model, folder, "--out", tmp_path / "out", "--mask", masks) == 1
    assert "2 retouched, 2 failed" in (said := capsys.readouterr().out)
    assert "b.jpg: there is no mask" in said, "one without a mask isn't retouched everywhere instead"
    for name, before in (("a.png", image), ("of a day/c.png", image[::-1])):
        changed = (pixels(tmp_path / "out" / name) != before).any(2)
        assert not changed[:, :60].any()
        assert changed[:, 60:].any()


# --- bad input ---


def test_wrong_arguments_are_told_in_one_sentence_before_work_starts(model, photo, folder, tmp_path, capsys):
    generator = tmp_path / "generator.safetensors"
    network = UNetConfig(8, 1, 8, (1,), 1, (), groups=4)
    save_model(UNet(network), TrainConfig(network=network), (), generator)
    there = tmp_path / "there.png"
    shutil.copy(photo, there)
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    out = ("--out", tmp_path / "out.png")
    cases = [
        ((model, tmp_path / "missing.jpg", *out), "there is no photograph or folder"),
        ((model, photo, "--out", photo), "is the source itself"),
        ((model, photo, "--out", tmp_path), "is the source itself"),
        ((model, photo, "--out", there), "exists already; choose another name, or pass --overwrite"),
        ((model, photo, "--out", tmp_path / "out.jpg"), "--out must end in '.png'"),
        ((model, photo, "--out", there / "out.png"), "is a file; choose another name"),
        ((model, photo, *out, "--side-by-side", tmp_path / "sheet.gif"), "--side-by-side must name a file that ends in .png or .jpg"),
        ((model, photo, *out, "--mask", tmp_path / "missing.png"), "there is no mask"),
        ((model, photo, *out, "--mask", there, "--side-by-side", there, "--overwrite"), "is the source itself"),
        ((generator, photo, *out), "retouching needs one that was trained on pairs"),
        ((photo, photo, *out), "is damaged or not a safetensors file"),
        ((model, photo, *out, "--strength", "2"), "strength must lie in [0, 1], got 2.0"),
        ((model, photo, *out, "--steps", "0"), "steps must lie in 1"),
        ((model, photo, *out, "--samples", "0"), "samples must be at least 1"),
        ((model, photo, *out, "--short-side", "4"), "short_side must be at least 16"),
        ((model, tmp_path / "dot.png", *out), "got 1x1"),
        ((model, folder, "--out", folder), "nothing is retouched in place"),
        ((model, folder, "--out", there), "--out must be a folder"),
        ((model, folder, "--out", tmp_path / "o", "--mask", there), "--include must be a folder"),
        ((model, folder, "--out", tmp_path / "o", "--wrinkles", there), "--wrinkles must be a folder"),
        ((model, tmp_path / "empty", "--out", tmp_path / "o"), "no photographs in"),
    ]
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for words, message in cases:
        assert run(*words) == 2, words
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before, "nothing written, nothing lost"


# --- size ---


def test_24_megapixels_take_less_than_2_gigabytes(model, tmp_path):
    photo = large_photograph(tmp_path / "photo.jpg", 24)
    words = [sys.executable, "-m", "ddpm_utils", "retouch", str(model), str(photo), "--out", str(tmp_path / "out.jpg"), "--device", "cpu"]
    code, said, seconds, computing, memory = measure(words)
    print(f"{seconds:.1f} s, {computing:.1f} s of computing, {memory:.2f} GB")
    assert code == 0, said
    assert memory < 2
    with Image.open(tmp_path / "out.jpg") as after:
        assert after.size == (6000, 4000)


def test_a_kind_that_cannot_be_retouched_is_named_before_the_name_of_its_result(tmp_path, capsys):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"0000ftypheic")
    assert main(["retouch", str(tmp_path / "IMG_1.HEIC"), "--out", str(tmp_path / "x.jpg")]) == 2
    assert "convert it to JPEG first" in capsys.readouterr().err


def test_damaged_tags_of_a_photograph_cost_no_warnings(tmp_path, photographs, recwarn, capsys):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0"  # five entries are announced, one is there
    Image.fromarray(photographs[0]).save(tmp_path / "a.jpg", exif=exif)
    assert main(["retouch", str(tmp_path / "a.jpg"), "--out", str(tmp_path / "b.jpg"), "--device", "cpu"]) == 0
    assert [str(warning.message) for warning in recwarn] == []
    assert capsys.readouterr().err == ""
