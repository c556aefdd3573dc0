"""Flags that come from the fields of settings, and parsers that are built without waiting for torch."""

import argparse
import subprocess
import sys
from dataclasses import dataclass, fields

import pytest

from ddpm_utils.commands.arguments import add_fields, given
from ddpm_utils.restoration.settings import RetouchSettings
from ddpm_utils.settings import setting


@dataclass(frozen=True, kw_only=True)
class Example:
    wide_name: int = setting(3, "how many % of it")
    share: float | None = setting(None, "share (default: all)")
    kind: str = setting("a", "which", choices=("a", "b"))
    quick: bool = setting(False, "faster")
    careful: bool = setting(True, "slower")


def parser(cls, *names):
    made = argparse.ArgumentParser(prog="x")
    add_fields(made, cls, *names)
    return made


def test_without_flags_the_values_are_the_fields_defaults_or_the_command_s_own():
    for cls in (Example, RetouchSettings):
        assert cls(**given(parser(cls).parse_args([]), cls)) == cls()
    assert given(parser(Example).parse_args([]), Example, kind="b", unknown=1) == {"kind": "b"}
    assert given(parser(Example).parse_args(["--kind", "a"]), Example, kind="b") == {"kind": "a"}


def test_every_flag_sets_its_field_with_the_type_of_its_annotation():
    words = ["--wide-name", "7", "--share", "0.5", "--kind", "b", "--quick", "--no-careful"]
    assert Example(**given(parser(Example).parse_args(words), Example)) == Example(
        wide_name=7, share=0.5, kind="b", quick=True, careful=False
    )


def test_help_and_default_are_told_once_and_a_default_of_none_is_left_to_the_help():
    told = " ".join(parser(Example).format_help().split())
    assert "--wide-name WIDE_NAME how many % of it (default 3)" in told
    assert "--share SHARE share (default: all) --kind {a,b} which (default a) --quick faster" in told


def test_only_the_fields_that_are_named_become_flags():
    assert vars(parser(Example, "kind").parse_args([])) == {"kind": None}
    with pytest.raises(SystemExit):
        parser(Example, "kind").parse_args(["--wide-name", "7"])


def test_every_setting_of_retouch_has_a_help():
    assert all(f.metadata["help"] for f in fields(RetouchSettings))


HEAVY = "torch", "numpy", "scipy", "skimage", "PIL"
PROGRAM = f"""
import sys
from ddpm_utils.__main__ import build_parser
build_parser()
from ddpm_utils.restoration.settings import RetouchSettings
print(sorted(set({HEAVY}) & set(sys.modules)))
from ddpm_utils.restoration import retouch
print("torch" in sys.modules, retouch.__module__)
"""


def test_parsers_and_settings_load_neither_torch_nor_numpy_and_retouch_comes_on_demand():
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]", "True ddpm_utils.restoration.full_resolution"]
