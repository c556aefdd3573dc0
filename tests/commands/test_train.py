"""Training that begins with a model's weights, and pairs from the command line."""

import shlex

import numpy as np
import pytest
import torch
from image_folders import write_all
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.models import load_model, weights_digest
from ddpm_utils.training.preset import preset
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
        (["--width", 16], "its network is of width=8, groups=8, this run's is of width=16, groups=16;"),
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


# --- what is taken where nothing is said ---

TINY_NETWORK = ["--width", "8", "--multipliers", "1", "2", "--blocks", "1", "--attention", "--patch", "4"]
QUICK = ["--device", "cpu", "--precision", "fp32", "--sample-every", "0"]


@pytest.fixture
def pictures(tmp_path, photographs):
    write_all(tmp_path / "pictures", photographs * 2)
    return tmp_path / "pictures"


def test_a_run_takes_a_preset_for_its_images_says_so_and_flags_win(pictures, tmp_path, capsys):
    assert run("train", "--data-path", pictures, "--img-size", 16, "--epochs", 20, *QUICK, "--out", tmp_path / "a") == 0
    said = capsys.readouterr().out
    config = load_model(tmp_path / "a" / "model.safetensors").config
    taken = preset(16, 10, epochs=20)
    assert (config.task.prediction, config.batch_size, config.warmup) == (taken["prediction"], 10, 1)
    assert (config.network.width, config.network.multipliers) == (taken["width"], taken["multipliers"])
    assert f"--prediction {taken['prediction']}" in said
    assert "--batch-size 10" in said

    words = ["--prediction", "eps", "--batch-size", 5, "--warmup", 3, "--lr", 1e-3]
    assert (
        run("train", "--data-path", pictures, "--img-size", 16, "--epochs", 1, *words, *TINY_NETWORK, *QUICK, "--out", tmp_path / "b") == 0
    )
    config = load_model(tmp_path / "b" / "model.safetensors").config
    assert (config.task.prediction, config.batch_size, config.warmup, config.lr) == ("eps", 5, 3, 1e-3)
    assert (config.network.width, config.network.multipliers, config.network.blocks) == (8, (1, 2), 1)
    assert "where nothing is said" not in capsys.readouterr().out


def test_a_run_is_resumed_by_its_own_settings_where_nothing_is_said(pictures, tmp_path, capsys):
    words = ["--prediction", "eps", "--lr", 1e-3, "--batch-size", 5, "--warmup", 0, "--no-flip", "--fit", "squash", *TINY_NETWORK]
    begin = ["train", "--data-path", pictures, "--img-size", 16, "--epochs", 2, *QUICK]
    assert run(*begin, *words, "--out", tmp_path / "whole") == 0
    assert run(*begin, *words, "--out", tmp_path / "cut", "--max-epochs", 1) == 0
    capsys.readouterr()
    assert run("train", "--data-path", pictures, "--img-size", 16, *QUICK, "--out", tmp_path / "cut", "--resume") == 0
    assert "the run to be resumed" in capsys.readouterr().out
    whole, cut = (tmp_path / name / "model.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    assert run(*begin, *words, "--flip", "--out", tmp_path / "cut", "--resume") == 2
    assert "its flip is False, this run's is True" in capsys.readouterr().err


def test_a_run_is_not_resumed_in_another_form(pictures, tmp_path, first, capsys):
    begin = ["train", "--data-path", pictures, "--img-size", 16, "--epochs", 1, *TINY_NETWORK, *QUICK]
    assert run(*begin, "--out", tmp_path / "run") == 0
    assert run("train", *TINY, "--out", tmp_path / "run", "--resume") == 2
    assert "another run: its kind is 'generation'" in capsys.readouterr().err


def test_what_is_taken_is_said_in_words_that_say_it(pictures, tmp_path, capsys):
    begin = ["train", "--data-path", pictures, "--img-size", 16, *QUICK]
    words = ["--prediction", "v", "--zero-terminal-snr", "--no-flip", "--ema-sigmas", 0.1, 0.05, "--epochs", 2]
    assert run(*begin, *words, *TINY_NETWORK, "--out", tmp_path / "run", "--max-epochs", 1) == 0
    capsys.readouterr()
    assert run(*begin, "--out", tmp_path / "run", "--resume") == 0
    said = capsys.readouterr().out.partition("where nothing is said: ")[2].partition(" (the run to be resumed)")[0]
    assert run(*begin, *shlex.split(said), "--out", tmp_path / "again") == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "run" / "model.safetensors").read_bytes()


def test_a_run_that_starts_from_a_model_takes_its_network_and_what_it_predicts(pictures, tmp_path):
    begin = ["train", "--data-path", pictures, "--img-size", 16, "--epochs", 1, *QUICK]
    assert run(*begin, "--prediction", "v", "--schedule", "linear", *TINY_NETWORK, "--out", tmp_path / "first") == 0
    first = tmp_path / "first" / "model.safetensors"
    assert run(*begin, "--start-from", first, "--lr", 1e-4, "--out", tmp_path / "second") == 0
    mine, theirs = (load_model(path).config for path in (tmp_path / "second" / "model.safetensors", first))
    assert (mine.network, mine.task) == (theirs.network, theirs.task)
    assert mine.lr == 1e-4


def test_a_run_that_ends_too_early_for_pictures_says_so_and_its_advice_is_enough(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ddpm_utils.training.preset.ENOUGH", {1: 40, 3: 40})
    begin = ["train", "--data-path", pictures, "--img-size", 16, *TINY_NETWORK, *QUICK, "--out", tmp_path / "run"]
    assert run(*begin, "--epochs", 1) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "the run has seen 10 images" in last
    advice = shlex.split(last.partition("train longer with ")[2])
    assert advice == ["--epochs", "4", "--resume"]
    assert run(*begin, *advice) == 0
    assert "too little" not in capsys.readouterr().out


def test_three_hundred_steps_draw_images_of_one_colour_in_that_colour(tmp_path):
    """A run as short as people try. With eps its samples lie near grey, whoever samples them: tests/records/recipe.md."""
    write_all(tmp_path / "orange", [np.full((8, 8, 3), (200, 100, 50), np.uint8)] * 16, ".png")
    out = tmp_path / "run"
    assert (
        run(
            "train",
            "--data-path",
            tmp_path / "orange",
            "--img-size",
            8,
            "--epochs",
            300,
            "--lr",
            1e-3,
            *TINY_NETWORK[:-2],
            *QUICK,
            "--out",
            out,
        )
        == 0
    )
    assert run("sample", out / "model.safetensors", "--n", 8, "--device", "cpu", "--images", out / "drawn", "--out", out / "grid.png") == 0
    drawn = np.stack([np.asarray(Image.open(path)) for path in sorted((out / "drawn").glob("*.png"))]).astype(float)
    assert drawn.shape == (8, 8, 8, 3)
    assert np.abs(drawn.mean((0, 1, 2)) - (200, 100, 50)).max() < 10
    assert drawn.std((0, 1, 2)).max() < 15
