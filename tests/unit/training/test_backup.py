"""The copy of a run on a disk that outlives the machine: whole files only, of one run only, enough to go on from."""

import errno
import os
import shutil

import pytest

from ddpm_utils.__main__ import main
from ddpm_utils.training import backup as module
from ddpm_utils.training.backup import mirror
from ddpm_utils.training.checkpoints import list_states, read_state

TINY = [
    *("--data-path", "digits", "--img-size", "4", "--width", "8", "--multipliers", "1", "--blocks", "1", "--batch-size", "512"),
    *("--precision", "fp32", "--log-every", "1", "--sample-every", "0", "--epochs", "4"),
]


def train(out, *extra) -> int:
    return main(["train", *TINY, "--out", str(out), *map(str, extra)])


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_copy_equals_the_run_after_every_session(tmp_path):
    out, drive = tmp_path / "out", tmp_path / "drive"
    for extra in ((), ("--resume",)):
        assert train(out, "--copy-to", drive, "--max-epochs", 2, *extra) == 0
        assert contents(drive) == contents(out)
    assert len(list_states(drive)) == 2


def test_a_run_whose_machine_is_gone_comes_back_from_its_copy_to_the_same_bits(tmp_path):
    out, drive, whole = tmp_path / "out", tmp_path / "drive", tmp_path / "whole"
    train(whole)
    train(out, "--copy-to", drive, "--max-epochs", 2)
    shutil.rmtree(out)
    assert train(out, "--copy-to", drive, "--resume") == 0
    for folder in (out, drive):
        assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_machine_that_goes_away_while_it_copies_leaves_whole_files(tmp_path, monkeypatch):
    out, drive = tmp_path / "out", tmp_path / "drive"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    train(out, "--max-epochs", 1, "--resume")

    def half(source, target, length):
        target.write(source.read(1000))
        target.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "copyfileobj", half)
    with pytest.raises(KeyboardInterrupt):
        mirror(out, drive)
    assert [read_state(path)["step"] for path in list_states(drive)] == [3]
    monkeypatch.undo()
    mirror(out, drive)
    assert contents(drive) == contents(out)


def test_a_disk_that_is_full_is_said_aloud_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def full(source, target, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.shutil, "copyfileobj", full)
    drive = tmp_path / "drive"
    assert train(tmp_path / "out", "--copy-to", drive) == 0
    said = capsys.readouterr().out
    assert f"WARNING: the copy in {drive} is not up to date (No space left on device)" in said
    assert "done at epoch 4 of 4" in said


def test_what_has_not_changed_is_not_copied_again(tmp_path):
    out, drive = tmp_path / "out", tmp_path / "drive"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    before = {path: path.stat().st_mtime_ns for path in drive.rglob("*")}
    mirror(out, drive)
    assert {path: path.stat().st_mtime_ns for path in drive.rglob("*")} == before


def test_a_copy_of_another_run_stays_as_it_is(tmp_path, capsys):
    out, drive, other = tmp_path / "out", tmp_path / "drive", tmp_path / "other"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    train(other, "--max-epochs", 1)
    before = contents(drive)
    assert train(other, "--copy-to", drive, "--resume") == 2
    assert "holds the copy of another run" in capsys.readouterr().err
    assert train(tmp_path / "new", "--copy-to", drive) == 2
    assert "already holds the copy of a run; pass --resume" in capsys.readouterr().err
    assert contents(drive) == before


def test_a_copy_needs_a_folder_of_its_own(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(tmp_path / "out", "--copy-to", tmp_path / "file") == 2
    assert train(tmp_path / "out", "--copy-to", tmp_path / "out") == 2
    said = capsys.readouterr().err.splitlines()
    assert "must be a folder" in said[0]
    assert "another folder than --out" in said[1]
