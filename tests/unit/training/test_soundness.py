"""Only good states are kept: finite, of a sane size, and not absurdly worse than predicting nothing. The way out of a failed run works."""

import json
import shlex
from dataclasses import replace

import pytest
import torch

from ddpm_utils.__main__ import main
from ddpm_utils.config import TrainConfig
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import DamagedFile
from ddpm_utils.models import load_model, weights_digest
from ddpm_utils.training.checkpoints import list_states, load_state, read_state, save_state, state_digest
from ddpm_utils.training.options import SessionOptions
from ddpm_utils.training.session import train
from ddpm_utils.training.soundness import why_not_good
from ddpm_utils.training.starts import model_to_start_from
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNetConfig

NAN, INF = float("nan"), float("inf")
CONFIG = TrainConfig(
    network=UNetConfig(image_size=4, channels=1, width=8, multipliers=(1,), blocks=1, attention=(4,), groups=8, classes=10),
    epochs=6,
    batch_size=512,
    warmup=0,
    flip=False,
)
TINY = shlex.split(
    "--data-path digits --img-size 4 --width 8 --multipliers 1 --blocks 1 --batch-size 512 --epochs 6 --precision fp32 --device cpu "
    "--timesteps 20 --warmup 0 --sample-every 0"
)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits", 4)


@pytest.fixture
def trainer(digits):
    trainer = Trainer(GenerationTask(CONFIG), digits)
    trainer.train_step()
    return trainer


def moment(trainer, name):
    return trainer.optimizer.state[next(trainer.network.parameters())][name]


SPOILED = {
    "one of the weights holds NaN": lambda t: next(t.network.parameters()).data.view(-1)[0].fill_(NAN),
    "one of the weights is of size 2.5e+11": lambda t: next(t.network.parameters()).data.view(-1)[0].fill_(-2.5e11),
    "one of the averaged weights holds NaN or infinity": lambda t: t.averages[0].shadow[1].view(-1)[0].fill_(INF),
    "one of the averaged weights is of size 1e+05": lambda t: t.averages[0].shadow[1].view(-1)[0].fill_(1e5),
    "one of the first moments of the optimizer holds NaN": lambda t: moment(t, "exp_avg").view(-1)[0].fill_(NAN),
    "one of the first moments of the optimizer is of size 5": lambda t: moment(t, "exp_avg").view(-1)[0].fill_(5.0),
    "one of the second moments of the optimizer holds NaN": lambda t: moment(t, "exp_avg_sq").view(-1)[0].fill_(INF),
    "one of the second moments of the optimizer is of size 5": lambda t: moment(t, "exp_avg_sq").view(-1)[0].fill_(5.0),
    "predicting nothing does 1000 times better": lambda t: t.network.output_conv.weight.data.fill_(100.0),
}


@pytest.mark.parametrize(("why", "spoil"), SPOILED.items())
def test_a_state_with_one_such_number_is_not_written_and_pushes_out_none(tmp_path, digits, monkeypatch, why, spoil):
    real = Trainer.train_step

    def spoiled(trainer):
        result = real(trainer)
        if trainer.step == 9:  # the last of an epoch, so that no loss can tell
            spoil(trainer)
        return result

    monkeypatch.setattr(Trainer, "train_step", spoiled)
    status = train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path, snapshot_every=1))
    assert (status["status"], status["step"], status["state"]) == ("failed", 9, "state-00000006.pt")
    assert f"after step 9 {why}" in status["reason"] or ("after step 9 the loss is" in status["reason"] and why in status["reason"])
    assert [path.name for path in list_states(tmp_path)] == ["state-00000003.pt", "state-00000006.pt"]
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] != []
    assert not (tmp_path / "model.safetensors").exists()
    assert not list((tmp_path / "snapshots").glob("*3.safetensors"))


@pytest.mark.parametrize(("why", "spoil"), SPOILED.items())
def test_no_run_goes_on_from_such_a_state_of_an_older_version(tmp_path, digits, trainer, why, spoil):
    save_state(trainer, tmp_path / "state-00000001.pt")
    assert why_not_good(trainer) is None
    trainer.train_step()
    spoil(trainer)
    save_state(trainer, tmp_path / "state-00000002.pt")
    with pytest.raises(DamagedFile, match="is not one to go on from: after step 2") as told:
        load_state(Trainer(GenerationTask(CONFIG), digits), tmp_path / "state-00000002.pt")
    assert why in str(told.value)


def test_a_state_that_is_not_good_offers_the_one_before_which_is(tmp_path, capsys):
    words = ["train", *TINY, "--out", str(tmp_path / "run")]
    assert main([*words, "--max-epochs", "2"]) == 0
    older, newest = list_states(tmp_path / "run")
    state = read_state(newest)
    state["vectors"]["network"][:5] = 2.5e11
    state["sha256"] = state_digest(state)
    torch.save(state, newest)
    assert main([*words, "--resume"]) == 2
    said = capsys.readouterr().err
    assert f"{str(newest)!r} is not one to go on from: after step 6 one of the weights is of size 2.5e+11" in said
    assert f"or go on from the one before it with --resume {older}" in said
    assert main([*words, "--resume", str(older)]) == 0


def test_a_gradient_that_is_no_number_ends_the_run_though_its_loss_is_one(tmp_path, digits, monkeypatch):
    real = Trainer.train_step

    def infinite(trainer):
        result = real(trainer)
        return result._replace(grad_norm=torch.tensor(INF)) if trainer.step == 2 else result

    monkeypatch.setattr(Trainer, "train_step", infinite)
    status = train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path))
    assert (status["status"], status["step"]) == ("failed", 3)
    assert "the gradient of step 2 is of size inf" in status["reason"]


@pytest.mark.parametrize("lr", [2e-4, 1e-2, 1e-1])
@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_an_honest_run_never_alarms_even_at_a_rate_that_is_too_high(digits, lr, prediction):
    config = replace(CONFIG, lr=lr, task=replace(CONFIG.task, prediction=prediction))
    trainer = Trainer(GenerationTask(config), digits)
    for _ in trainer.run():
        assert why_not_good(trainer) is None


def test_the_look_at_a_state_changes_nothing_of_the_run(tmp_path, digits):
    looked, other = Trainer(GenerationTask(CONFIG), digits), Trainer(GenerationTask(CONFIG), digits)
    for _ in range(3):
        looked.train_step()
        why_not_good(looked)
        other.train_step()
    for a, b in zip(looked.network.parameters(), other.network.parameters()):
        assert torch.equal(a, b)


# --- the way out ---


def fail_at(monkeypatch, step):
    """From this step on the weights of every run at a rate above 1e-3 are no numbers."""
    real = Trainer.train_step

    def poisoned(trainer):
        if trainer.step >= step and trainer.config.lr > 1e-3:
            next(trainer.network.parameters()).data.fill_(NAN)
        return real(trainer)

    monkeypatch.setattr(Trainer, "train_step", poisoned)


def way_out(capsys) -> list[str]:
    """What the last line of a failed run says to run."""
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("to try again: python -m ddpm_utils ")
    return shlex.split(line)[6:]


def test_what_a_failed_run_says_to_run_works(tmp_path, monkeypatch, capsys):
    """From its last good state, at a lower rate, into another folder, with another copy."""
    out, copy = tmp_path / "a run", tmp_path / "copy"
    fail_at(monkeypatch, 7)
    words = ["train", *TINY, "--lr=0.01", "--out", str(out), "--copy-to", str(copy)]
    monkeypatch.setattr("sys.argv", ["ddpm_utils", *words])
    assert main(words) == 1
    again = way_out(capsys)
    good = out / "state-00000006.pt"
    assert again == ["train", *TINY, "--lr", "0.0002", "--out", f"{out}-2", "--copy-to", f"{copy}-2", "--start-from", str(good)]
    status = json.loads((out / "status.json").read_text())
    assert status["next_command"] == shlex.join(["python", "-m", "ddpm_utils", *again])
    assert f"the last good state is {good}; try again with --lr 0.0002 --out" in status["reason"]
    assert main(again) == 0
    average = model_to_start_from(str(good), "generator")
    assert load_model(tmp_path / "a run-2" / "model.safetensors").config.start == weights_digest(average.network)
    assert torch.equal(torch.cat([w.reshape(-1) for w in average.network.parameters()]), read_state(good)["vectors"]["average 0"])


def test_what_a_run_says_to_run_that_failed_before_its_first_state_works_in_the_same_folder(tmp_path, monkeypatch, capsys):
    fail_at(monkeypatch, 1)
    words = ["train", *TINY, "--lr", "0.01", "--out", str(tmp_path / "run"), "--copy-to", str(tmp_path / "copy")]
    monkeypatch.setattr("sys.argv", ["ddpm_utils", *words])
    assert main(words) == 1
    again = way_out(capsys)
    assert again == ["train", *TINY, "--out", str(tmp_path / "run"), "--copy-to", str(tmp_path / "copy"), "--lr", "0.0002"]
    assert "no state before it was good" in json.loads((tmp_path / "run" / "status.json").read_text())["reason"]
    assert main(again) == 0


@pytest.mark.parametrize("command", ["train-classifier", "train-control digits --hint canny"])
def test_commands_that_start_from_no_state_are_told_to_begin_anew(tmp_path, monkeypatch, capsys, command):
    fail_at(monkeypatch, 4)
    size = "--data-path digits --batch-size 512 --epochs 2 --precision fp32 --device cpu --lr 0.01 --warmup 0 --sample-every 0"
    words = [*shlex.split(f"{command} {size}"), "--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", ["ddpm_utils", *words])
    assert main(words) == 1
    again = way_out(capsys)
    assert again[-4:] == ["--lr", "0.0002", "--out", f"{tmp_path / 'run'}-2"]
    assert main(again) == 0
