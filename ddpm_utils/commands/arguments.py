"""Flags made from the fields of a settings class, so that a help text, a default and choices are written once."""

import argparse
from dataclasses import Field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints


def add_fields(parser: argparse._ActionsContainer, cls: type, *names: str) -> None:
    """A flag for each of these fields of the dataclass `cls` (all, if none is named): `short_side` becomes --short-side.

    Type, default, help and choices are the field's (`settings.setting`). A bool that is False becomes a flag without a value, one that is
    True gets its --no- as well.
    """
    types = get_type_hints(cls)
    for f in fields(cls):
        if not names or f.name in names:
            parser.add_argument(f"--{f.name.replace('_', '-')}", default=f.default, help=_help(f), **_value(types[f.name], f))


def _help(f: Field) -> str:
    """The field's help; the default is added unless it is none, which the help itself must then explain."""
    text = f.metadata.get("help", "").replace("%", "%%")
    return text if f.default is None or f.default is False else f"{text} (default %(default)s)".strip()


def _value(kind: Any, f: Field) -> dict:
    """What argparse must be told about the value of a flag."""
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction if f.default else "store_true"}
    (plain,) = set(get_args(kind) or (kind,)) - {NoneType}  # of int | None: int
    return {"type": plain, "choices": f.metadata.get("choices")}
