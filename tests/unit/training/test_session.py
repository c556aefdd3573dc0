"""Sessions that are cut: by limits, signals, a full disk, a loss that is no number. Nothing is lost but the unsaved steps."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.config import TrainConfig
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import folder_bytes, locked
from ddpm_utils.training import session
from ddpm_utils.training.checkpoints import list_states, save_rotated
from ddpm_utils.training.limits import Stopper, disk_bytes, state_bytes
from ddpm_utils.training.options import SessionOptions
from ddpm_utils.training.run_folder import check_folder
from ddpm_utils.training.session import train
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNetConfig

TINY = [
    "--data-path",
    "digits",
    "--img-size",
    "4",
    "--width",
    "8",
    "--multipliers",
    "1",
    "--blocks",
    "1",
    "--batch-size",
    "512",
    "--precision",
    "fp32",
]
CONFIG = TrainConfig(
    network=UNetConfig(image_size=4, channels=1, width=8, multipliers=(1,), blocks=1, attention=(4,), groups=8, classes=10),
    epochs=6,
    batch_size=512,
    flip=False,
)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits", 4)


def run(out, *extra) -> dict:
    """One training command in this process; returns its status.json."""
    assert main(["train", *TINY, "--out", str(out), *map(str, extra)]) == 0
    return json.loads((out / "status.json").read_text())


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The flags of a run on 48 digits in folders of their labels: three steps an epoch, as of TINY, but of 16 images."""
    folder, digits = tmp_path_factory.mktemp("few"), load_images("digits", 4)
    for i in range(48):
        path = folder / str(digits.labels[i]) / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(digits.images[i, :, :, 0]).save(path)
    return [*TINY, "--data-path", str(folder), "--batch-size", "16"]


def files_equal(a, b, name="model.safetensors"):
    return (a / name).read_bytes() == (b / name).read_bytes()


def test_five_chunks_of_twenty_epochs_are_bit_equal_to_one_run_of_a_hundred(few, tmp_path):
    """And the folder never holds more than was predicted, looked at every few milliseconds while it runs."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(whole, *few, "--epochs", 100)
    peak, running = 0, True

    def watch():
        nonlocal peak
        while running:
            peak = max(peak, folder_bytes(cut))
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for chunk in range(5):
        status = run(cut, *few, "--epochs", 100, "--max-epochs", 20, "--max-disk-gb", 0.022, *(["--resume"] if chunk else []))
        assert status["epoch"] == 20 * (chunk + 1)
        assert status["status"] == ("stopped" if chunk < 4 else "done")
    running = False
    watcher.join()
    parameters = torch.load(list_states(cut)[-1], weights_only=True)["vectors"]["network"].numel()
    assert 2 * 16 * parameters < peak <= disk_bytes(parameters, 1, 2, 0)
    assert peak < 0.022e9
    assert files_equal(whole, cut)
    assert files_equal(whole, cut, "state-00000300.pt")
    keys = ("step", "loss", "quarters", "lr", "grad_norm")
    logs = [[[json.loads(line)[k] for k in keys] for line in (d / "log.jsonl").read_text().splitlines()] for d in (whole, cut)]
    assert logs[0][-1] == logs[1][-1]


def test_a_time_limit_stops_before_it_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Stopper.__init__, "__defaults__", (time.monotonic(), *Stopper.__init__.__defaults__[1:]))  # as if started now
    status = run(tmp_path, "--epochs", 100_000, "--max-hours", 6 / 3600, "--log-every", 1000)
    assert status["status"] == "stopped"
    assert 2 < status["hours"] * 3600 < 6
    assert "--resume" in status["next_command"]
    again = run(tmp_path, "--epochs", 100_000, "--max-epochs", 1, "--resume")
    assert status["epoch"] < again["epoch"] <= status["epoch"] + 1


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    hours = iter(range(0, 10**9, 3600 * 1000))
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))  # the wall clock leaps by weeks at every look
    assert run(tmp_path, "--epochs", 2, "--max-hours", 1000)["status"] == "done"


MANY = ["--epochs", "120", "--log-every", "1"]


@pytest.fixture(scope="module")
def many_epochs(few, tmp_path_factory):
    """The folder of a run that no signal met."""
    out = tmp_path_factory.mktemp("whole")
    assert main(["train", *few, *MANY, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_exits_cleanly(few, tmp_path, many_epochs, name):
    cut = tmp_path / "cut"
    command = [sys.executable, "-m", "ddpm_utils", "train", *few, *MANY, "--out", str(cut)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith("step 20 "):
            break
    process.send_signal(getattr(signal, name))
    rest, _ = process.communicate()
    assert process.returncode == 0, rest
    status = json.loads((cut / "status.json").read_text())
    assert status["status"] == "stopped"
    assert status["reason"] == f"received {name}"
    assert status["step"] >= 20
    assert main(["train", *few, *MANY, "--out", str(cut), "--resume"]) == 0
    assert files_equal(many_epochs, cut)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_no_step_is_begun_after_a_signal(tmp_path, digits, monkeypatch, name):
    real = Trainer.train_step

    def meets_a_signal(trainer):
        if trainer.step == 6:
            signal.raise_signal(getattr(signal, name))
        return real(trainer)

    monkeypatch.setattr(Trainer, "train_step", meets_a_signal)
    status = train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path))
    assert (status["status"], status["reason"], status["step"]) == ("stopped", f"received {name}", 7)
    assert list_states(tmp_path)[-1].name == "state-00000007.pt"


def test_signals_are_handled_as_before_once_a_session_is_over(tmp_path, digits):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    train(GenerationTask(replace(CONFIG, epochs=1)), digits, SessionOptions(out=tmp_path))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(tmp_path, digits, monkeypatch):
    real = Trainer.train_step

    def poisoned(trainer):
        if trainer.step == 10:
            with torch.no_grad():
                next(trainer.network.parameters()).fill_(float("nan"))
        return real(trainer)

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    status = train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path, log_every=100))
    assert status["status"] == "failed"
    assert "the loss of step 11 is nan" in status["reason"]
    assert [p.name for p in list_states(tmp_path)] == ["state-00000006.pt", "state-00000009.pt"]
    assert not (tmp_path / "model.safetensors").exists()
    monkeypatch.undo()
    assert train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path, resume=True))["status"] == "done"


def test_an_average_that_is_no_number_makes_no_preview_and_no_model_and_the_run_has_failed(tmp_path, digits, monkeypatch, capsys):
    real = Trainer.train_step

    def poisoned(trainer):
        result = real(trainer)
        if trainer.step >= 17:  # of 18: no loss can tell
            trainer.averages[0].shadow[0].fill_(float("nan"))
        return result

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    status = train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path, sample_every=18))
    assert status["status"] == json.loads((tmp_path / "status.json").read_text())["status"] == "failed"
    assert "holds NaN" in status["reason"]
    assert "no preview at step 18" in capsys.readouterr().out
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "samples").exists()


def test_a_full_disk_leaves_the_old_states_whole(tmp_path, digits):
    """The size of any file is limited to half a state while the third is written, as a disk that fills up would."""
    resource = pytest.importorskip("resource")
    trainer = Trainer(GenerationTask(CONFIG), digits)
    for _ in range(2):
        trainer.train_step()
        save_rotated(trainer, tmp_path, keep=2)
    before = {p.name: p.read_bytes() for p in list_states(tmp_path)}
    trainer.train_step()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["state-00000001.pt"]) // 2, hard))
    try:
        with pytest.raises(OSError, match=r"write|File too large"):
            save_rotated(trainer, tmp_path, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    left = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert left == {"state-00000002.pt": before["state-00000002.pt"]}  # the oldest had to make room
    other = Trainer(GenerationTask(CONFIG), digits)
    session.load_newest(other, tmp_path)
    assert other.step == 2


def test_pruning_keeps_the_last_states_and_never_the_only_good_one_goes_first(tmp_path, digits, monkeypatch):
    trainer = Trainer(GenerationTask(CONFIG), digits)
    present = []
    monkeypatch.setattr("ddpm_utils.training.checkpoints.save_state", _spy(present, tmp_path))
    for _ in range(4):
        trainer.train_step()
        save_rotated(trainer, tmp_path, keep=1)
    assert [p.name for p in list_states(tmp_path)] == ["state-00000004.pt"]
    assert all(present[1:])  # a whole state was there whenever the next was begun


def _spy(present, folder):
    from ddpm_utils.training.checkpoints import save_state

    def save(trainer, path):
        present.append(len(list_states(folder)))
        save_state(trainer, path)

    return save


def test_a_damaged_newest_state_is_refused_by_name_and_the_one_before_offered(tmp_path, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(whole, "--epochs", 4)
    run(cut, "--epochs", 4, "--max-epochs", 3)
    older, newest = list_states(cut)
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert main(["train", *TINY, "--out", str(cut), "--epochs", "4", "--resume"]) == 2
    message = capsys.readouterr().err
    assert str(newest) in message
    assert f"--resume {older}" in message
    status = run(cut, "--epochs", 4, "--resume", older)
    assert status["status"] == "done"
    assert "set aside" in capsys.readouterr().out
    assert files_equal(whole, cut)
    assert newest.with_suffix(".set-aside").exists()


def test_status_says_running_until_a_session_ends(tmp_path, digits, monkeypatch):
    said = []

    def look(trainer):
        said.append(json.loads((tmp_path / "status.json").read_text()))
        assert (tmp_path / ".lock").exists()
        raise KeyboardInterrupt  # as good as a kill

    monkeypatch.setattr(Trainer, "train_step", look)
    with pytest.raises(KeyboardInterrupt):
        train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path, command="go on"))
    assert (said[0]["status"], said[0]["next_command"]) == ("running", "go on")
    assert not (tmp_path / ".lock").exists()


def test_a_folder_where_a_run_is_going_on_is_refused_until_that_one_is_dead(tmp_path, capsys):
    command = [*TINY, "--out", str(tmp_path), "--epochs", "100000", "--log-every", "1"]
    process = subprocess.Popen([sys.executable, "-m", "ddpm_utils", "train", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert any(line.startswith("step 4 ") for line in process.stdout)
        for extra in (["--resume"], ["--seed", "5"]):
            assert main(["train", *command, *extra]) == 2
            assert f"'{tmp_path}' is in use by process {process.pid} on {socket.gethostname()}; wait" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / ".lock").exists()
    assert main(["train", *command, "--resume", "--max-epochs", "1"]) == 0
    assert not (tmp_path / ".lock").exists()


def test_of_two_that_start_together_the_second_is_refused_when_its_images_are_ready(tmp_path, digits):
    """Both have looked at the folder while it was free."""
    options = SessionOptions(out=tmp_path)
    check_folder(options, "model.safetensors")
    with locked(tmp_path), pytest.raises(InputError, match=f"in use by process {os.getpid()} "):
        train(GenerationTask(CONFIG), digits, options)
    assert not list(tmp_path.iterdir())


def test_of_several_processes_the_first_looks_for_all(tmp_path, monkeypatch):
    options = SessionOptions(out=tmp_path / "out", resume=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    check_folder(options, "model.safetensors")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="no state to resume from"):
        check_folder(options, "model.safetensors")


def test_a_finished_run_is_neither_overwritten_nor_shortened(tmp_path, capsys):
    run(tmp_path, "--epochs", 3)
    assert main(["train", *TINY, "--out", str(tmp_path), "--epochs", "2", "--resume"]) == 2
    assert "is at step 9, the run would end at 6" in capsys.readouterr().err
    for state in list_states(tmp_path):
        state.unlink()
    before = (tmp_path / "model.safetensors").read_bytes()
    assert main(["train", *TINY, "--out", str(tmp_path), "--epochs", "3", "--seed", "5"]) == 2
    assert "already holds a run (model.safetensors)" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_limit_that_the_start_uses_up_is_refused(tmp_path, capsys):
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), "--max-hours", "1e-9"]) == 2
    assert "raise --max-hours" in capsys.readouterr().err


def test_resume_without_a_state_is_refused_and_never_starts_from_scratch(tmp_path, capsys):
    assert main(["train", *TINY, "--out", str(tmp_path / "none"), "--resume"]) == 2
    assert re.search(r"no state to resume from in .*none", capsys.readouterr().err)
    assert not (tmp_path / "none").exists()


def test_a_state_is_as_large_as_predicted(tmp_path, digits):
    for sigmas in ((), (0.05, 0.1)):
        trainer = Trainer(GenerationTask(replace(CONFIG, ema_sigmas=sigmas, network=replace(CONFIG.network, width=32))), digits)
        path = save_rotated(trainer, tmp_path / str(len(sigmas)), 2)
        parameters = sum(p.numel() for p in trainer.network.parameters())
        predicted = state_bytes(parameters, max(1, len(sigmas)))
        assert 0.98 * predicted < path.stat().st_size <= predicted


def test_snapshots_of_a_run_are_rebuilt_into_a_model_by_the_ema_command(tmp_path, capsys):
    run(tmp_path, "--epochs", 8, "--ema-sigmas", 0.05, 0.1, "--snapshot-every", 1)
    assert len(list((tmp_path / "snapshots").iterdir())) == 16
    assert main(["ema", str(tmp_path), "--sigma", "0.07"]) == 0
    assert (
        main(["sample", str(tmp_path / "model-sigma-0.07.safetensors"), "--n", "10", "--steps", "2", "--out", str(tmp_path / "s.png")]) == 0
    )
    capsys.readouterr()
    for words in (["--sigma", "0.9"], ["--sigma", "0.1", "--step", "999"]):
        assert main(["ema", str(tmp_path), *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["ema", str(tmp_path / "nowhere"), "--sigma", "0.1"]) == 2
