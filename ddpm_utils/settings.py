"""Settings that carry their own help, choices and range, written once, at the field of a dataclass.

`check_settings` holds a dataclass to them, and `commands/arguments.py` builds the command line from them. Imports no torch.
"""

import hashlib
import json
import math
from dataclasses import field, fields
from functools import cache
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ddpm_utils.errors import InputError

Kind = TypeVar("Kind")
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "an object", NoneType: "nothing"}
MANY = 1000  # values of one setting
EXACT = 2**53  # up to here a float holds every whole number


def setting(
    default: Any, help: str = "", *, choices: tuple = (), within: str = "", at_most: float | None = None, usual: str = "", **flag: Any
) -> Any:
    """A field of a dataclass with what a user must know about it.

    within: the range of a number, or of each of several, as an interval: "[0, 1)", "(0, inf)". at_most: beyond it only damage or malice
    goes; what a file says must not buy any amount of memory. usual: what most people take, for the sentence that refuses another.
    flag: what only the command line needs: `flag="--name"` where it isn't the field's, `metavar`.
    """
    about = {"help": help, "choices": choices, "within": within, "at_most": at_most, "usual": usual, **flag}
    return field(default=default, metadata=about)


def check_settings(settings: Any) -> None:
    """InputError for the first field of a dataclass that isn't of its type, among its choices or within its range. Lists become tuples."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if isinstance(value, list):  # JSON has no tuples
            object.__setattr__(settings, one.name, value := tuple(value))
        check_value(one.name, value, one.metadata, hints_of(type(settings))[one.name])


def check_value(name: str, value: Any, about: Any, hint: Any = Any) -> None:
    """InputError unless `value` is of the type `hint`, among about["choices"] and within about["within"], if there are any."""
    if not fits(value, hint):
        raise InputError(f"{name} must be {kind_in_words(hint)}, got {shown(value)}")
    if value is None:
        return
    if isinstance(value, tuple) and len(value) > MANY:
        raise InputError(f"{name} must be at most {MANY} values, got {len(value)}")
    if (choices := about.get("choices")) and value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")
    for number in value if isinstance(value, tuple) else (value,):
        if (within := about.get("within")) and not inside(number, within):
            usual = f", {about['usual']} is usual;" if about.get("usual") else ","
            raise InputError(f"{name} must {in_words(within)}{usual} got {shown(number)}")
        if (at_most := about.get("at_most")) and number > at_most:
            raise InputError(f"{name} must be at most {at_most}, got {shown(number)}")


# --- types ---


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """The annotations of a dataclass as types."""
    return get_type_hints(cls)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type. A whole number is a float, too, if a float holds it; true and false are no numbers."""
    if hint is Any:
        return True
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin in (tuple, list):
        return isinstance(value, origin) and all(fits(one, parts[0]) for one in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float and isinstance(value, int):
        return abs(value) <= EXACT
    return isinstance(value, origin or hint)


def kind_in_words(hint: Any) -> str:
    """ "a whole number or nothing"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (tuple, list):
        return f"a list, each {kind_in_words(parts[0])}"
    if parts:
        return " or ".join(map(kind_in_words, parts))
    return KINDS.get(hint, f"a {hint.__name__}")


def shown(value: Any) -> str:
    """A value as a sentence quotes it: on one line, and short whatever it is."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = 80
    return short.repr(value)


# --- out of files ---


def json_object(text: Any, what: str) -> dict:
    """The JSON object that `text` holds. InputError for no JSON, for another value, and for what Python won't read, such as a number of
    5,000 digits or lists in lists 100,000 deep."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} can't be read ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{what} must be a JSON object, got {shown(found)}")
    return found


def with_checksum(values: dict) -> str:
    """The object as JSON, with a SHA-256 of all that it says."""
    return json.dumps({**values, "sha256": _checksum(values)}, indent=1)


def checked_object(text: Any, what: str, needed: bool = True) -> dict:
    """The object that `with_checksum` wrote; InputError where it isn't as it was written.

    needed: False where older versions wrote no checksum, and a file without one is taken as it is.
    """
    values = json_object(text, what)
    if (needed or "sha256" in values) and values.pop("sha256", None) != _checksum(values):
        raise InputError(f"{what} isn't as it was written")
    return values


def _checksum(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def section(values: dict, name: str) -> dict:
    """The JSON object under this name in another one."""
    if not isinstance(found := values.get(name), dict):
        raise InputError(f"{name} must be an object with its settings, got {shown(found)}")
    return found


def from_values(cls: type[Kind], values: dict) -> Kind:
    """The dataclass with these fields, as a file holds them; InputError for fields that it hasn't got."""
    if unknown := values.keys() - {one.name for one in fields(cls)}:
        raise InputError(f"the file was written by another version of ddpm_utils: it has an unknown setting {shown(sorted(unknown)[0])}")
    return cls(**values)


# --- ranges ---


@cache
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
