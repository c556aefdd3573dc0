"""Weights to begin with: a model, a state, or a folder that holds either."""

import shutil

import pytest
import torch

from ddpm_utils.__main__ import main
from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.models import load_model, shipped
from ddpm_utils.training.checkpoints import list_states, read_state, state_digest
from ddpm_utils.training.starts import model_to_start_from

TINY = [
    *("--data-path", "digits", "--img-size", "4", "--width", "8", "--multipliers", "1", "--blocks", "1", "--batch-size", "512"),
    *("--precision", "fp32", "--device", "cpu", "--sample-every", "0", "--epochs", "2", "--timesteps", "20"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "run"
    assert main(["train", *TINY, "--out", str(out)]) == 0
    return out


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.network.parameters(), b.network.parameters(), strict=True))


def test_a_state_gives_the_averages_that_its_run_s_model_holds_in_float16(made):
    state, model = model_to_start_from(str(list_states(made)[-1]), "generator"), load_model(made / "model.safetensors")
    assert state.config == model.config
    for mine, theirs in zip(state.network.parameters(), model.network.parameters(), strict=True):
        assert torch.equal(mine.half().float(), theirs)


def test_a_folder_means_its_model_and_without_one_its_newest_state(made, tmp_path, monkeypatch):
    assert equal(model_to_start_from(str(made), "generator"), load_model(made / "model.safetensors"))
    shutil.copytree(made, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    list_states(tmp_path / "run")[0].rename(tmp_path / "run" / "state-99999999.pt")  # the older one, under another name
    monkeypatch.setenv("HOME", str(tmp_path))
    newest = model_to_start_from(str(made / "state-00000006.pt"), "generator")
    assert equal(model_to_start_from("~/run", "generator"), newest)
    renamed = shutil.copy(made / "state-00000006.pt", tmp_path / "weights.bin")
    assert equal(model_to_start_from(str(renamed), "generator"), newest)


def test_shipped_names_and_wrong_ones_are_told_as_everywhere():
    assert equal(model_to_start_from("digits", "generator"), load_model(shipped("digits")))
    with pytest.raises(InputError, match="no shipped model 'faces'"):
        model_to_start_from("faces", "generator")


def test_a_state_of_another_network_is_refused_in_a_sentence(made, tmp_path, capsys):
    assert main(["train", *TINY, "--width", "16", "--start-from", str(list_states(made)[-1]), "--out", str(tmp_path / "x")]) == 2
    assert "its network is" in capsys.readouterr().err
    assert main(["train-classifier", *TINY[:12], "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "c")]) == 0
    capsys.readouterr()
    state = list_states(tmp_path / "c")[-1]
    assert main(["train", *TINY, "--start-from", str(state), "--out", str(tmp_path / "x")]) == 2
    assert "is a state of classification, which trains no model to start from" in capsys.readouterr().err


def test_averages_that_are_no_numbers_or_too_few_begin_no_run(made, tmp_path):
    for name, spoil in (("nan", lambda v: v.index_fill(0, torch.tensor([5]), float("nan"))), ("few", lambda v: v[:-1])):
        state = read_state(list_states(made)[-1])
        state["vectors"]["average 0"] = spoil(state["vectors"]["average 0"])
        state["sha256"] = state_digest(state)
        torch.save(state, tmp_path / f"{name}.pt")
        with pytest.raises(DamagedFile, match=f"{name}.pt' holds no averages that a run can begin with"):
            model_to_start_from(str(tmp_path / f"{name}.pt"), "generator")
