"""One rule for what a command line means by the name of a model, in every command that takes one."""

import pytest

from ddpm_utils import models
from ddpm_utils.__main__ import main
from ddpm_utils.errors import InputError
from ddpm_utils.models import find_weights, shipped
from ddpm_utils.recipes import KINDS, read_recipes


def assert_refused(name, kind, *parts):
    with pytest.raises(InputError) as told:
        find_weights(name, kind)
    assert "\n" not in str(told.value)
    assert all(part in str(told.value) for part in parts), told.value


@pytest.mark.parametrize(("kind", "result"), [(name, kind.result) for name, kind in KINDS.items()])
def test_a_file_and_the_folder_of_its_run_mean_the_same(tmp_path, monkeypatch, kind, result):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / result
    file.touch()
    assert find_weights(file, kind) == find_weights(tmp_path / "run", kind) == find_weights(str(tmp_path / "run"), kind) == file
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights("~/run", kind) == find_weights(f"~/run/{result}", kind) == file
    (file.with_name("without-ending")).touch()
    assert find_weights(file.with_name("without-ending"), kind) == file.with_name("without-ending")


def test_a_shipped_name_means_the_shipped_model_and_a_dot_before_it_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "model.safetensors").touch()
    assert find_weights("digits", "generator") == shipped("digits")
    assert find_weights("./digits", "generator").resolve() == tmp_path / "digits" / "model.safetensors"
    for recipe in read_recipes():
        assert find_weights(recipe.name, recipe.kind) == shipped(recipe.name)


def test_a_name_that_means_nothing_is_refused_with_the_shipped_ones_that_fit(tmp_path):
    assert_refused(
        "faces", "generator", "no model file, no folder of a run and no shipped model 'faces'", "digits, digits-early, toy-cars;"
    )
    assert_refused("faces", "retoucher", "those shipped are retouch;")
    assert_refused("cany", "control", "no shipped control 'cany'", "toy-cars-canny, toy-cars-depth")
    assert_refused(tmp_path / "x.safetensors", "classifier", "x.safetensors'", "digits-classifier, digits-judge;")
    assert_refused("~nobody-of-this-name/x", "generator", "no model file")


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("retouch", "generator", "'retouch' retouches photographs, here something is needed that draws images"),
        ("digits", "retoucher", "'digits' draws images, here something is needed that retouches photographs"),
        ("digits-judge", "control", "'digits-judge' reads images, here something is needed that controls a model"),
        ("toy-cars-canny", "classifier", "'toy-cars-canny' controls a model, here something is needed that reads images"),
    ],
)
def test_a_shipped_model_of_another_kind_is_told_by_what_it_does(name, kind, sentence):
    assert_refused(name, kind, sentence, *(recipe.name for recipe in read_recipes() if recipe.kind == kind))


def test_a_state_is_named_as_what_it_is_with_the_model_of_its_run(tmp_path):
    state = tmp_path / "state-00000007.pt"
    state.touch()
    sentence = f"{str(state)!r} is a state, to resume from; the model of its run is {str(tmp_path / 'model.safetensors')!r}"
    assert_refused(state, "generator", sentence + ", which is written when the run ends or stops")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"model\.safetensors'$"):
        find_weights(state, "generator")
    assert_refused(state, "control", "the control of its run is", "control.safetensors")


def test_a_folder_without_the_result_is_refused_by_what_is_missing(tmp_path):
    (tmp_path / "control.safetensors").touch()
    assert_refused(tmp_path, "generator", "holds no model.safetensors, which a run leaves there when it ends or stops", "digits")


def test_weights_that_come_without_a_recipe_are_found_too(tmp_path, monkeypatch):
    """As in the notebooks that carry a model inside."""
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    (tmp_path / "digits.safetensors").touch()
    assert find_weights("digits", "generator") == tmp_path / "digits.safetensors"
    assert_refused("faces", "generator", "none in this copy")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("sample NAME", "generator"),
        ("sample digits --bad-model NAME", "generator"),
        ("sample digits --classifier NAME", "classifier"),
        ("sample toy-cars --control NAME --hint-from x.png", "control"),
        ("train-control NAME --hint canny --data-path digits --out out", "generator"),
        ("train --start-from NAME --data-path digits --out out --batch-size 8 --device cpu", "generator"),
        ("metrics . digits --features NAME", "classifier"),
        ("evaluate NAME", "retoucher"),
        ("retouch NAME x.png --out y.png", "retoucher"),
    ],
)
def test_every_command_asks_the_same_rule(tmp_path, monkeypatch, capsys, words, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").touch()
    (tmp_path / "state.pt").touch()
    a_state = "the state 'state.pt' is damaged" if "--start-from" in words else "'state.pt' is a state, to resume from"
    for name, sentence in (("no-such", f"no shipped {KINDS[kind].noun} 'no-such'"), ("state.pt", a_state)):
        assert main(words.replace("NAME", name).split()) == 2
        assert sentence in capsys.readouterr().err


def test_evaluate_finds_the_shipped_retoucher_by_its_name(tmp_path, capsys):
    out = tmp_path / "table.csv"
    words = ["--data-path", "wrinkles:10", "--n", "1", "--img-size", "32", "--samples", "1", "--device", "cpu", "--out", str(out)]
    assert main(["evaluate", "retouch", *words]) == 0
    assert "resshift" in out.read_text()
