"""The cache of decoded folders: what is decoded again, and what a cut or a crowd leaves behind."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_folders import write, write_all

from ddpm_utils.data import folders
from ddpm_utils.data.sources import load_images


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
