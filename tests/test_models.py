"""The models that come with the package: they load, are small, and the recipe beside each is the one that made it."""

import json
import shlex
import tomllib
from dataclasses import replace

import pytest
import torch

from ddpm_utils.__main__ import build_parser
from ddpm_utils.commands.train import settings
from ddpm_utils.errors import InputError
from ddpm_utils.generate import generate, start_noise
from ddpm_utils.models import SHIPPED, load_model, shipped

NAMES = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def test_shipped_models_take_no_more_than_4_mb_and_the_retoucher_12():
    assert {"digits", "retouch"} <= set(NAMES)
    for name in NAMES:
        size = sum(path.stat().st_size for path in SHIPPED.glob(f"{name}.*"))
        assert size <= (12_000_000 if name == "retouch" else 4_000_000)


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_beside_a_model_is_the_one_that_made_it(name):
    recipe = tomllib.loads((SHIPPED / f"{name}.toml").read_text())
    words = shlex.split(recipe["command"])
    assert words[:3] == ["python", "-m", "ddpm_utils"]
    config = load_model(shipped(name)).config
    asked = settings(build_parser().parse_args(words[3:]))
    assert replace(asked, network=config.network, start=config.start) == config
    assert bool(config.start) == ("--start-from" in words)
    assert {"seed", "data", "licence", "versions"} <= recipe.keys()
    assert recipe["seed"] == config.seed


@pytest.mark.parametrize("name", NAMES)
def test_the_log_beside_a_model_is_of_a_whole_run(name):
    records = [json.loads(line) for line in (SHIPPED / f"{name}.jsonl").read_text().splitlines()]
    steps = [r["step"] for r in records if "loss" in r]
    assert steps == sorted(set(steps))
    assert records[-1]["epoch"] == pytest.approx(load_model(shipped(name)).config.epochs, abs=1)


def test_the_shipped_digits_have_ink_where_digits_have():
    model = load_model(shipped("digits"))
    *_, last = generate(model.network, model.config, start_noise(model.config, 10, 0), torch.arange(10), steps=10)
    assert last.x.shape == (10, 1, 28, 28)
    border = torch.cat([last.x[..., 0, :].flatten(), last.x[..., -1, :].flatten()])
    assert border.mean() < -0.9  # paper
    assert last.x[..., 7:21, 7:21].mean() > -0.7  # ink


def test_a_model_that_is_not_shipped_is_refused_with_the_names_of_those_that_are():
    with pytest.raises(InputError, match=r"no shipped model 'faces'.*digits"):
        shipped("faces")
