"""Which files of a folder are looked at: links, hidden files, every kind of picture, and words about the rest."""

import os
from pathlib import Path

import numpy as np
import pytest
from image_folders import write, write_all
from PIL import Image, features

from ddpm_utils.data.images import read_rgb
from ddpm_utils.data.listing import files_below, image_endings
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError

KINDS = {".tif": "TIFF", ".tiff": "TIFF", ".jfif": "JPEG", ".jpe": "JPEG", ".ppm": "PPM", ".pnm": "PPM", ".tga": "TGA", ".jp2": "JPEG2000"}
KINDS |= {".gif": "GIF", ".pcx": "PCX", ".mpo": "MPO", ".TIF": "TIFF"} | ({".avif": "AVIF"} if features.check("avif") else {})


def names_below(root):
    return [path.relative_to(root).as_posix() for path in files_below(root).files]


@pytest.fixture
def store(tmp_path, photographs):
    """Folders ape and cat with two pictures each, outside of the data."""
    write_all(tmp_path / "store" / "ape", photographs[:2], ".png")
    write_all(tmp_path / "store" / "cat", photographs[2:4], ".png")
    return tmp_path / "store"


# --- links ---


def test_class_folders_that_are_links_give_what_real_ones_give(root, store):
    root.mkdir()
    for name in ("ape", "cat"):
        (root / name).symlink_to(store / name)
    linked, real = load_images(root, size=8), load_images(store, size=8)
    assert linked.classes == real.classes == ("ape", "cat")
    assert linked.digest == real.digest


def test_one_linked_class_among_real_ones_keeps_its_label(root, store, photographs):
    write(root / "bird" / "0.png", photographs[4])
    write(root / "zebra" / "0.png", photographs[4])
    (root / "cat").symlink_to(os.path.relpath(store / "cat", root))
    images = load_images(root, size=8)
    assert images.classes == ("bird", "cat", "zebra")
    assert images.labels.tolist() == [0, 1, 1, 2]


def test_loops_end_and_each_real_folder_counts_once(root, store, capsys):
    (root / "deep").mkdir(parents=True)
    (root / "ape").symlink_to(store / "ape")
    (root / "again").symlink_to(store / "ape")
    (root / "self").symlink_to(root)
    (root / "deep" / "up").symlink_to(root.parent)  # would drag in everything beside the data
    (root / "ape" / "back").symlink_to(root / "deep")
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    assert names_below(root) == ["again/0.png", "again/1.png"], "the first name in order"
    assert len(load_images(root, size=8)) == 2
    said = capsys.readouterr().out
    assert said == "left out: 2 folders seen already by another name, 2 links that close loops, 2 links to nowhere\n"


def test_links_to_files_and_a_link_as_the_data_path_work(root, store):
    root.mkdir()
    for path in (store / "ape").iterdir():
        (root / path.name).symlink_to(path)
    root.with_name("link").symlink_to(root)
    assert load_images(root.with_name("link"), size=8).digest == load_images(store / "ape", size=8).digest


def test_a_link_to_nowhere_is_a_broken_image(root, photographs, capsys):
    write_all(root, photographs[:3], ".png")
    (root / "gone.png").symlink_to(root.parent / "nothing.png")
    with pytest.raises(InputError, match=r"1 of 4 images .*'gone.png' \(FileNotFoundError.*--skip-broken"):
        load_images(root, size=8)
    (root / "circle.png").symlink_to("circle.png")
    assert len(load_images(root, size=8, skip_broken=True)) == 3
    assert "skipping 2 broken images: circle.png, gone.png" in capsys.readouterr().out
    write(root.parent / "nothing.png", photographs[3])
    (root / "circle.png").unlink()
    assert len(load_images(root, size=8)) == 4, "what is there now is seen"


# --- kinds ---


@pytest.mark.parametrize("ending", KINDS)
def test_every_kind_that_pillow_opens_is_read(root, photographs, ending):
    kind = KINDS[ending]
    picture = Image.fromarray(photographs[0][:64, :64])
    root.mkdir()
    picture.save(root / f"one{ending}", format=kind)
    with Image.open(root / f"one{ending}") as image:
        expected = np.asarray(image.convert("RGB"))
    images = load_images(root, size=64)
    assert np.array_equal(images.images[0], expected)
    assert np.abs(images.images[0].mean((0, 1)) - photographs[0][:64, :64].mean((0, 1))).max() < 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_all_that_pillow_writes_in_whatever_mode_is_read(tmp_path, photographs):
    picture = Image.fromarray(photographs[0][:32, :32])
    modes = {m: picture.convert(m) for m in ("RGB", "L", "P", "1", "RGBA", "CMYK", "YCbCr")}
    modes |= {m: picture.convert("L").convert(m) for m in ("I;16", "I", "F")} | {
        m: picture.convert("RGBA").convert(m) for m in ("LA", "PA")
    }
    written = 0
    for ending in sorted(image_endings()):
        for mode, image in modes.items():
            path = tmp_path / f"{mode.replace(';', '')}{ending}"
            try:
                image.save(path)
            except Exception:  # not in this mode, or not at all
                continue
            assert read_rgb(path, 8).mode == "RGB", path.name
            written += 1
    assert written > 150


def test_of_an_animation_the_first_frame_is_taken(root):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    root.mkdir()
    frames[0].save(root / "moving.gif", save_all=True, append_images=frames[1:])
    assert (load_images(root, size=16).images[0] == (255, 0, 0)).all()


def test_a_class_of_tiffs_stays_a_class(root, photographs):
    for name, ending in (("a", ".png"), ("b", ".jpg"), ("c", ".tif")):
        write(root / name / f"0{ending}", photographs[0])
    assert load_images(root, size=8).classes == ("a", "b", "c")


def test_what_is_no_picture_is_not_taken_for_one():
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".gif", ".ppm", ".pgm", ".jfif", ".jpe"} <= image_endings()
    assert not {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".grib", ".wmf", ".heic"} & image_endings()


@pytest.mark.parametrize("scale", [1, 4])
def test_floats_up_to_1_are_not_black(root, scale):
    ramp = np.tile(np.linspace(0, 255, 16, dtype=np.float32), (16, 1))
    root.mkdir()
    Image.fromarray(ramp / 255 if scale == 1 else ramp).save(root / "ramp.tif")
    assert np.array_equal(load_images(root, size=16).images[0, ..., 0], ramp.round().astype(np.uint8))


def test_values_that_are_not_finite_are_a_broken_image(root):
    root.mkdir()
    Image.fromarray(np.full((16, 16), np.nan, np.float32)).save(root / "nan.tif")
    with pytest.raises(InputError, match="aren't finite"):
        load_images(root, size=16)


# --- words about the rest ---


def test_one_line_counts_what_was_left_out_by_ending_and_reason(root, photographs, capsys):
    write_all(root / "ape", photographs, ".png")
    write_all(root / "cat", photographs, ".png")
    (root / "dog").mkdir()
    for name in ("1.heic", "2.HEIC", "3.heif"):
        (root / "dog" / name).write_bytes(b"\0\0\0\x18ftypheic")
    for name in ("labels.csv", "ape/a.txt", "ape/b.txt", "cat/c.txt", "cat/README", "cat/._0.png", "film.mpg"):
        (root / name).write_text("x")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "cat/THUMBS.DB"):
        (root / name).write_text("x")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        write_all(root / name, photographs[:1], ".png")
    assert load_images(root, size=8).classes == ("ape", "cat")
    assert capsys.readouterr().out == (
        "left out: 3 .txt, 2 .heic (convert them to JPEG), 1 .csv, 1 .heif (convert them to JPEG), 1 .mpg, "
        "1 folder without images ('dog'), 1 hidden, 1 without an ending\n"
    )


def test_what_lies_beside_a_folder_that_is_passed_through_is_counted_too(root, photographs, capsys):
    write_all(root / "photos", photographs[:2])
    (root / "phone").mkdir()
    (root / "phone" / "a.heic").write_bytes(b"x")
    (root / "list.txt").write_text("x")
    assert load_images(root, size=8).labels is None
    assert capsys.readouterr().out == "left out: 1 .heic (convert them to JPEG), 1 .txt\n"


def test_nothing_is_said_where_nothing_was_left_out(root, photographs, capsys):
    write_all(root, photographs)
    (root / "Thumbs.db").write_text("x")
    load_images(root, size=8)
    assert capsys.readouterr().out == ""


def test_a_folder_of_nothing_else_says_what_to_do(root):
    root.mkdir()
    for i in range(3):
        (root / f"{i}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(InputError, match=r"no images in .*3 \.heic \(convert them to JPEG\)"):
        load_images(root)


def test_many_kinds_are_summed_up(root, photographs, capsys):
    write_all(root, photographs[:1])
    for i in range(12):
        (root / f"a.x{i:02d}").write_text("x")
    load_images(root, size=8)
    assert capsys.readouterr().out.endswith("1 .x07, 4 others\n")


def test_a_folder_that_is_called_like_an_image_is_a_folder(root, photographs):
    write_all(root / "album.jpg", photographs[:2], ".png")
    assert names_below(root) == ["album.jpg/0.png", "album.jpg/1.png"]
    assert len(load_images(root, size=8)) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Unix has them")
def test_a_pipe_that_is_called_like_an_image_does_not_wait_for_ever(root, photographs, capsys):
    write_all(root, photographs[:2])
    os.mkfifo(root / "pipe.jpg")
    assert len(load_images(root, size=8)) == 2
    assert "1 special file" in capsys.readouterr().out


# --- names ---


def test_names_that_are_no_utf8_are_read_cached_and_escaped(root, photographs, capsys):
    write_all(root, photographs[:2], ".png")
    strange = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png"))
    strange.write_bytes((root / "0.png").read_bytes())
    first = load_images(root, size=8)
    assert np.array_equal(first.images, load_images(root, size=8).images)
    assert np.array_equal(first.images[2], first.images[0])
    strange.write_bytes(b"")
    assert len(load_images(root, size=8, skip_broken=True)) == 2
    assert r"skipping 1 broken images: caf\udce9.png" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"'caf\\udce9.png'"):
        load_images(root, size=8)


def test_control_characters_in_names_do_not_reach_the_terminal(root, photographs, capsys):
    write_all(root, photographs[:2], ".png")
    (root / "\x1b[31mred\nline.png").write_bytes(b"")
    (root / "a.\x1b]0;title\x07").write_bytes(b"")
    load_images(root, size=8, skip_broken=True)
    said = capsys.readouterr().out
    assert said.count("\n") == 2
    assert all(c.isprintable() for c in said.replace("\n", ""))
    assert r"\x1b[31mred\nline.png" in said
    with pytest.raises(InputError) as caught:
        load_images(root, size=8)
    assert str(caught.value).isprintable()
