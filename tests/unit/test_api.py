"""`import ddpm_utils as du`: the examples in its docstrings, the same names for people and for programs, and the same images as `sample`."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ddpm_utils as du
from ddpm_utils import api
from ddpm_utils.__main__ import main
from ddpm_utils.generate import trained_denoiser


def test_the_examples_in_its_docstrings_are_right():
    tried = doctest.testmod(api, extraglobs={"du": du, "np": np})
    assert (tried.failed, tried.attempted > 8) == (0, True)


def test_the_package_has_these_names_for_programs_that_check_types_too():
    stub = ast.parse(Path(du.__file__).with_suffix(".pyi").read_text("utf-8"))
    told = {name.asname for node in stub.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert told == set(api.__all__)
    assert all(getattr(du, name) is getattr(api, name) for name in api.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        du.nothing  # noqa: B018


def test_it_costs_no_torch_until_a_name_is_asked_for():
    program = "import sys, ddpm_utils; assert 'torch' not in sys.modules; ddpm_utils.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_its_images_are_those_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "sample toy-cars --n 2 --label van --guidance 2 --steps 3 --sampler ddpm --seed 4 --device cpu --images images"
    assert main(words.split()) == 0
    drawn = du.load("toy-cars").sample(2, label="van", guidance=2, steps=3, sampler="ddpm", seed=4)
    assert np.array_equal(drawn, [np.asarray(Image.open(f"images/0000{i}.png")) for i in range(2)])


def test_its_denoiser_is_the_trained_one():
    model, label = du.load("digits"), torch.tensor([1, 2])
    x_t, t = torch.randn(2, 1, 28, 28), torch.tensor([10, 900])
    expected = trained_denoiser(model.network, model.config, label, 2.0)(x_t, t)
    assert torch.equal(model.denoiser(label, 2.0)(x_t, t), expected)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: du.load("none"), "no shipped model 'none'"),
        (lambda: du.load("digits", "abacus"), "device 'abacus' is not available"),
        (lambda: du.load("digits").sample(0), "n must be at least 1, got 0"),
        (lambda: du.load("digits").sample(label="ten"), "label must be a number from 0 to 9 or one of 0, 1,"),
        (lambda: du.load("digits").sample(label=-1), "label must be a number from 0 to 9"),
        (lambda: du.load("retouch").sample(), "this model retouches images and generates none"),
        (lambda: du.load("digits").retouch(np.zeros((32, 32, 3), np.uint8)), "this model generates images from noise"),
    ],
)
def test_what_it_can_not_do_is_told_in_a_sentence(call, sentence):
    with pytest.raises(du.InputError) as told:
        call()
    assert sentence in str(told.value)
