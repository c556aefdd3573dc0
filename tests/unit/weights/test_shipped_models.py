"""The models that come with the package: they load, are small, and the recipe beside each is the one that made it."""

from dataclasses import replace

import pytest
import torch
from recipes import arguments_of, bytes_of, log_of, recipe_of

from ddpm_utils.classifier import load_classifier
from ddpm_utils.commands import train, train_classifier
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.features import classifier_features
from ddpm_utils.generate import generate, start_noise
from ddpm_utils.models import SHIPPED, load_model, shipped
from ddpm_utils.training.tasks.classification import hold_out

NAMES = sorted(
    path.stem for path in SHIPPED.glob("*.safetensors") if not path.stem.startswith("toy-cars-")
)  # controls: test_shipped_controls.py
MAKERS = {
    "train": (load_model, lambda args: train.settings(args, train.usual_settings(args, size=28, images=5000))),
    "train-classifier": (load_classifier, train_classifier.settings),
}


def test_shipped_models_take_no_more_than_4_mb_and_those_of_photographs_12():
    assert {"clothes", "digits", "digits-classifier", "digits-early", "digits-judge", "retouch"} <= set(NAMES)
    for name in NAMES:
        assert bytes_of(name) <= (12_000_000 if name in ("clothes", "retouch") else 4_000_000)


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_beside_a_model_is_the_one_that_made_it(name):
    recipe, (arguments, command) = recipe_of(name), arguments_of(name)
    load, settings = MAKERS[command]
    config = load(shipped(name)).config
    assert replace(settings(arguments), network=config.network, start=config.start) == config
    assert bool(config.start) == ("--start-from" in recipe["command"])
    assert {"seed", "data", "licence", "versions"} <= recipe.keys()
    assert recipe["seed"] == config.seed


@pytest.mark.parametrize("name", NAMES)
def test_the_log_beside_a_model_is_of_a_whole_run(name):
    records, (arguments, command) = log_of(name), arguments_of(name)
    steps = [r["step"] for r in records if "loss" in r]
    assert steps == sorted(set(steps))
    if command == "train":
        assert records[-1]["epoch"] == pytest.approx(arguments.max_epochs or arguments.epochs, abs=1)
    else:
        assert records[-1].keys() == {"step", "held_out", "accuracy"}
        assert steps[-1] == records[-1]["step"]


def test_the_early_digits_are_the_first_epochs_of_the_digits():
    early, whole = ([(r["step"], r["loss"], r["lr"]) for r in log_of(name) if "loss" in r] for name in ("digits-early", "digits"))
    common = [r for r in early if r in whole]
    assert len(common) >= len(early) - 1  # the last line may be of a shorter interval
    assert len(early) < len(whole) / 4
    assert load_model(shipped("digits-early")).config == load_model(shipped("digits")).config


@pytest.mark.parametrize("name", ["digits-classifier", "digits-judge"])
def test_the_shipped_classifiers_read_digits_that_they_have_not_learned_from(name):
    classifier = load_classifier(shipped(name))
    _, unseen = hold_out(load_images("mnist5k"), classifier.config.task.hold_out, classifier.config.seed)
    assert len(unseen) == log_of(name)[-1]["held_out"]
    right = classifier_features(classifier, unseen.images)[1].argmax(1) == unseen.labels
    assert right.mean() > 0.95
    assert classifier.accuracy == log_of(name)[-1]["accuracy"]


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
