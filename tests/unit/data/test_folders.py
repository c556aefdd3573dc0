"""The cache of decoded folders: what is decoded again, and what a cut or a crowd leaves behind."""

import errno
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_folders import write, write_all

from ddpm_utils.data import folders
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError


def test_the_second_load_decodes_nothing(root, photographs, monkeypatch):
    write_all(root, photographs)
    first = load_images(root, size=16)
    monkeypatch.setattr(folders, "read_rgb", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(load_images(root, size=16).images, first.images)


def test_a_changed_file_is_decoded_again(root, photographs):
    files = write_all(root, photographs[:3], ".bmp")
    first = load_images(root, size=16).images.copy()
    write(files[1], photographs[1][::-1])  # the same size in bytes
    second = load_images(root, size=16).images
    assert [np.array_equal(a, b) for a, b in zip(first, second)] == [True, False, True]


def test_new_and_removed_files_and_other_sizes_are_seen(root, photographs):
    files = write_all(root, photographs)
    assert len(load_images(root, size=8)) == 5
    files[0].unlink()
    assert len(load_images(root, size=8)) == 4
    write(root / "new.png", photographs[0])
    assert len(load_images(root, size=8)) == 5
    assert load_images(root, size=12).size == 12


def test_a_half_written_cache_is_not_taken_for_whole(root, cache, photographs):
    write_all(root, photographs)
    whole = load_images(root, size=8).images.copy()
    [folder] = cache.iterdir()
    (folder / "meta.json").unlink()
    (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:300])
    shutil.copytree(folder, folder.with_name(folder.name + ".1.tmp"))
    assert np.array_equal(load_images(root, size=8).images, whole)


def test_an_interrupted_decoding_leaves_nothing_behind(root, cache, photographs, monkeypatch):
    write_all(root, photographs)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folders, "read_rgb", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_images(root, size=8)
    assert list(cache.iterdir()) == []
    assert len(load_images(root, size=8)) == 5


def test_loading_a_folder_several_times_at_once_gives_one_cache(root, photographs, cache):
    write_all(root, photographs)
    with ThreadPoolExecutor(3) as pool:
        sets = list(pool.map(lambda _: load_images(root, size=8), range(3)))
    assert all(np.array_equal(s.images, sets[0].images) for s in sets)
    assert len(list(cache.iterdir())) == 1


def test_a_cache_below_the_home_folder_may_be_written_with_a_tilde(root, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DDPM_CACHE", "~/kept")
    monkeypatch.chdir(tmp_path)
    write_all(root, photographs)
    load_images(root, size=8)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert not (tmp_path / "~").exists()


# --- damage ---


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def zero_the_end(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, empty, zero_the_end, flip_a_bit, lambda path: path.unlink()])
@pytest.mark.parametrize("name", ["images.npy", "meta.json", "checksums.json"])
def test_a_damaged_entry_is_said_and_made_again(root, photographs, cache, capsys, name, damage):
    write_all(root, photographs)
    first = load_images(root, size=8).images.copy()
    [folder] = cache.iterdir()
    damage(folder / name)
    capsys.readouterr()
    assert np.array_equal(load_images(root, size=8).images, first)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert str(folder) in said
    assert "it is made again" in said
    assert np.array_equal(load_images(root, size=8).images, first)
    assert capsys.readouterr().out == "", "whole again"


def test_any_single_flipped_bit_of_an_entry_is_noticed(root, photographs, cache):
    write_all(root, photographs[:2])
    first = load_images(root, size=4).digest
    [folder] = cache.iterdir()
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for position in rng.integers(0, len(whole), 15):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << rng.integers(8)
            path.write_bytes(flipped)
            assert load_images(root, size=4).digest == first
            assert path.read_bytes() == whole, "made again, with the same bytes"


def test_an_entry_of_an_older_version_is_made_again_with_the_same_images(root, photographs, cache, capsys):
    write_all(root, photographs)
    first = load_images(root, size=8).digest
    [folder] = cache.iterdir()
    (folder / "checksums.json").unlink()
    (folder / "meta.json").write_text(json.dumps({"broken": {"0.jpg": "OSError: [Errno 5] Input/output error"}}))
    assert load_images(root, size=8).digest == first
    assert "older versions" in capsys.readouterr().out


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), PermissionError(errno.EACCES, "no"), MemoryError()])
def test_a_passing_error_is_not_remembered(root, photographs, monkeypatch, capsys, error):
    files = write_all(root, photographs)
    read = folders.read_rgb

    def failing(path, size):
        if path == files[2]:
            raise error
        return read(path, size)

    with monkeypatch.context() as patch:
        patch.setattr(folders, "read_rgb", failing)
        with pytest.raises(InputError, match=r"1 of 5 images .*'2.jpg'.*try again"):
            load_images(root, size=8)
        assert len(load_images(root, size=8, skip_broken=True)) == 4
    assert len(load_images(root, size=8)) == 5, "the drive is well again"
    monkeypatch.setattr(folders, "read_rgb", lambda *_: pytest.fail("decoded again"))
    assert len(load_images(root, size=8)) == 5


@pytest.mark.parametrize(
    ("name", "damage"), [("toy-cars:4", truncate), ("toy-cars:4", empty), ("toy-cars:4", flip_a_bit), ("mnist5k", flip_a_bit)]
)
def test_damaged_sets_that_are_drawn_or_parsed_are_made_again(cache, capsys, name, damage):
    first = load_images(name).digest
    path = next(path for path in cache.rglob("*") if path.name in ("image.npy", "mnist5k.npz"))
    damage(path)
    assert load_images(name).digest == first
    assert "is damaged" in (said := capsys.readouterr().out)
    assert "made again" in said
    load_images(name)
    assert capsys.readouterr().out == ""
