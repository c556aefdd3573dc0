"""`ddpm-utils` beside `python -m ddpm_utils`: the same program under both names, which answers at once where no torch is needed."""

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ddpm_utils
from ddpm_utils import __main__ as program

ROOT = Path(__file__).parents[2]


def help_of(capsys, *words) -> str:
    with pytest.raises(SystemExit) as end:
        program.main([*words, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_script_that_an_installation_makes_is_the_program_s_main():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    entry = importlib.metadata.EntryPoint(program.SCRIPT, scripts[program.SCRIPT], "console_scripts")
    assert entry.load() is program.main


@pytest.mark.parametrize(
    ("called", "name"),
    [("/venv/bin/ddpm-utils", "ddpm-utils"), ("ddpm-utils.exe", "ddpm-utils"), ("/x/ddpm_utils/__main__.py", "python -m ddpm_utils")],
)
def test_help_speaks_of_the_program_by_the_name_that_it_was_called_by(monkeypatch, capsys, called, name):
    monkeypatch.setattr(sys, "argv", [called])
    assert help_of(capsys).startswith(f"usage: {name} ")
    assert help_of(capsys, "plan").startswith(f"usage: {name} plan ")
    with pytest.raises(SystemExit):
        program.main(["plan", "--epochs", "x"])
    assert capsys.readouterr().err.startswith(f"{name} plan: argument --epochs: invalid int value")


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as end:
        program.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"ddpm_utils {ddpm_utils.__version__}\n"


def test_the_help_of_all_commands_says_what_each_says_of_itself(capsys):
    said = " ".join(help_of(capsys).split())
    for name in program.COMMANDS:
        module = importlib.import_module(f"ddpm_utils.commands.{name.replace('-', '_')}")
        assert " ".join(module.__doc__.splitlines()[0].split()) in said


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["models"], ["models", "--json"], ["models", "--help"], ["paint"], []])
def test_help_version_and_the_list_of_models_need_no_torch(words):
    code = """
import sys
sys.modules["torch"] = None  # whose import would fail
from ddpm_utils.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == (2 if words in (["paint"], []) else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    """`ddpm-utils models | head -1`, and the reader is gone before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "ddpm_utils", "models"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
