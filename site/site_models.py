"""The shipped models as the pages of the site take them: ONNX in packed parts, and a row of facts about each."""

import gzip
import sys
from pathlib import Path

MOST_OF_A_MODEL = 5.0  # MB of weights that a reader waits for; larger models are left to the course
EARLY = "-early"  # the end of the name of a worse model, which is there to be led away from


def export_models(out: Path) -> dict[str, list[dict]]:
    """Every shipped model that draws or retouches, and the control by scribbles, as ONNX in packed parts; what pages need to know of each."""
    from ddpm_utils.control.controlnet import load_control
    from ddpm_utils.models import load_model, shipped
    from ddpm_utils.recipes import read_recipes

    models: dict[str, list[dict]] = {"generator": [], "retoucher": []}
    weights: dict[tuple[str, bytes], str] = {}
    recipes = {recipe.name: recipe for recipe in read_recipes()}
    for recipe in sorted(recipes.values(), key=lambda recipe: recipe.kind == "control"):  # a control shares what its base has written
        if recipe.name.endswith(EARLY):
            continue
        if recipe.kind == "generator" and recipe.megabytes > MOST_OF_A_MODEL:
            print(f"{recipe.name} is left out: {recipe.megabytes} MB, pages take models of at most {MOST_OF_A_MODEL:g}")
        elif recipe.kind in models:
            models[recipe.kind].append(export_model(out, recipe, load_model(shipped(recipe.name)), None, weights))
        elif recipe.kind == "control" and recipe.name.endswith("-scribble"):
            base = load_model(shipped(recipe.name.removesuffix("-scribble")))
            models["generator"].append(export_model(out, recipe, base, load_control(shipped(recipe.name)), weights))
    return models


def export_model(out: Path, recipe, model, control, weights: dict) -> dict:
    """A model's files, and its row of the pages' table. weights: as `in_parts`."""
    import onnx

    from ddpm_utils.export.onnx import write_onnx

    path = out / f"{recipe.name}.onnx"
    write_onnx(model, path, control=control)
    files = in_parts(with_half_weights(onnx.load(path)), path, weights)
    path.unlink()
    row = {"name": recipe.name, "files": files, "does": recipe.does, "licence": recipe.licence}
    row |= {"megabytes": round(sum((out / file).stat().st_size for file in files) / 1e6, 1)}
    config, task = model.config, model.config.task
    if config.retouches:
        if task.form != "resshift":
            sys.exit(f"{recipe.name} retouches as site/src/restoration.js doesn't; write that first")
        return {**row, "around": around(model.config)}
    if task.prediction not in ("eps", "x0", "v", "flow") or task.zero_terminal_snr:
        sys.exit(f"{recipe.name} predicts {task.prediction}, which site/src/samplers.js doesn't know")
    row |= {"size": config.network.image_size, "channels": config.network.channels, "clip": config.in_unit_range}
    row |= {"prediction": task.prediction, "schedule": task.schedule, "timesteps": task.timesteps}
    return row | {"classes": model.classes if config.network.classes else [], "hint": control.hint_channels if control else None}


def around(config) -> dict:
    """What Python fixes around a network that retouches, for site/src/restoration.js and company.js."""
    from ddpm_utils.data.images import LUMINANCE
    from ddpm_utils.restoration import company, formulations, full_resolution
    from ddpm_utils.restoration.settings import SHORT_SIDE

    fixed = {name.lower(): getattr(company, name) for name in ("NEAR", "LIKE", "LEAST", "MOST", "RAMP", "BAND", "AROUND", "EVEN")}
    fixed |= {"luminance": LUMINANCE, "residual_scale": formulations.RESIDUAL_SCALE, "gate": formulations.GATE}
    fixed |= {"short_side": SHORT_SIDE, "longest": full_resolution.LONGEST, "faint": full_resolution.FAINT}
    eta = formulations.shift_fractions(config.task.timesteps, config.task.kappa)[-1].item()
    return fixed | {"kappa": config.task.kappa, "eta": eta, "multiple": config.network.multiple}


def with_half_weights(model):
    """The ONNX model with the weights that are float16 numbers stored as such, and a Cast behind each: the same network in half the bytes."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values, name = numpy_helper.to_array(tensor), tensor.name
        half = values.astype(np.float16)
        if values.dtype == np.float32 and values.size >= 64 and np.array_equal(half.astype(np.float32), values):
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def in_parts(model, path: Path, weights: dict[tuple[str, bytes], str]) -> list[str]:
    """Write a model as packed parts whose bytes, one behind the other, are the ONNX file: protobuf joins what is written twice.

    weights: which file holds a weight, by its name and bytes; those that lie in one already are not written again. Returns the files' names.
    """
    import onnx

    own, others, mine = onnx.ModelProto(), [], f"{path.name}.weights.gz"
    named = [tensor for tensor in model.graph.initializer if tensor.name.startswith("network.")]  # others have names of this export alone
    rest = [tensor for tensor in model.graph.initializer if not tensor.name.startswith("network.")]
    for tensor in named:
        file = weights.setdefault((tensor.name, tensor.SerializeToString()), mine)
        if file == mine:
            own.graph.initializer.append(tensor)
        elif file not in others:
            others.append(file)
    del model.graph.initializer[:]
    model.graph.initializer.extend(rest)
    write_packed(path.with_name(mine), own.SerializeToString())
    write_packed(path.with_name(f"{path.name}.gz"), model.SerializeToString())
    return [*others, mine, f"{path.name}.gz"]


def write_packed(path: Path, data: bytes) -> None:
    """Packed here, for servers that don't; the same bytes each time."""
    path.write_bytes(gzip.compress(data, 9, mtime=0))
