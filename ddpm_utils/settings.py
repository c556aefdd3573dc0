"""Settings that carry their own help, choices and range, written once, at the field of a dataclass.

`check_settings` holds a dataclass to them, and `commands/arguments.py` builds the command line from them. Imports no torch.
"""

import math
from dataclasses import field, fields
from typing import Any

from ddpm_utils.errors import InputError


def setting(default: Any, help: str = "", *, choices: tuple = (), within: str = "", usual: str = "", **flag: Any) -> Any:
    """A field of a dataclass with what a user must know about it.

    within: the range of a number, or of each of several, as an interval: "[0, 1)", "(0, inf)". usual: what most people take, for the
    sentence that refuses another. flag: what only the command line needs: `flag="--name"` where it isn't the field's, `metavar`.
    """
    about = {"help": help, "choices": choices, "within": within, "usual": usual, **flag}
    return field(default=default, metadata=about)


def check_settings(settings: Any) -> None:
    """InputError for the first field of a dataclass that isn't among its choices or within its range; None is always allowed."""
    for one in fields(settings):
        check_value(one.name, getattr(settings, one.name), one.metadata)


def check_value(name: str, value: Any, about: Any) -> None:
    """InputError unless `value` is among about["choices"] and within about["within"], if there are any."""
    if value is None:
        return
    if (choices := about.get("choices")) and value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if not (within := about.get("within")):
        return
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float) or not inside(number, within):
            usual = f", {about['usual']} is usual;" if about.get("usual") else ","
            raise InputError(f"{name} must {in_words(within)}{usual} got {number!r}")


def bounds(within: str) -> tuple[float, float]:
    """The two ends of an interval such as "[0, 1)"."""
    low, high = (end.split("**") for end in within[1:-1].split(","))  # 2**63 is an end, too
    return tuple(float(end[0]) ** float(end[-1] if end[1:] else 1) for end in (low, high))


def inside(number: float, within: str) -> bool:
    """Whether a number lies in an interval; NaN lies in none."""
    low, high = bounds(within)
    return (low < number or (within[0] == "[" and number == low)) and (number < high or (within[-1] == "]" and number == high))


def in_words(within: str) -> str:
    """ "be at least 1", "be above 0", "lie in [0, 1)"."""
    low, high = bounds(within)
    if high == math.inf:
        return f"be {'at least' if within[0] == '[' else 'above'} {low:g}"
    return f"lie in {within}"
