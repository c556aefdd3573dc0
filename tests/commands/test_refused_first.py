"""What can be refused is refused before images are read or drawn; what fails on the way says which file, and what is too large says so."""

import errno
import json
import os

import pytest
import torch
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.training.checkpoints import list_states

TINY = [
    *("--data-path", "digits", "--img-size", "4", "--width", "8", "--multipliers", "1", "--blocks", "1", "--batch-size", "512"),
    *("--precision", "fp32", "--device", "cpu", "--sample-every", "0", "--epochs", "2", "--timesteps", "20"),
]


def refused(capsys, *words) -> str:
    """The one sentence with which a command is refused."""
    assert main([str(word) for word in words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    return line


@pytest.mark.parametrize(
    ("hint", "sentence"),
    [("cany", "got 'cany'"), ("depth", "known exactly of toy-cars only"), ("hints", "needs a folder of images, got 'digits'")],
)
def test_a_hint_is_refused_before_images_are_read(tmp_path, monkeypatch, capsys, hint, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hints").mkdir()
    monkeypatch.setattr("ddpm_utils.data.sources.load_images", lambda *_, **__: pytest.fail("images were read"))
    assert sentence in refused(capsys, "train-control", "digits", "--hint", hint, "--data-path", "digits", "--out", "out")


@pytest.mark.parametrize("words", ["--out", "--film", "--gif"])
def test_a_place_that_takes_no_file_is_refused_before_images_are_drawn(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ddpm_utils.commands.sample.draw", lambda *_: pytest.fail("images were drawn"))

    def full(path, *_, **__):
        raise OSError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.touch", full)
    name = "x.gif" if words == "--gif" else "x.png"
    assert "can't be written (Permission denied)" in refused(capsys, "sample", "digits", "--device", "cpu", words, name)


@pytest.mark.parametrize("wrong", ["--seed -1", "--img-size 0", "--img-size -3", "--n 1"])
def test_numbers_that_metrics_cannot_use_are_refused_by_their_flags(tmp_path, capsys, wrong):
    assert f"{wrong.split()[0]} must be at least" in refused(capsys, "metrics", tmp_path, "digits", *wrong.split())


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "x", "RANK": "0"}])
def test_half_of_what_torchrun_sets_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "unset it, or use torchrun" in refused(capsys, "train", *TINY, "--out", tmp_path / "run")


def test_a_lack_of_memory_is_told_in_a_sentence(capsys):
    assert "not enough memory" in refused(capsys, "sample", "digits", "--n", 10**12, "--device", "cpu")


def test_other_runtime_errors_keep_their_traceback(monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("ddpm_utils.commands.sample.draw", fail)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        main(["sample", "digits", "--n", "1", "--device", "cpu"])


def test_a_drawing_appears_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.png").write_bytes(b"before")

    def full(figure, path, **_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert "s.png can't be read or written: No space left" in refused(
        capsys, "sample", "digits", "--n", 1, "--steps", 1, "--out", "s.png", "--device", "cpu"
    )
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("s.png", b"before")]


def test_a_run_whose_disk_is_full_says_which_file_and_goes_on_when_there_is_room(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    real = torch.save

    def full(state, file):
        if state["step"] == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", full)
    assert "state-00000006.pt can't be read or written: No space left" in refused(capsys, "train", *TINY, "--out", out)
    status = json.loads((out / "status.json").read_text())
    assert (status["status"], status["state"]) == ("stopped", "state-00000003.pt")
    assert "No space left on device" in status["reason"]
    monkeypatch.undo()
    assert main(["train", *TINY, "--out", str(out), "--resume"]) == 0
    assert list_states(out)[-1].name == "state-00000006.pt"


def test_a_link_in_the_place_of_the_loss_curve_is_replaced_and_its_target_kept(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (tmp_path / "precious.png").write_bytes(b"precious")
    os.symlink(tmp_path / "precious.png", out / "loss.png")
    assert main(["train", *TINY, "--out", str(out)]) == 0
    assert (tmp_path / "precious.png").read_bytes() == b"precious"
    assert Image.open(out / "loss.png").size[0] > 100
