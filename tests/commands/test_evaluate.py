"""`python -m ddpm_utils evaluate` as people type it: a folder, a split, drawn pairs, and one sentence for everything that is wrong."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from retouchers import SIZE, make_model, make_pairs

from ddpm_utils.__main__ import main
from ddpm_utils.data.pair_folders import SPLIT_FILE
from ddpm_utils.data.pairs import PairSet, spread
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.retouching import evaluate_rows
from ddpm_utils.models import save_model, shipped


def test_a_few_pairs_are_spread_over_all():
    pairs = PairSet(np.arange(10)[:, None, None, None], None, (), np.arange(10), np.arange(10))
    assert spread(pairs, 4).sources.tolist() == [0, 2, 5, 7]
    assert spread(pairs, 4).images.ravel().tolist() == [0, 2, 5, 7]
    assert spread(pairs, 11) is pairs


@pytest.fixture
def folder(tmp_path):
    pairs = make_pairs(3)
    for kind, images in (("src", pairs.sources), ("gt", pairs.images)):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "pairs" / kind / f"{i}.png")
    return tmp_path / "pairs"


@pytest.fixture
def saved(tmp_path):
    def save(form, name=None, **options):
        model = make_model(form, **options)
        path = tmp_path / f"{name or form}.safetensors"
        save_model(model.network, model.config, (), path)
        return path

    return save


def run(*words):
    try:
        return main(["evaluate", *map(str, words), "--device", "cpu"])
    except SystemExit as stop:
        return stop.code


def test_the_command_measures_a_folder_of_pairs_with_two_models(folder, saved, tmp_path, capsys):
    models = saved("resshift", seed=3), saved("regression", seed=3)
    for out in (tmp_path / "new" / "table.md", tmp_path / "table.csv"):
        assert run(*models, "--data-path", folder, "--samples", 2, "--out", out) == 0
    said = capsys.readouterr().out
    for name in ("copy", "Gaussian, σ 1 px", "resshift", "resshift, mean of 2", "regression"):
        assert f"| {name} |" in said
    assert "n = 3 pairs, 3 of them changed" in said
    assert "no test split" in said
    assert (tmp_path / "new" / "table.md").read_text("utf-8") in said
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + 4 + 2 + 1  # the copy, filters, one model with its mean, another
    assert rows[0]["name"] == "copy"
    assert float(rows[0]["psnr_in"]) == evaluate_rows(make_pairs(3), [])[0].psnr_in  # PNG is lossless


def test_two_models_of_one_form_are_told_apart(folder, saved, capsys):
    paths = saved("regression", "a", seed=1), saved("regression", "b", seed=2)
    assert run(*paths, "--data-path", folder) == 0
    said = capsys.readouterr().out
    assert all(f"| regression ({path}) |" in said for path in paths)


def test_of_prepared_pairs_the_test_split_is_measured(folder, saved, capsys):
    (folder / "src").rename(folder / "source")
    (folder / "gt").rename(folder / "target")
    for kind in ("source", "target"):
        for i, name in enumerate(("a_00", "b_00", "b_01")):
            (folder / kind / f"{i}.png").rename(folder / kind / f"{name}.png")
    (folder / SPLIT_FILE).write_text(json.dumps({"size": SIZE, "train": {"a": 1}, "test": {"b": 2}}))
    assert run(saved("regression", seed=1), "--data-path", folder) == 0
    assert "data: 2 pairs of 32 px, from the test split" in capsys.readouterr().out


def test_synthetic_pairs_are_drawn_as_many_as_are_measured(saved, capsys):
    assert run(saved("resshift", seed=1), "--n", 2, "--samples", 1) == 0
    said = capsys.readouterr().out
    assert "data: 2 pairs of 32 px, from the test split" in said
    assert "n = 2 pairs" in said


def test_without_a_model_the_shipped_one_is_measured_or_its_absence_told(folder, capsys):
    assert run("--data-path", folder, "--img-size", SIZE) == 0
    said = capsys.readouterr().out
    try:
        shipped("retouch")
    except InputError:
        assert "there is no shipped model 'retouch'" in said
        assert "only the copy and the filters are measured" in said
    else:
        assert "mean of 8" in said


def test_bad_input_is_one_sentence_each(folder, saved, tmp_path, capsys):
    anchored = saved("resshift", seed=1)
    (tmp_path / "nothing" / "src").mkdir(parents=True)
    (tmp_path / "nothing" / "gt").mkdir()
    (tmp_path / "unequal" / "src").mkdir(parents=True)
    (tmp_path / "unequal" / "gt").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "unequal" / "src" / "0.png")
    Image.new("RGB", (41, 40)).save(tmp_path / "unequal" / "gt" / "0.png")
    for words, expected in (
        ((anchored, "--data-path", tmp_path / "nothing"), "no images in"),
        ((anchored, "--data-path", tmp_path / "unequal"), "the source has 40x40 pixels and the target 41x40"),
        ((anchored, "--data-path", tmp_path / "missing"), "there is no folder"),
        ((shipped("digits"), "--data-path", folder), "digits.safetensors': this model generates images from noise"),
        ((tmp_path / "no.safetensors", "--data-path", folder), "no model file"),
        ((anchored, "--data-path", folder, "--n", 0), "--n must be at least 1, got 0"),
        ((anchored, "--data-path", folder, "--samples", 0), "--samples must be at least 1, got 0"),
        ((anchored, "--data-path", folder, "--steps", 101), "steps must lie in 1 .. T=100, got 101"),
        ((anchored, "--data-path", folder, "--out", tmp_path / "table.txt"), "ends in .md or .csv"),
        ((anchored, "--data-path", folder, "--img-size", 8), "at least 11 px wide and high to be evaluated, got 8 x 8"),
    ):
        assert run(*words) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_models_of_different_sizes_need_a_size(folder, saved, tmp_path, capsys):
    small = make_model("regression", seed=1)
    sizes = replace(small.config.network, image_size=16)
    save_model(small.network, replace(small.config, network=sizes), (), tmp_path / "small.safetensors")
    words = saved("resshift", seed=1), tmp_path / "small.safetensors", "--data-path", folder, "--samples", 1
    assert run(*words) == 2
    assert "different sizes (16, 32 px); choose one with --img-size" in capsys.readouterr().err
    assert run(*words, "--img-size", 16) == 0
