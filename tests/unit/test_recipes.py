"""What the recipes of the shipped models say is so: their kinds are their files', their figures are the records'."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from ddpm_utils.models import load_model, shipped
from ddpm_utils.recipes import KINDS, read_recipes

ROOT = Path(__file__).parents[2]
RECIPES = read_recipes()


def test_every_shipped_model_has_a_recipe():
    assert [recipe.name for recipe in RECIPES] == sorted(path.stem for path in shipped("digits").parent.glob("*.safetensors"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_a_recipe_s_kind_is_that_of_its_file_and_of_the_command_that_made_it(recipe):
    with safe_open(shipped(recipe.name), "np") as file:
        form = json.loads(file.metadata()["ddpm_utils"])["format"]
    assert form.split()[1] == KINDS[recipe.kind].noun
    assert recipe.command.split()[3] == KINDS[recipe.kind].command.split()[0]
    if KINDS[recipe.kind].noun == "model":
        assert (load_model(shipped(recipe.name)).config.retouches) == (recipe.kind == "retoucher")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_figure_of_a_recipe_stands_in_the_file_that_it_names(recipe):
    assert recipe.figures
    for source, figure in recipe.figures.items():
        text = (ROOT / source).read_text()
        if source.endswith(".jsonl"):
            last = json.loads(text.splitlines()[-1])
            text = f"{last['held_out']} " + " ".join(f"{share + 1e-6:.3f}" for share in last["accuracy"])  # float32: 0.9005 is 0.90049…
        numbers = re.findall(r"[+-]?\d+(?:\.\d+)?%?", figure)
        assert numbers
        assert not [n for n in numbers if n not in text]
