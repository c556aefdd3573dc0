"""Settings whose help is written once, at the field: `commands/arguments.py` makes flags of them."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any


def setting(default: Any, help: str = "", choices: Sequence[str] | None = None) -> Any:
    """A dataclass field with a default, and what its flag says about it: `steps: int = setting(10, "sampling steps (NFE)")`."""
    return field(default=default, metadata={"help": help, "choices": choices})
