"""A trained network as an ONNX file, with all of its inputs, for images of any size and number."""

import copy
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ddpm_utils.control.controlnet import ControlNet, check_base, control_forward
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.runtime.files import atomic_path
from ddpm_utils.unet import UNet

OPSET = 18
MOST_BYTES = 2**31 - 1  # of a protobuf, in which an ONNX file lies


class Flat(nn.Module):
    """A network, with its control if there is one, as a function of tensors in one order: sample, timestep, label, condition, hint."""

    def __init__(self, network: UNet, control: ControlNet | None):
        super().__init__()
        self.network, self.control, self.names = network, control, input_names(network, control)

    def forward(self, *tensors: Tensor) -> Tensor:
        given = dict(zip(self.names, tensors))
        x_t, t, label, condition = given["sample"], given["timestep"], given.get("label"), given.get("condition")
        if self.control is None:
            return self.network(x_t, t, label, condition)
        return control_forward(self.network, [(self.control, given["hint"], 1.0)], x_t, t, label, condition)


def input_names(network: UNet, control: ControlNet | None = None) -> list[str]:
    """The inputs of a network that it can't do without."""
    c = network.config
    optional = {"label": c.classes, "condition": c.condition_channels, "hint": control}
    return ["sample", "timestep", *(name for name, is_there in optional.items() if is_there)]


def write_onnx(model: Model, path: Path, half: bool = False, control: ControlNet | None = None) -> None:
    """Write the network as ONNX: its output "prediction" for the inputs of `input_names`. Appears whole or not at all.

    sample: x_t, (B, C, H, W) in the type of the weights, H and W multiples of what the network asks for. timestep: (B,) int64, 0-based.
    label: (B,) int64, the number of classes for no label. condition: (B, c, H, W). hint: (B, c, H, W) in 0..1. The configuration and the
    names of the classes lie in the file's metadata, as JSON under "ddpm_utils". half: float16 instead of float32.
    Raises InputError for a control of another base, and where the package onnx is missing.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise InputError("--to onnx needs the package onnx, which is not installed; run `pip install onnx`") from error
    if control is not None:
        check_base(model.network, control)
    flat = copy.deepcopy(Flat(model.network, control)).cpu().eval()
    size = sum(p.numel() for p in flat.parameters()) * (2 if half else 4)
    if size > MOST_BYTES:
        raise InputError(f"an ONNX file holds at most 2 GB, the weights take {size / 1e9:.1f} GB")
    if half:
        flat = flat.half()
    about = {"config": json.loads(model.config.to_json()), "classes": model.classes, "hint": control.hint if control else None}
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():  # about checks of shapes, which hold for all that are multiples alike, and its own age
            warnings.simplefilter("ignore")
            _trace(flat, temporary)
        written = onnx.load(temporary)
        onnx.helper.set_model_props(written, {"ddpm_utils": json.dumps(about)})
        onnx.checker.check_model(written)
        onnx.save(written, temporary)


def _trace(flat: Flat, path: Path) -> None:
    """By torch's older exporter: the newer one takes a minute for a small network, and one more package."""
    like = next(flat.parameters())
    c = flat.network.config
    images = {"sample": c.channels, "condition": c.condition_channels, "hint": flat.control.hint_channels if flat.control else 0}
    inputs = [
        torch.zeros(2, images[name], c.multiple * 2, c.multiple * 3).to(like)
        if name in images
        else torch.zeros(2, dtype=torch.int64, device=like.device)
        for name in flat.names
    ]
    axes = {name: {0: "batch", 2: "height", 3: "width"} if name in images else {0: "batch"} for name in flat.names}
    torch.onnx.export(
        flat,
        tuple(inputs),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=flat.names,
        output_names=["prediction"],
        dynamic_axes={**axes, "prediction": {0: "batch", 2: "height", 3: "width"}},
    )
