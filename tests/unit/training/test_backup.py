"""The copy of a run on a disk that outlives the machine: whole files only, of one run only, enough to go on from."""

import errno
import json
import os
import shutil
import time

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


def refusal(capsys, out, *extra) -> str:
    """The one sentence with which `train` refuses."""
    capsys.readouterr()
    assert train(out, *extra) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    return sentence


def test_a_file_is_current_by_its_contents_whatever_the_clocks_say(tmp_path):
    out, drive = tmp_path / "out", tmp_path / "drive"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    ahead = time.time() + 86400
    for path in drive.rglob("*"):
        os.utime(path, (ahead, ahead))
    train(out, "--copy-to", drive, "--resume")
    assert (out / "model.safetensors").stat().st_size == (drive / "model.safetensors").stat().st_size
    assert contents(drive) == contents(out)
    for path in drive.iterdir():
        os.utime(path, (0, 0))
    mirror(out, drive)
    assert {path.stat().st_mtime_ns for path in drive.iterdir()} == {0}, "equal files were copied again"


def test_a_copy_of_another_run_stays_as_it_is(tmp_path, capsys):
    """Even of one with the same settings, which run.json tells."""
    out, drive, other = tmp_path / "out", tmp_path / "drive", tmp_path / "other"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    train(other, "--max-epochs", 1)
    before = contents(drive)
    assert f"'{drive}' holds another run (run.json) than '{other}'" in refusal(capsys, other, "--copy-to", drive, "--resume")
    said = refusal(capsys, tmp_path / "new", "--copy-to", drive)
    assert "already holds the copy of a run (run.json); pass --resume" in said
    assert contents(drive) == before
    assert not (tmp_path / "new").exists()


def test_runs_from_before_run_json_are_told_apart_by_their_states(tmp_path, capsys):
    out, drive, other = tmp_path / "out", tmp_path / "drive", tmp_path / "other"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    train(other, "--max-epochs", 1, "--seed", 1)
    for folder in (out, drive, other):
        (folder / "run.json").unlink()
    before = contents(drive)
    assert "holds another run" in refusal(capsys, other, "--copy-to", drive, "--resume", "--seed", 1)
    assert contents(drive) == before
    assert train(out, "--max-epochs", 1, "--resume") == 0  # names the run, and the copy not
    assert train(out, "--copy-to", drive, "--resume") == 0
    assert contents(drive) == contents(out)


def test_an_older_run_never_replaces_the_later_steps_of_its_copy(tmp_path, capsys):
    out, drive, old = tmp_path / "out", tmp_path / "drive", tmp_path / "old"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    shutil.copytree(out, old)
    train(out, "--copy-to", drive, "--max-epochs", 2, "--resume")
    before = contents(drive), contents(old)
    said = refusal(capsys, old, "--copy-to", drive, "--resume", "--max-epochs", 1)
    assert f"'{drive}' holds step 9 of this run, '{old}' only step 3; pass --resume with a new --out to go on from the copy" in said
    assert (contents(drive), contents(old)) == before
    for state in list_states(drive):  # freed for space; its model is of step 9 as before
        state.unlink()
    assert "holds step 9 of this run" in refusal(capsys, old, "--copy-to", drive, "--resume", "--max-epochs", 1)
    status = drive / "status.json"
    for damaged in (b"", status.read_bytes().replace(b"state-00000009", b"state-00000001")):
        status.write_bytes(damaged)
        assert f"nothing else tells its step: '{status}' is damaged" in refusal(
            capsys, old, "--copy-to", drive, "--resume", "--max-epochs", 1
        )
    for path, content in before[0].items():
        (drive / path).write_bytes(content)
    assert train(tmp_path / "new", "--copy-to", drive, "--resume") == 0, "what the sentence advises"
    assert [path.name for path in list_states(drive)] == ["state-00000009.pt", "state-00000012.pt"]


def test_a_copy_that_got_ahead_during_a_session_is_left_alone_and_said_aloud(tmp_path, capsys, monkeypatch):
    out, drive, old = tmp_path / "out", tmp_path / "drive", tmp_path / "old"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    shutil.copytree(out, old)
    train(out, "--copy-to", drive, "--resume")
    before = contents(drive)
    monkeypatch.setattr("ddpm_utils.training.run_folder.check_copy", lambda *_: None)  # as if it came between
    assert train(old, "--copy-to", drive, "--max-epochs", 1, "--resume") == 0
    assert f"WARNING: the copy in {drive} is not up to date ('{drive}' holds step 12 of this run" in capsys.readouterr().out
    assert contents(drive) == before


def test_going_on_from_an_older_state_keeps_the_later_one_in_the_copy_too(tmp_path):
    out, drive = tmp_path / "out", tmp_path / "drive"
    train(out, "--copy-to", drive, "--max-epochs", 2)
    older, newest = list_states(out)
    later = newest.read_bytes()
    assert train(out, "--copy-to", drive, "--max-epochs", 1, "--resume", older) == 0
    assert contents(drive) == contents(out)
    assert (drive / newest.name).with_suffix(".set-aside").read_bytes() == later


def test_a_whole_state_in_the_copy_outlives_the_damaged_one_that_the_run_sets_aside(tmp_path):
    out, drive = tmp_path / "out", tmp_path / "drive"
    train(out, "--copy-to", drive, "--max-epochs", 2)
    older, newest = list_states(out)
    whole = newest.read_bytes()
    newest.write_bytes(whole[:1000])
    assert train(out, "--copy-to", drive, "--resume", older) == 0
    assert (drive / newest.name).with_suffix(".set-aside").read_bytes() == whole


@pytest.mark.parametrize("name", ["model.safetensors", "log.jsonl", "loss.png", "samples/step-0000001.png"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_another_run_left_is_kept_without_its_states_too(tmp_path, capsys, name, resume):
    out, drive = tmp_path / "out", tmp_path / "drive"
    if resume:
        train(out, "--max-epochs", 1)
    (drive / name).parent.mkdir(parents=True)
    (drive / name).write_text("precious")
    before = contents(out)
    words = refusal(capsys, out, "--copy-to", drive, *(["--resume"] if resume else []))
    there = name.split("/")[0]
    assert (f"holds another run ({there})" if resume else f"holds the copy of a run ({there}); choose another") in words
    assert (contents(drive), contents(out)) == ({(drive / name).relative_to(drive): b"precious"}, before)


def test_what_is_in_the_way_of_a_copy_that_comes_back_is_kept(tmp_path, capsys):
    out, drive, other = tmp_path / "out", tmp_path / "drive", tmp_path / "other"
    train(out, "--copy-to", drive, "--max-epochs", 1)
    other.mkdir()
    (other / "model.safetensors").write_text("precious")
    assert "choose another --out" in refusal(capsys, other, "--copy-to", drive, "--resume")
    assert [path.read_text() for path in other.iterdir()] == ["precious"]


def test_a_return_that_is_cut_goes_on(tmp_path, monkeypatch):
    """The states come last, so that a folder with one has all the rest."""
    out, drive, new = tmp_path / "out", tmp_path / "drive", tmp_path / "new"
    train(out, "--copy-to", drive, "--max-epochs", 2)
    copies = iter(range(4))

    def some(source, target, length):
        if next(copies, None) is None:
            raise KeyboardInterrupt
        target.write(source.read())

    monkeypatch.setattr(module.shutil, "copyfileobj", some)
    assert train(new, "--copy-to", drive, "--resume") == 130
    assert (len(contents(new)), list_states(new)) == (4, [])
    monkeypatch.undo()
    assert train(new, "--copy-to", drive, "--resume") == 0
    assert [json.loads(line)["step"] for line in (new / "log.jsonl").read_text().splitlines()] == list(range(1, 13))


def test_a_copy_needs_a_folder_of_its_own(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "out"
    assert "must be a folder" in refusal(capsys, out, "--copy-to", tmp_path / "file")
    assert "another folder than --out" in refusal(capsys, out, "--copy-to", out)
    for copy in (out / "copy", out / "a" / ".." / "b", tmp_path):
        assert "one inside the other" in refusal(capsys, out, "--copy-to", copy)
    (tmp_path / "link").symlink_to(tmp_path)
    assert "one inside the other" in refusal(capsys, out, "--copy-to", tmp_path / "link" / "out" / "copy")
    assert not out.exists()
