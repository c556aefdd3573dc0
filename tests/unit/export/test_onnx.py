"""Networks as ONNX, run by onnxruntime beside torch: every kind of input, sizes and batches that the file was not traced with."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from networks import as_if_trained, stirred

from ddpm_utils.config import Generation, Restoration, TrainConfig
from ddpm_utils.control.controlnet import ControlNet, controlled
from ddpm_utils.errors import InputError
from ddpm_utils.export.onnx import input_names, write_onnx
from ddpm_utils.models import Model, load_model, shipped
from ddpm_utils.unet_config import UNetConfig

SMALL = {"image_size": 8, "channels": 2, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "groups": 4}
CONFIGS = {
    "plain": UNetConfig(**SMALL),
    "labels": UNetConfig(**SMALL, classes=3),
    "labels and patches": UNetConfig(**{**SMALL, "attention": (2,)}, classes=3, patch=2),
    "a condition": UNetConfig(**SMALL, condition_channels=2, extra_channels=1),
}
SHAPES = [(1, 8, 8), (5, 16, 24)]  # images, height, width


def model_of(config):
    task = Restoration() if config.condition_channels else Generation(timesteps=50)
    return Model(as_if_trained(config), TrainConfig(network=config, task=task), ("a", "b", "c")[: config.classes or 0], {})


def inputs(model, shape, control=None, seed=0):
    n, height, width = shape
    generator, c = torch.Generator().manual_seed(seed), model.network.config
    channels = {"sample": c.channels, "condition": c.condition_channels, "hint": control.hint_channels if control else 0}
    given = {}
    for name in input_names(model.network, control):
        if name in channels:
            given[name] = torch.randn(n, channels[name], height, width, generator=generator)
        else:
            given[name] = torch.randint(0, 50 if name == "timestep" else c.classes + 1, (n,), generator=generator)
    return given


def run(path, given, half=False):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would wait for each other, each on a core
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == list(given)
    (output,) = session.run(
        ["prediction"], {name: (v.half() if half and v.is_floating_point() else v).numpy() for name, v in given.items()}
    )
    return output, json.loads(session.get_modelmeta().custom_metadata_map["ddpm_utils"])


@torch.no_grad()
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_onnxruntime_computes_what_torch_does_at_any_size_and_number(tmp_path, name, half):
    model = model_of(CONFIGS[name])
    write_onnx(model, tmp_path / "x.onnx", half)
    for shape in SHAPES:
        given = inputs(model, shape)
        output, about = run(tmp_path / "x.onnx", given, half)
        named = dict(given)
        expected = model.network(named.pop("sample"), named.pop("timestep"), **named).numpy()
        assert output.dtype == (np.float16 if half else np.float32)
        assert np.abs(output - expected).max() < (2e-2 if half else 1e-5) * np.abs(expected).max()
    assert TrainConfig.from_json(json.dumps(about["config"])) == model.config
    assert about["classes"] == list(model.classes)


@torch.no_grad()
@pytest.mark.parametrize("half", [False, True])
def test_a_control_makes_its_hint_an_input(tmp_path, half):
    model = model_of(CONFIGS["labels"])
    control = stirred(ControlNet.on(model.network, 1, "canny"))
    write_onnx(model, tmp_path / "x.onnx", half, control)
    for shape in SHAPES:
        given = inputs(model, shape, control)
        output, about = run(tmp_path / "x.onnx", given, half)
        network = controlled(model.network, [(control, given["hint"], 1.0)])
        expected = network(given["sample"], given["timestep"], given["label"]).numpy()
        assert np.abs(output - expected).max() < (2e-2 if half else 1e-5) * np.abs(expected).max()
        assert np.abs(expected - model.network(given["sample"], given["timestep"], given["label"]).numpy()).max() > 0.01
    assert about["hint"] == "canny"


@torch.no_grad()
def test_the_shipped_digits_and_their_weights_stay_as_they_were(tmp_path):
    model = load_model(shipped("digits"))
    write_onnx(model, tmp_path / "x.onnx", half=True)
    assert all(w.dtype == torch.float32 for w in model.network.parameters())
    write_onnx(model, tmp_path / "x.onnx")
    given = inputs(model, (3, 28, 28))
    output, _ = run(tmp_path / "x.onnx", given)
    assert np.abs(output - model.network(given["sample"], given["timestep"], given["label"]).numpy()).max() < 1e-4


def test_a_control_of_another_base_is_refused_and_nothing_written(tmp_path):
    control = ControlNet.on(as_if_trained(CONFIGS["labels"], seed=9), 1, "canny")
    with pytest.raises(InputError, match="trained on another base"):
        write_onnx(model_of(CONFIGS["labels"]), tmp_path / "x.onnx", control=control)
    assert not list(tmp_path.iterdir())
