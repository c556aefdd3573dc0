"""Training that begins with a model's weights, and pairs from the command line."""

import shlex

import pytest
import torch

from ddpm_utils.__main__ import main
from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.models import load_model, weights_digest
from ddpm_utils.training.tasks.restoration import RestorationTask
from ddpm_utils.training.trainer import Trainer

TINY = shlex.split(
    "--form anchored --data-path wrinkles:24 --img-size 32 --patch 2 --width 8 --multipliers 1 2 --blocks 1 --batch-size 8 --epochs 2 "
    "--timesteps 50 --warmup 0 --device cpu --precision fp32 --log-every 2 --sample-every 4"
)


def run(*words) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "run"
    assert run("train", *TINY, "--out", out) == 0
    return out / "model.safetensors"


def test_paired_training_writes_a_model_and_pictures_of_pairs(first):
    model = load_model(first)
    assert (model.config.task.form, model.config.network.patch, model.config.network.extra_channels) == ("resshift", 2, 1)
    assert (first.parent / "samples" / "step-0000004.png").is_file()
    assert not model.config.network.middle_attention


def test_a_run_begins_with_the_weights_of_the_model(first):
    model = load_model(first)
    trainer = Trainer(RestorationTask(model.config), load_pairs("wrinkles:24", 32), start=model.network.state_dict())
    for mine, averaged, theirs in zip(trainer.network.parameters(), trainer.averages[0].shadow, model.network.parameters()):
        assert torch.equal(mine, theirs)
        assert torch.equal(averaged, theirs)


def test_a_run_that_started_from_a_model_resumes_to_the_same_bytes_and_only_with_that_model(first, tmp_path, capsys):
    words = ["train", *TINY, "--start-from", first]
    assert run(*words, "--out", tmp_path / "whole") == 0
    assert run(*words, "--out", tmp_path / "cut", "--max-epochs", 1) == 0
    assert run("train", *TINY, "--out", tmp_path / "cut", "--resume") == 2
    assert "another run: its start is" in capsys.readouterr().err
    assert run(*words, "--out", tmp_path / "cut", "--resume") == 0
    whole, cut = (tmp_path / name / "model.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes() != first.read_bytes()
    assert load_model(whole).config.start == weights_digest(load_model(first).network)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--width", 16], "its network is"),
        (["--form", "palette"], "its task is restoration by resshift"),
        (["--start-from", "nothing.safetensors"], "there is no model file"),
        (["--start-from", "nothing"], "no shipped model 'nothing'; those shipped are retouch; train one"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_a_sentence(first, tmp_path, capsys, words, named):
    assert run("train", *TINY, "--start-from", first, *words, "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_retouching_models_generate_nothing_and_say_what_to_do(first, tmp_path, capsys):
    assert run("sample", first, "--n", 1, "--out", tmp_path / "a.png") == 2
    assert "use `python -m ddpm_utils retouch`" in capsys.readouterr().err
