"""`python -m ddpm_utils` as people type it: what it writes, how it goes on, and one sentence for everything that is wrong."""

import argparse
import json
import os
import subprocess
import sys

import kagglehub
import numpy as np
import pytest
import requests
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from ddpm_utils.__main__ import build_parser, main
from ddpm_utils.data.sources import load_images
from ddpm_utils.models import load_model
from ddpm_utils.training import session
from ddpm_utils.training.batches import draw_batch
from ddpm_utils.training.tasks.generation import GenerationTask

NETWORK = ["--device", "cpu", "--precision", "fp32", "--width", "8", "--multipliers", "1", "2", "--blocks", "1"]
TINY = [*NETWORK, "--batch-size", "256", "--epochs", "1", "--sample-every", "0", "--lr", "1e-2", "--warmup", "0"]
STEPS_PER_EPOCH = 1797 // 256


def run(*words) -> int:
    """The exit code of `python -m ddpm_utils WORDS`."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code


def train(out, *words) -> int:
    return run("train", "--data-path", "digits", "--out", out, *TINY, *words)


def sample(model, *words) -> int:
    return run("sample", model, "--device", "cpu", "--n", 6, "--steps", 3, *words)


def files_below(folder) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "run"
    assert train(out, "--prediction", "v", "--log-every", 3, "--sample-every", 5) == 0
    return out


@pytest.fixture(scope="module")
def model(digits_run):
    return digits_run / "model.safetensors"


@pytest.fixture(scope="module")
def unconditional_model(tmp_path_factory):
    out = tmp_path_factory.mktemp("unconditional")
    assert train(out, "--unconditional") == 0
    return out / "model.safetensors"


# --- train ---


def test_training_writes_a_log_a_state_a_model_a_curve_and_samples(digits_run):
    assert files_below(digits_run) == {
        "log.jsonl",
        "state-00000007.pt",
        "model.safetensors",
        "loss.png",
        "run.json",
        "status.json",
        "samples",
        "samples/step-0000005.png",
    }
    records = [json.loads(line) for line in (digits_run / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [3, 6, 7]
    assert all(0 < r["loss"] < 10 and len(r["quarters"]) == 4 for r in records)
    for picture in (digits_run / "loss.png", digits_run / "samples" / "step-0000005.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 100
    trained = load_model(digits_run / "model.safetensors")
    assert trained.classes == tuple("0123456789")
    assert (trained.config.task.prediction, trained.config.lr, trained.config.flip) == ("v", 0.01, False)


def test_training_on_a_folder_takes_its_classes_and_the_size_asked_for(tmp_path, photographs, capsys):
    for i, photograph in enumerate(photographs):
        folder = tmp_path / "my pictures" / ("warm", "cold")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph).save(folder / f"{i}.jpg")
    (tmp_path / "my pictures" / "cold" / "broken.jpg").write_text("not an image")
    words = ["train", "--data-path", tmp_path / "my pictures", "--out", tmp_path / "run", *TINY, "--img-size", 8, "--batch-size", 2]
    assert run(*words) == 2
    assert "cold/broken.jpg" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(*words, "--skip-broken") == 0
    assert "5 images of 8 px, 3 channels, 2 classes, mirrored\nclasses: cold 2, warm 3\n" in capsys.readouterr().out
    trained = load_model(tmp_path / "run" / "model.safetensors")
    assert trained.classes == ("cold", "warm")
    assert (trained.config.network.image_size, trained.config.network.channels, trained.config.flip) == (8, 3, True)


def test_classes_may_be_called_what_a_folder_can_be_called(tmp_path, photographs, capsys):
    names = ["$1_$2", "$100-$200", os.fsdecode(b"caf\xe9"), "new\nline", "\x1b[31m", "<b>&{x}", r"\frac"]
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(photographs[0]).save(tmp_path / "data" / name / "0.png")
    out = tmp_path / "run"
    assert run("train", "--data-path", tmp_path / "data", "--out", out, *TINY, "--img-size", 8, "--batch-size", 7) == 0
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines() if line.startswith(("data:", "classes:")))
    assert r"caf\udce9 1, new\nline 1" in said
    assert load_model(out / "model.safetensors").classes == tuple(sorted(names))
    assert run("sample", out / "model.safetensors", "--device", "cpu", "--n", 7, "--steps", 2, "--out", tmp_path / "all.png") == 0
    assert (tmp_path / "all.png").stat().st_size > 1000
    assert run("sample", out / "model.safetensors", "--device", "cpu", "--n", 1, "--label", "x\x1b[2J\n") == 2
    assert capsys.readouterr().err.rstrip("\n").isprintable()


@pytest.mark.parametrize("out", ["file.txt", "file.txt/run", "file.txt/run/deeper"])
def test_a_file_in_the_way_of_the_folder_is_named_before_anything_is_read(tmp_path, capsys, out):
    (tmp_path / "file.txt").write_text("in the way")
    assert run("train", "--data-path", "nowhere", "--out", tmp_path / out) == 2
    assert f"--out must be a folder, {str(tmp_path / 'file.txt')!r} is a file" in capsys.readouterr().err


def test_a_resumed_run_ends_in_the_same_bytes_as_an_uninterrupted_one(tmp_path):
    assert train(tmp_path / "whole", "--epochs", 3, "--log-every", 1) == 0
    assert train(tmp_path / "cut", "--epochs", 1, "--log-every", 1) == 0
    assert train(tmp_path / "cut", "--epochs", 3, "--log-every", 1, "--resume") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_run_that_died_between_two_states_ends_in_the_same_bytes_too(tmp_path, monkeypatch):
    assert train(tmp_path / "whole", "--epochs", 2, "--log-every", 1) == 0

    def power_cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "preview", power_cut)
        assert train(tmp_path / "cut", "--epochs", 2, "--log-every", 1, "--sample-every", STEPS_PER_EPOCH + 3) == 130
    assert len((tmp_path / "cut" / "log.jsonl").read_text().splitlines()) == STEPS_PER_EPOCH + 3
    assert train(tmp_path / "cut", "--epochs", 2, "--log-every", 1, "--resume") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def assert_same_run(a, b):
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    losses = [[(r["step"], r["loss"]) for r in map(json.loads, (run / "log.jsonl").read_text().splitlines())] for run in (a, b)]
    assert losses[0] == losses[1]


def test_an_existing_run_is_not_overwritten(digits_run, capsys):
    before = {p: p.read_bytes() for p in digits_run.rglob("*") if p.is_file()}
    assert train(digits_run) == 2
    assert "--resume" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in before} == before


def test_resuming_with_other_settings_or_images_is_refused(digits_run, tmp_path, capsys):
    same = ["--prediction", "v", "--resume"]
    for words, named in [(["--width", 16], "network.width"), (["--seed", 5], "seed"), (["--img-size", 16], "image_size")]:
        assert train(digits_run, *same, *words) == 2
        assert named in capsys.readouterr().err
    assert train(tmp_path / "nothing", "--resume") == 2
    assert "no state" in capsys.readouterr().err
    assert files_below(tmp_path) == set()


def test_underscores_and_hyphens_name_the_same_flag(tmp_path):
    words = ["--data_path", "digits", "--out", tmp_path / "my_run", *NETWORK, "--batch_size=599", "--epochs=1", "--sample_every=0"]
    assert run("train", *words) == 0
    assert load_model(tmp_path / "my_run" / "model.safetensors").config.batch_size == 599


@pytest.mark.parametrize("T", [300, 1000])
def test_every_timestep_below_T_is_trained(tmp_path, T):
    assert train(tmp_path, "--timesteps", T) == 0
    config, data = load_model(tmp_path / "model.safetensors").config, load_images("digits")
    assert config.noise_schedule().T == T
    drawn = torch.cat([draw_batch(GenerationTask(config), data, step).t for step in range(14 * T // config.batch_size)])
    assert drawn.unique().tolist() == list(range(T))


# --- sample ---


def test_sampling_writes_all_that_is_asked_for(model, tmp_path, capsys):
    there = {"--out": "deep/grid.png", "--film": "film.png", "--gif": "all.gif", "--images": "each/one"}
    words = [word for flag, name in there.items() for word in (flag, tmp_path / name)]
    assert sample(model, *words) == 0
    said = capsys.readouterr().out
    assert all(str(tmp_path / name) in said for name in there.values())
    assert len(list((tmp_path / "each" / "one").iterdir())) == 6
    with Image.open(tmp_path / "each" / "one" / "00005.png") as image:
        assert (image.size, image.mode) == ((8, 8), "L")
    with Image.open(tmp_path / "all.gif") as animation:
        assert animation.n_frames == 3 + 1, "the noise, and the image after each step"
    for name in ("deep/grid.png", "film.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100


def images_of(folder) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]).astype(int)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_other_images(model, tmp_path, sampler):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ["--sampler", sampler, "--seed", seed, "--out", tmp_path / f"{name}.png", "--images", tmp_path / name]
        assert sample(model, *words) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pairs = [[(tmp_path / name / f"{i:05d}.png").read_bytes() for i in range(6)] for name in "ab"]
    assert pairs[0] == pairs[1]
    assert np.abs(images_of(tmp_path / "a") - images_of(tmp_path / "c")).max() > 20


def test_the_batch_size_changes_ddim_by_no_more_than_rounding(model, tmp_path):
    for size in (1, 4, 256):
        assert sample(model, "--guidance", 2, "--batch-size", size, "--out", tmp_path / "grid.png", "--images", tmp_path / str(size)) == 0
    whole = images_of(tmp_path / "256")
    assert np.ptp(whole) > 100
    for size in ("1", "4"):
        assert np.abs(images_of(tmp_path / size) - whole).max() <= 1


def test_labels_go_by_name_or_number(model, tmp_path):
    for label in ("7", "3"):
        assert sample(model, "--label", label, "--out", tmp_path / "grid.png", "--images", tmp_path / label) == 0
    assert not np.array_equal(images_of(tmp_path / "7"), images_of(tmp_path / "3"))


def test_unconditional_models_are_sampled_without_labels(unconditional_model, tmp_path):
    assert load_model(unconditional_model).config.network.classes is None
    assert sample(unconditional_model, "--out", tmp_path / "grid.png") == 0


# --- help and errors ---


def test_every_command_and_flag_has_help(capsys):
    [commands] = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert {"train", "sample"} <= set(commands.choices)
    for name, parser in commands.choices.items():
        assert all(action.help and len(action.help) > 5 for action in parser._actions)
        assert run(name, "--help") == 0
        assert f"python -m ddpm_utils {name}" in capsys.readouterr().out


def assert_refused(code, capsys, folder, before, named):
    error = capsys.readouterr().err
    assert code == 2
    assert len(error.splitlines()) == 1, error
    assert error.endswith("\n")
    assert named in error
    assert files_below(folder) == before, "nothing is written"


WRONG_TRAINING = """
--epochs 0 | --epochs abc | --epochs 1.5 | --batch-size 0 | --batch-size 5000 | --seed -1 | --log-every 0 | --sample-every -1
--timesteps 1 | --timesteps 10 --schedule linear @ 10 | --schedule square | --prediction noise
--prediction eps --zero-terminal-snr @ 'eps' | --loss l3 | --weighting heavy
--img-size 0 | --img-size -3 | --img-size 7 | --width 0 | --width -8 | --width 7 | --width 2 | --multipliers 0 | --multipliers 1 -2
--multipliers 1 1 1 1 1 @ got 8 | --attention 5 | --blocks 0 | --dropout 1.5 | --dropout nan | --label-dropout 2 | --label-dropout nan
--mean 0.5 0.5 @ (0.5, 0.5) | --mean nan | --std 0 | --std inf | --std 1e-30 | --mean 1.5 | --lr 0 | --lr nan | --lr inf | --lr -0.5 | --warmup -1
--ema-decay 1 | --ema-decay nan | --ema-start -1 | --ema-every 0 | --ema-sigmas 0.9 @ got 0.9 | --max-hours 0 | --max-hours nan | --max-epochs 0
--keep 0 | --max-disk-gb -1 | --snapshot-every -1 | --accumulate 0 | --precision fp8 | --precision fp16
--optimizer sgd | --device banana | --device cpu:banana | --device cuda:99
--data-path nowhere | --data-path kaggle:cars | --no-such-flag | surplus
"""
WRONG_SAMPLING = """
--steps 0 | --steps 2000 | --steps x | --n 0 | --n -4 | --batch-size 0 | --label nonsense | --label 10 | --label -1 | --guidance nan
--guidance inf | --guidance -1 | --film samples.png --out samples.png @ --out and --film | --sampler euler | --seed -1 | --device banana
--seed 99999999999999999999
--out grid.xyz | --out noending | --film film.gif | --gif film.png | --out taken.png/grid.png @ 'taken.png' | --images taken.png | --out folder.png
"""


def cases(table: str) -> list[tuple[list[str], str]]:
    """(words, what the message must name) of each entry: the last word, unless another one stands behind @."""
    entries = [entry.partition("@") for line in table.strip().splitlines() for entry in line.split("|")]
    return [pytest.param(words.split(), named.strip() or words.split()[-1], id=words.strip()) for words, _, named in entries]


@pytest.mark.parametrize(("words", "named"), cases(WRONG_TRAINING))
def test_wrong_values_for_training_cost_one_sentence_and_write_nothing(tmp_path, monkeypatch, capsys, words, named):
    monkeypatch.chdir(tmp_path)
    assert_refused(train("run", *words), capsys, tmp_path, set(), named)


@pytest.mark.parametrize(("words", "named"), cases(WRONG_SAMPLING))
def test_wrong_values_for_sampling_cost_one_sentence_and_write_nothing(tmp_path, monkeypatch, capsys, model, words, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.png").write_text("a file in the way")
    (tmp_path / "folder.png").mkdir()
    capsys.readouterr()
    assert_refused(sample(model, *words), capsys, tmp_path, {"taken.png", "folder.png"}, named)


@pytest.mark.parametrize("words", [["--label", "3"], ["--guidance", "nan"], ["--guidance", "2.5"]])
def test_models_without_labels_refuse_what_needs_them(tmp_path, monkeypatch, capsys, unconditional_model, words):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert_refused(sample(unconditional_model, *words), capsys, tmp_path, set(), words[-1])


@pytest.mark.parametrize("kind", ["missing", "a folder", "foreign", "truncated", "empty", "text", "without its weights"])
def test_files_that_are_no_whole_model_are_refused(tmp_path, monkeypatch, capsys, model, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "broken.safetensors"
    if kind == "a folder":
        path.mkdir()
    elif kind == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "without its weights":
        with safe_open(model, "pt") as file:
            save_file({"weight": torch.zeros(3)}, path, file.metadata())
    elif kind != "missing":
        path.write_bytes({"truncated": model.read_bytes()[:-100], "empty": b"", "text": b"<html>404 Not Found</html>"}[kind])
    before = files_below(tmp_path)
    capsys.readouterr()
    assert_refused(sample(path), capsys, tmp_path, before, "broken.safetensors")


@pytest.mark.parametrize("words", [[], ["paint"], ["train"], ["sample"]])
def test_a_missing_or_unknown_command_costs_one_sentence(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert_refused(run(*words), capsys, tmp_path, set(), "paint" if words == ["paint"] else "required")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_not_replaced_silently(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_refused(train("run", "--device", "cuda"), capsys, tmp_path, set(), "'cuda'")


def test_no_network_costs_one_sentence(tmp_path, monkeypatch, capsys):
    def offline(handle):
        raise requests.exceptions.ConnectionError("HTTPSConnectionPool\nMax retries exceeded")

    monkeypatch.setattr(kagglehub, "dataset_download", offline)
    monkeypatch.chdir(tmp_path)
    assert_refused(train("run", "--data-path", "stanford-cars"), capsys, tmp_path, set(), "no network")


@pytest.mark.parametrize("out", ["taken", "taken/deeper"])
def test_a_file_in_the_place_of_the_run_costs_one_sentence(tmp_path, monkeypatch, capsys, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file in the way")
    assert_refused(train(out), capsys, tmp_path, {"taken"}, "taken")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_to_costs_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "locked").mkdir(mode=0o555)
    assert_refused(train("locked/run"), capsys, tmp_path, {"locked"}, "locked")


def test_the_module_runs_as_a_program(model, tmp_path):
    command = [sys.executable, "-m", "ddpm_utils", "sample", model, "--device", "cpu", "--n", "4"]
    right = subprocess.run([*command, "--steps", "2"], cwd=tmp_path, capture_output=True, text=True)
    assert right.returncode == 0, right.stderr
    assert "wrote samples.png" in right.stdout
    wrong = subprocess.run([*command, "--steps", "0", "--out", "other.png"], cwd=tmp_path, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (2, "error: steps must lie in 1 .. T=1000, got 0\n")
    assert files_below(tmp_path) == {"samples.png"}
