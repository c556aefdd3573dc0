"""The command line: `python -m ddpm_utils COMMAND …`, or `ddpm-utils COMMAND …`. Each command lies in commands/."""

import argparse
import ast
import faulthandler
import importlib
import io
import os
import sys
import warnings
from collections.abc import Collection
from pathlib import Path

from ddpm_utils import __version__
from ddpm_utils.errors import InputError, printable

SCRIPT = "ddpm-utils"  # in pyproject.toml
COMMANDS = (
    "train",
    "train-classifier",
    "train-control",
    "watch",
    "sample",
    "prepare-pairs",
    "cloth-masks",
    "fold-pairs",
    "retouch",
    "adapt",
    "evaluate",
    "metrics",
    "ema",
    "export",
    "models",
    "plan",
    "doctor",
)


NO_MEMORY = ("can't allocate memory", "out of memory")  # in torch's words, on the CPU and on a GPU


class OneSentenceParser(argparse.ArgumentParser):
    """argparse, but a wrong value costs one sentence, not a page of usage."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")


def build_parser(wanted: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of all commands. Those `wanted` are imported, which takes seconds where they need torch, and know their flags."""
    prog = SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m ddpm_utils"
    parser = OneSentenceParser(prog=prog, description="Train denoising diffusion models and sample from them.")
    parser.add_argument("--version", action="version", version=f"ddpm_utils {__version__}", help="show the version and end")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=OneSentenceParser)
    for name in COMMANDS:
        description = _description(name)
        command = subparsers.add_parser(name, help=description.splitlines()[0], description=description)
        if name in wanted:
            module = importlib.import_module(f"ddpm_utils.commands.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _description(command: str) -> str:
    """The docstring of a command's file, which is not imported for it."""
    source = Path(__file__).with_name("commands") / f"{command.replace('-', '_')}.py"
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 if it did what was asked, 1 if that failed, 2 after one sentence on what was wrong with the input or the disk."""
    words = sys.argv[1:] if argv is None else argv
    if argv is None and sys.stderr is not None:
        faulthandler.enable()  # a file that is cut while it is mapped into memory ends the process without a word of Python's
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no UTF-8, or have letters that a terminal lacks
    # Pillow says so five times for one file, whose pixels are whole, and of whose tags it takes what can be read.
    warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)
    args = build_parser(words[:1]).parse_args([_with_hyphens(word) for word in words])
    try:
        code = args.run(args) or 0
        sys.stdout.flush()  # here, where a reader that has gone is noticed
        return code
    except InputError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # `… | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return 128 + 13  # as a shell reports SIGPIPE
    except OSError as error:  # a full disk, a folder that may not be written to
        return _refuse(f"{error.filename or 'files'} can't be read or written: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        return _refuse(f"not enough memory ({str(error).splitlines()[0] or 'for this'}); lower --batch-size, --img-size or --n")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _refuse(sentence: str) -> int:
    """Tell people, and a program that asked for it by naming a file in $DDPM_REFUSAL; returns the exit code."""
    sentence = printable(sentence)
    print(f"error: {sentence}", file=sys.stderr)
    if file := os.environ.get("DDPM_REFUSAL"):
        Path(file).write_text(sentence, "utf-8")
    return 2


def _with_hyphens(word: str) -> str:
    """--data_path is --data-path: both spellings are about."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


if __name__ == "__main__":
    sys.exit(main())
