"""Files that appear whole or not at all, and folders that one process has for itself."""

import errno
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from ddpm_utils.errors import InputError
from ddpm_utils.runtime import files
from ddpm_utils.runtime.files import atomic_path, atomic_write, check_apart, check_writable, locked


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


# --- locks ---

HERE = f"{os.getpid()} {socket.gethostname()}\n"


def refusal(folder) -> str:
    with pytest.raises(InputError) as caught, locked(folder):
        pass
    return str(caught.value)


def without_locks(monkeypatch, system):
    """As on a drive, or a system, that has no locks."""

    def flock(descriptor, how):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(files, "fcntl", None) if system else monkeypatch.setattr(files.fcntl, "flock", flock)


@pytest.mark.parametrize("locks", ["there", "not on this drive", "not on this system"])
def test_a_folder_is_held_once_and_free_again_at_the_end(tmp_path, monkeypatch, locks):
    if locks != "there":
        without_locks(monkeypatch, locks == "not on this system")
    for _ in range(2):
        with locked(tmp_path):
            assert (tmp_path / ".lock").read_text() == HERE
            assert f"'{tmp_path}' is in use by process {os.getpid()} on {socket.gethostname()}; " in refusal(tmp_path)
            assert (tmp_path / ".lock").read_text() == HERE
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_a_folder_is_free_again_however_its_use_ends(tmp_path, error):
    with pytest.raises(error), locked(tmp_path):
        raise error
    assert not list(tmp_path.iterdir())


def test_folders_made_for_a_lock_go_with_it_unless_something_is_in_them(tmp_path):
    with locked(tmp_path / "a" / "b"):
        pass
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]


@pytest.mark.parametrize("left", [f"1 {socket.gethostname()}\n", ""])
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, left):
    """Also where its number is by now that of another: the system knows that nobody holds the lock."""
    (tmp_path / ".lock").write_text(left)
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == HERE
    assert not list(tmp_path.iterdir())


def test_the_lock_of_another_host_stays_until_someone_deletes_it(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text("7 elsewhere\n")
    assert refusal(tmp_path) == (
        f"the folder '{tmp_path}' is in use by process 7 on elsewhere; if it runs no more, delete '{lock}', or choose another folder"
    )
    assert lock.read_text() == "7 elsewhere\n"
    lock.unlink()
    with locked(tmp_path):
        pass


def test_a_lock_that_is_let_go_between_a_look_and_a_grip_is_made_anew(tmp_path, monkeypatch):
    """Otherwise two would hold a lock each: one on the file that is deleted, one on that of the same name."""
    lock, real = tmp_path / ".lock", files.fcntl.flock
    lock.write_text(f"1 {socket.gethostname()}\n")

    def flock(descriptor, how):
        monkeypatch.undo()
        lock.unlink()  # by its holder, at its end
        real(descriptor, how)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with locked(tmp_path):
        assert lock.read_text() == HERE
        refusal(tmp_path)


def test_a_lock_that_was_deleted_by_hand_and_taken_by_another_is_left_to_it(tmp_path):
    lock = tmp_path / ".lock"
    with locked(tmp_path):
        lock.unlink()
        lock.write_text("7 elsewhere\n")
    assert lock.read_text() == "7 elsewhere\n"


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "a.png")
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; choose another name"):
        check_writable(tmp_path / "file" / "a.png")

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(InputError, match=r"a\.png' can't be written \(No space left on device\); choose another name"):
        check_writable(tmp_path / "a.png")


def test_one_file_for_two_results_is_refused(tmp_path):
    check_apart({"--out": tmp_path / "a", "--film": tmp_path / "b", "--gif": None})
    with pytest.raises(InputError, match="--out and --film both name"):
        check_apart({"--out": tmp_path / "a", "--film": tmp_path / "x" / ".." / "a"})


@pytest.mark.parametrize("write", [atomic_write, atomic_path])
def test_a_full_disk_is_told_with_the_name_that_a_user_knows(tmp_path, write):
    with pytest.raises(OSError, match="No space left") as told, write(tmp_path / "a.png"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(tmp_path / "a.png")
