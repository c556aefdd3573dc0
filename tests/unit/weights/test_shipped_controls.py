"""The controls that come with the package: small, on the shipped cars, followed; and the recipe beside each is the one that made it."""

import pytest
import torch
from recipes import arguments_of, bytes_of, log_of, recipe_of

from ddpm_utils.commands.arguments import given
from ddpm_utils.commands.train_control import RUN
from ddpm_utils.config import TrainConfig
from ddpm_utils.control.controlnet import load_control
from ddpm_utils.control.hinted_images import with_hints
from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.control import MEASURES, agreement, draw, hints_of
from ddpm_utils.models import load_model, shipped, weights_digest


@pytest.mark.parametrize("hint", MEASURES)
def test_a_shipped_control_is_what_its_recipe_makes_on_the_shipped_cars_in_20_cpu_minutes(hint):
    name = f"toy-cars-{hint}"
    assert bytes_of(name) <= 4_000_000
    recipe, (asked, command) = recipe_of(name), arguments_of(name)
    assert command == "train-control"
    control = load_control(shipped(name))
    assert (control.hint, asked.hint, asked.data_path) == (hint, hint, "toy-cars")
    assert control.base_digest == weights_digest(load_model(shipped("toy-cars")).network)
    run, told = control.run, given(asked, TrainConfig, **RUN)
    assert {name: getattr(run, name) for name in told} == told
    assert (run.task.hint, run.task.hint_dropout, run.task.base) == (hint, asked.hint_dropout or 0.0, control.base_digest)
    assert recipe["seed"] == run.seed
    assert 0 < recipe["cpu_minutes"] <= 20
    assert {"data", "licence", "versions"} <= recipe.keys()
    records = log_of(name)
    steps = [r["step"] for r in records]
    assert steps == sorted(set(steps))
    assert records[-1]["epoch"] == pytest.approx(asked.epochs, abs=1)


def test_the_shipped_edges_are_followed():
    """Sixteen cars in ten steps; tests/records/control.md has all hints, and more of them."""
    base, control = load_model(shipped("toy-cars")), load_control(shipped("toy-cars-canny"))
    data = with_hints(load_images("toy-cars:160", 32, split="test"), "canny")
    hints = hints_of(data)
    images = draw(base, torch.from_numpy(data.labels), [(control, hints, 1.0)], steps=10)
    right, shuffled = (agreement("canny", x, hints).mean().item() for x in (images, images.roll(1, 0)))
    assert right > shuffled + 0.2
