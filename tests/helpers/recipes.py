"""What lies beside a shipped model: its recipe, the arguments of the command in it, its log, and what all of it weighs."""

import json
import shlex
import tomllib

from ddpm_utils.__main__ import build_parser
from ddpm_utils.models import SHIPPED


def recipe_of(name):
    return tomllib.loads((SHIPPED / f"{name}.toml").read_text())


def arguments_of(name):
    """What the parser makes of a recipe's command, and the command's name."""
    words = shlex.split(recipe_of(name)["command"])
    assert words[:3] == ["python", "-m", "ddpm_utils"]
    return build_parser().parse_args(words[3:]), words[3]


def log_of(name):
    return [json.loads(line) for line in (SHIPPED / f"{name}.jsonl").read_text().splitlines()]


def bytes_of(name):
    return sum(path.stat().st_size for path in SHIPPED.glob(f"{name}.*"))
