"""What to run after a run that has failed: the same command with other flags, which other checks don't refuse."""

import shlex
from pathlib import Path

from ddpm_utils.config import TrainConfig
from ddpm_utils.training.options import SessionOptions


def flags_to_retry(config: TrainConfig, options: SessionOptions, good: Path | None, can_start: bool) -> dict[str, str]:
    """The flags to change, with their values: a lower rate, and where there is a good state, other folders than those that hold it.

    can_start: whether the run's command has --start-from.
    """
    flags = {"--lr": f"{min(config.lr / 10, TrainConfig.lr):.3g}"}
    if good is None:
        return flags
    flags["--out"] = str(free(options.out))
    if options.copy_to:
        flags["--copy-to"] = str(free(options.copy_to))
    return {**flags, "--start-from": str(good)} if can_start else flags


def free(folder: Path) -> Path:
    """NAME-2, or the first number after it that is free."""
    number = 2
    while (path := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return path


def with_flags(command: str, flags: dict[str, str]) -> str:
    """The command with these flags, in place of what it says of them and of --resume."""
    kept, words = [], shlex.split(command)
    while words:
        word = words.pop(0)
        name = word.partition("=")[0].replace("_", "-")
        if name != "--resume" and name not in flags:
            kept.append(word)
        elif "=" not in word and words and not words[0].startswith("--"):
            words.pop(0)
    return shlex.join([*kept, *(word for flag in flags.items() for word in flag)])
