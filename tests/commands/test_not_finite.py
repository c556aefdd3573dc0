"""A file with NaN among its weights: every command that reads it says so in one sentence, exits with 2 and writes nothing."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ddpm_utils.__main__ import main
from ddpm_utils.models import load_model, save_model, shipped


def with_nan(name, path):
    """A shipped file with one NaN and no checksum, as if from before there were any."""
    weights = load_file(shipped(name))
    first = sorted(weights)[0]
    weights[first].view(-1)[0] = float("nan")
    with safe_open(shipped(name), "pt") as file:
        about = json.loads(file.metadata()["ddpm_utils"])
    del about["sha256"]
    path.parent.mkdir(exist_ok=True)
    save_file(weights, path, {"ddpm_utils": json.dumps(about)})


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("sample bad.safetensors --out new.png", "digits-early"),
        ("sample digits --classifier bad.safetensors --out new.png", "digits-judge"),
        ("sample toy-cars --control bad.safetensors --hint-from photo.png --out new.png", "toy-cars-canny"),
        ("retouch bad.safetensors photo.png --out new.png", "retouch"),
        ("train-control bad.safetensors --hint canny --data-path digits --out new", "digits-early"),
    ],
)
def test_one_sentence_and_exit_2(tmp_path, monkeypatch, capsys, words, name):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((64, 64, 3), 100, np.uint8)).save("photo.png")
    with_nan(name, tmp_path / "bad.safetensors")
    assert main([*words.split(), "--device", "cpu"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(errors) == 1
    assert "bad.safetensors' is damaged: its weight" in errors[0]
    assert "holds NaN or infinity; restore a whole copy of it" in errors[0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["bad.safetensors", "photo.png"]


def test_a_training_does_not_start_from_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with_nan("digits-early", tmp_path / "bad.safetensors")
    assert main(["train", "--data-path", "digits", "--start-from", "bad.safetensors", "--out", "new", "--device", "cpu"]) == 2
    assert "holds NaN or infinity" in capsys.readouterr().err
    assert not (tmp_path / "new" / "log.jsonl").exists()


def test_no_average_is_rebuilt_from_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, folder = load_model(shipped("digits-early")), tmp_path / "run" / "snapshots"
    folder.mkdir(parents=True)
    for step in (1, 2, 3):
        about = {"step": step, "sigma": 0.1}
        save_model(model.network, model.config, model.classes, folder / f"epoch-0000{step}-sigma-0.100.safetensors", about)
    assert main(["ema", "run", "--sigma", "0.1", "--out", "whole.safetensors"]) == 0
    with_nan("digits-early", folder / "epoch-00004-sigma-0.100.safetensors")
    assert main(["ema", "run", "--sigma", "0.1", "--out", "new.safetensors"]) == 2
    assert "epoch-00004-sigma-0.100.safetensors' is damaged: its weight" in capsys.readouterr().err
    shutil.copy(shipped("digits-early"), folder / "epoch-00004-sigma-0.100.safetensors")
    assert main(["ema", "run", "--sigma", "0.1", "--out", "new.safetensors"]) == 2
    assert "step of the snapshot must be a whole number, got None" in capsys.readouterr().err
    assert not (tmp_path / "new.safetensors").exists()
    for name, w in load_model(tmp_path / "whole.safetensors").network.state_dict().items():
        assert torch.allclose(w, model.network.state_dict()[name], rtol=2e-3, atol=1e-6)  # float16, and weights that add up to about 1
