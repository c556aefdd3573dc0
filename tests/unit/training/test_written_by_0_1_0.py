"""Runs that were begun with version 0.1.0, whose states had all settings of all tasks in one list, end today as they ended then.

Each folder of written_by_0_1_0 holds a state from the middle of a run and what the whole run ended in, both written by that version. On the
processor that wrote them, with one thread, today's end is bit-equal to it (seen on 2026-11-26); others add up in another order.
"""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.classifier import load_classifier
from ddpm_utils.config import Classification
from ddpm_utils.control.controlnet import load_control
from ddpm_utils.models import load_model, shipped
from ddpm_utils.training.checkpoints import flatten, list_states, read_state

BEGUN = Path(__file__).parent / "written_by_0_1_0"
NETWORK = "--width 4 --multipliers 1 --blocks 1 --attention --seed 3 "
COMMANDS = {
    "generation": "train --data-path digits --epochs 2 --batch-size 256 --timesteps 50 --prediction v --weighting min-snr --schedule linear "
    "--warmup 3 --lr 2e-3 --lr-decay cosine --label-dropout 0.3 --ema-sigmas 0.1 0.2 --flip " + NETWORK,
    "resshift": "train --form anchored --data-path PAIRS --img-size 16 --epochs 4 --batch-size 8 --timesteps 30 --kappa 0.4 "
    "--first-step-share 0.6 --mask-weight 3 --lr 2e-3 --warmup 0 " + NETWORK,
    "palette": "train --form palette --prediction x0 --loss l1 --data-path PAIRS --img-size 16 --epochs 4 --batch-size 8 --timesteps 30 "
    "--lr 2e-3 --warmup 0 " + NETWORK,
    "control": f"train-control {shlex.quote(str(BEGUN / 'generation' / 'model.safetensors'))} --hint canny --data-path digits --epochs 2 "
    "--batch-size 256 --drop-hint 0.2 --lr 2e-3 --warmup 0 --seed 5",
}


def write_pairs(root):
    """Sixteen pairs of stripes, one of each with a dark fold, by integers alone: the same on every processor."""
    rows, columns = np.mgrid[:16, :16]
    for kind, depth in (("source", 40), ("target", 0)):
        (root / kind).mkdir(parents=True)
        for k in range(16):
            plain = 90 + 8 * ((rows * (k + 3) + columns * 5) % 11)
            fold = depth * ((columns >= 3 + k % 5) & (columns < 9 + k % 5) & (rows > 2))
            Image.fromarray(np.stack([plain + 20 * c - fold for c in range(3)], -1).astype(np.uint8)).save(root / kind / f"{k:02d}.png")
    return root


def resume(name, out, *changes):
    pairs = out.parent / "pairs"
    words = [str(pairs if pairs.exists() else write_pairs(pairs)) if word == "PAIRS" else word for word in shlex.split(COMMANDS[name])]
    return main([*words, "--out", str(out), "--resume", "--device", "cpu", "--precision", "fp32", "--sample-every", "0", *changes])


@pytest.fixture
def begun(tmp_path):
    def copied(name):
        return Path(shutil.copytree(BEGUN / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors")))

    return copied


def weights_in(path):
    network = load_control(path) if path.name == "control.safetensors" else load_model(path).network
    return flatten(list(network.parameters()))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_begun_then_ends_in_the_same_weights(begun, name):
    """Within a hundredth of the way from the state to the end: Adam makes much of rounding where gradients are almost 0."""
    out = begun(name)
    (state,) = list_states(out)
    assert read_state(state)["format"] == 2
    before = read_state(state)["vectors"]["average 0"]
    assert resume(name, out) == 0
    (then,) = (BEGUN / name).glob("*.safetensors")
    expected, found = weights_in(then), weights_in(out / then.name)
    assert (found - expected).norm() <= 0.01 * (expected - before).norm()


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("generation", ["--prediction", "eps"], "its prediction is 'v', this run's is 'eps'"),
        ("resshift", ["--kappa", "0.3"], "its kappa is 0.4, this run's is 0.3"),
        ("palette", ["--schedule", "linear"], "its schedule is 'cosine', this run's is 'linear'"),
        ("control", ["--hint", "lines"], "has the hint 'canny', this one 'lines'"),
        ("control", ["--drop-hint", "0.3"], "trained on other images"),
    ],
)
def test_another_run_than_the_one_begun_is_still_refused(begun, capsys, name, changes, named):
    assert resume(name, begun(name), *changes) == 2
    assert named in capsys.readouterr().err


def test_models_of_then_say_what_they_are_and_nothing_that_was_not_used():
    settings = {name: load_model(BEGUN / name / "model.safetensors").config.task for name in ("generation", "resshift", "palette")}
    assert (settings["generation"].prediction, settings["generation"].weighting) == ("v", "min-snr")
    assert (settings["resshift"].form, settings["resshift"].kappa, settings["resshift"].prediction) == ("resshift", 0.4, None)
    assert (settings["palette"].prediction, settings["palette"].kappa) == ("x0", None)


def test_a_classifier_s_file_of_today_says_how_it_was_trained():
    config = load_classifier(shipped("digits-judge")).config
    assert config.task == Classification(hold_out=0.4)
    assert config.ema_decay == 0.0
