"""Files that appear whole or not at all."""

import os

import numpy as np
import pytest

from ddpm_utils.runtime.files import atomic_path, atomic_write


def write_bytes(path, content):
    with atomic_write(path) as file:
        file.write(content[:1])
        assert not path.exists() or path.read_bytes() == b"before"
        file.write(content[1:])


def write_array(path, content):
    with atomic_path(path) as temporary:
        assert temporary.suffix == path.suffix, "np.save would add the ending otherwise, and write elsewhere"
        np.save(temporary, np.frombuffer(content, np.uint8))
        assert not path.exists() or path.read_bytes() == b"before"


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("write", [write_bytes, write_array])
def test_a_file_gets_its_name_when_it_is_whole(tmp_path, write, there):
    path = tmp_path / "a.npy"
    if there:
        path.write_bytes(b"before")
    write(path, b"after")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]
    content = path.read_bytes() if write is write_bytes else np.load(path).tobytes()
    assert content == b"after"


@pytest.mark.parametrize("writing", [atomic_write, atomic_path])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, writing):
    path = tmp_path / "a.npy"
    path.write_bytes(b"before")

    def fail():
        with writing(path) as begun:
            begun.write(b"half") if writing is atomic_write else begun.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.npy": b"before"}


def test_two_processes_write_to_a_cache_under_different_names(tmp_path, monkeypatch):
    names = []
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        with atomic_path(tmp_path / "a.npy") as temporary:
            names.append(temporary)
            temporary.touch()
    assert names[0] != names[1]
