"""Weights to begin a run with: of a model, or the averages of a state, as its run would have written them into its model."""

import os
from pathlib import Path

import torch

from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.models import Model, find_weights, kind_of_file, load_model, with_weights
from ddpm_utils.recipes import KINDS
from ddpm_utils.training.checkpoints import list_states, read_state
from ddpm_utils.unet import UNet


def model_to_start_from(name: str, kind: str) -> Model:
    """What --start-from NAME means: a model as in all commands, a state, or the newest state of a run that has no model yet.

    kind: of KINDS. Raises InputError for what is no such thing.
    """
    path = Path(os.path.expanduser(name))
    if path.is_dir() and not (path / KINDS[kind].result).exists() and (states := list_states(path)):
        path = states[-1]
    if path.is_file() and kind_of_file(path) == "state":
        return model_of_state(path)
    return load_model(find_weights(name, kind))


def model_of_state(path: Path) -> Model:
    """The averaged network of a state, in eval mode, in float32."""
    state = read_state(path)
    config = TrainConfig.from_json(state["config"])
    if config.task.kind not in ("generation", "restoration"):
        raise InputError(f"{str(path)!r} is a state of {config.task.kind}, which trains no model to start from; name a state of `train`")
    with torch.device("meta"):
        network = UNet(config.network)
    named, vector = dict(network.named_parameters()), state["vectors"]["average 0"]
    sizes = [w.numel() for w in named.values()]
    if sum(sizes) != len(vector) or not vector.isfinite().all():
        raise DamagedFile(f"the state {str(path)!r} holds no averages that a run can begin with; name another one")
    weights = {name: part.view(w.shape) for (name, w), part in zip(named.items(), vector.split(sizes))}
    return Model(with_weights(network, weights, path).eval(), config, (), {})
