"""List the models that come with the package: what each does, its data, licence, size and figures.

Each is called by its name wherever a command takes a model of its kind, such as `sample digits`.
"""

import argparse
import json
import textwrap
from dataclasses import asdict

from ddpm_utils.recipes import KINDS, Recipe, read_recipes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=KINDS, help="only those of this kind (default: all)")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs, with the command that made each")


def run(args: argparse.Namespace) -> None:
    recipes = [recipe for recipe in read_recipes() if args.kind in (None, recipe.kind)]
    print(json.dumps([asdict(recipe) for recipe in recipes], indent=2) if args.json else "\n\n".join(map(as_text, recipes)))


def as_text(recipe: Recipe) -> str:
    """A paragraph for people."""
    about = {"is": recipe.what, "data": recipe.data, "licence": recipe.licence}
    lines = [f"{name:<9}{text}" for name, text in about.items()]
    lines += [f"{'figures':<9}{text} ({source})" for source, text in recipe.figures.items()]
    indented = [textwrap.fill(line, 110, initial_indent="  ", subsequent_indent=" " * 11, break_on_hyphens=False) for line in lines]
    return "\n".join([f"{recipe.name} ({recipe.kind}, {recipe.megabytes:g} MB): {recipe.does}", *indented])
