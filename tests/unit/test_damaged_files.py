"""A damaged file is told apart by its exception's class, not by its sentence."""

import pytest
import torch
from torch import nn

from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.models import load_model, with_weights
from ddpm_utils.training import checkpoints


@pytest.fixture
def states(tmp_path):
    paths = [tmp_path / f"state-{step:08d}.pt" for step in (1, 2)]
    for path in paths:
        path.touch()
    return paths


def refusing(monkeypatch, error):
    def load_state(trainer, path):
        raise error

    monkeypatch.setattr(checkpoints, "load_state", load_state)


def test_the_state_before_a_damaged_one_is_offered_in_whatever_words_it_is_refused(states, monkeypatch):
    refusing(monkeypatch, DamagedFile("kaputt"))
    with pytest.raises(DamagedFile, match=f"kaputt; or go on from the one before it with --resume {states[0]}"):
        checkpoints.load_newest(None, states[0].parent)
    states[0].unlink()
    with pytest.raises(DamagedFile, match=r"^kaputt$"):
        checkpoints.load_newest(None, states[1].parent)


def test_no_other_state_is_offered_for_a_refusal_that_only_speaks_of_damage(states, monkeypatch):
    refusing(monkeypatch, InputError("another run, whose state is damaged"))
    with pytest.raises(InputError, match=r"is damaged$"):
        checkpoints.load_newest(None, states[0].parent)


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>"])
def test_states_and_models_that_are_not_whole_are_damaged_files(tmp_path, content):
    for name, load in (("state-00000001.pt", checkpoints.read_state), ("model.safetensors", load_model)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DamagedFile, match=name):
            load(tmp_path / name)


def test_a_state_with_another_checksum_and_a_model_with_another_s_weights_are_damaged_files(tmp_path):
    torch.save({"format": checkpoints.STATE_FORMAT, "vectors": {}, "sha256": "another"}, tmp_path / "state.pt")
    with pytest.raises(DamagedFile, match="checksum"):
        checkpoints.read_state(tmp_path / "state.pt")
    with pytest.raises(DamagedFile, match=r"model\.safetensors"):
        with_weights(nn.Linear(2, 2), {"weight": torch.zeros(3)}, tmp_path / "model.safetensors")
