"""Descriptions of runs for tests."""

from dataclasses import fields, replace

from ddpm_utils.config import TrainConfig


def changed(config: TrainConfig, **changes) -> TrainConfig:
    """The run with other settings, of its own or of its task, by their names."""
    own = {field.name for field in fields(config)}
    task = replace(config.task, **{name: value for name, value in changes.items() if name not in own})
    return replace(config, **{name: value for name, value in changes.items() if name in own}, task=task)
