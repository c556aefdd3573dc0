"""The shipped models as the pages of the site take them: ONNX in packed parts, and a row of facts about each."""

import hashlib
import lzma
import sys
from pathlib import Path

ROUNDED_FROM = 5.0  # MB of weights: a larger model that draws images is rounded, so that the site stays small
STEPS = 256  # that a standard deviation of a rounded weight is divided into: few enough to save a third, too many to be seen
FIRST = "digits"  # what a reader meets first: it answers at once
EARLY = "-early"  # the end of the name of a worse model, which is there to be led away from


def export_models(out: Path) -> dict[str, list[dict]]:
    """Every shipped model that draws or retouches, and the control by scribbles, as ONNX in packed parts; what pages need to know of each."""
    from ddpm_utils.control.controlnet import load_control
    from ddpm_utils.models import load_model, shipped
    from ddpm_utils.recipes import read_recipes

    models: dict[str, list[dict]] = {"generator": [], "retoucher": []}
    weights: dict[str, str] = {}
    # a control comes behind its base, since it shares what that has written
    for recipe in sorted(read_recipes(), key=lambda recipe: (recipe.kind == "control", recipe.name != FIRST)):
        if recipe.name.endswith(EARLY):
            continue
        if recipe.kind in models:
            models[recipe.kind].append(export_model(out, recipe, load_model(shipped(recipe.name)), None, weights))
        elif recipe.kind == "control" and recipe.name.endswith("-scribble"):
            base = load_model(shipped(recipe.name.removesuffix("-scribble")))
            models["generator"].append(export_model(out, recipe, base, load_control(shipped(recipe.name)), weights))
    return models


def export_model(out: Path, recipe, model, control, weights: dict) -> dict:
    """A model's files, and its row of the pages' table. weights: as `in_parts`."""
    import onnx

    from ddpm_utils.export.onnx import write_onnx
    from ddpm_utils.generate import evened

    path = out / f"{recipe.name}.onnx"
    write_onnx(model, path, control=control)
    rounded = recipe.kind == "generator" and recipe.megabytes > ROUNDED_FROM
    files = in_parts(with_small_weights(onnx.load(path), rounded), path, weights)
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
    row |= {"rounded": rounded, "prediction": task.prediction, "schedule": task.schedule, "timesteps": task.timesteps}
    row["even"] = evened(config)
    return row | {"classes": model.classes if config.network.classes else [], "hint": control.hint_channels if control else None}


def around(config) -> dict:
    """What Python fixes around a network that retouches, for site/src/restoration.js and company.js."""
    from ddpm_utils.data.images import LUMINANCE
    from ddpm_utils.restoration import company, formulations, full_resolution
    from ddpm_utils.restoration.settings import SHORT_SIDE

    names = ("NEAR", "LIKE", "LEAST", "MOST", "RAMP", "BAND", "AROUND", "EVEN", "FINEST", "TAKEN", "BOLDEST", "NEARBY")
    fixed = {name.lower(): getattr(company, name) for name in names}
    fixed |= {"luminance": LUMINANCE, "residual_scale": formulations.RESIDUAL_SCALE, "gate": formulations.GATE}
    fixed |= {"short_side": SHORT_SIDE, "longest": full_resolution.LONGEST, "faint": full_resolution.FAINT}
    eta = formulations.shift_fractions(config.task.timesteps, config.task.kappa)[-1].item()
    return fixed | {"kappa": config.task.kappa, "eta": eta, "multiple": config.network.multiple}


def with_small_weights(model, rounded: bool):
    """The ONNX model with its weights in 16 bits each, under names that their bytes make, and what widens them again.

    Weights that are float16 numbers are stored as such: the same network in half the bytes. rounded: matrices and kernels as whole
    multiples of a 256th of their standard deviation, which pack into two thirds of that; the network is another by as little.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    kept, widening = {}, []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.dtype != np.float32 or values.size < 64 or not np.array_equal(half.astype(np.float32), values):
            kept[tensor.name] = tensor
            continue
        step = values.std() / STEPS
        whole = np.rint(values / step) if rounded and values.ndim > 1 else None
        small = half if whole is None or np.abs(whole).max() > np.iinfo(np.int16).max else whole.astype(np.int16)
        name = f"small.{hashlib.sha256(small.tobytes() + str(small.shape).encode()).hexdigest()[:16]}"
        kept[name] = numpy_helper.from_array(small, name)
        if small is half:
            widening.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
        else:
            kept[f"{name}.step"] = numpy_helper.from_array(np.float32(step), f"{name}.step")
            widening.append(helper.make_node("Cast", [name], [f"{tensor.name}.whole"], to=TensorProto.FLOAT))
            widening.append(helper.make_node("Mul", [f"{tensor.name}.whole", f"{name}.step"], [tensor.name]))
    nodes = [*widening, *model.graph.node]
    for field, values in ((model.graph.initializer, kept.values()), (model.graph.node, nodes)):
        del field[:]
        field.extend(values)
    return model


def in_parts(model, path: Path, weights: dict[str, str]) -> list[str]:
    """Write a model as packed parts whose bytes, one behind the other, are the ONNX file: protobuf joins what is written twice.

    weights: which file holds a weight, by its name; those that lie in one already are not written again. Returns the files' names.
    """
    import onnx

    own, others, mine = onnx.ModelProto(), [], f"{path.name}.weights.xz"
    rest = []
    for tensor in model.graph.initializer:
        file = weights.setdefault(tensor.name, mine) if tensor.name.startswith("small.") else None
        if file is None:
            rest.append(tensor)
        elif file == mine:
            own.graph.initializer.append(tensor)
        elif file not in others:
            others.append(file)
    del model.graph.initializer[:]
    model.graph.initializer.extend(rest)
    write_packed(path.with_name(mine), own.SerializeToString(), of_numbers=True)
    write_packed(path.with_name(f"{path.name}.xz"), model.SerializeToString())
    return [*others, mine, f"{path.name}.xz"]


def write_packed(path: Path, data: bytes, of_numbers: bool = False) -> None:
    """Packed here, by xz: a third less than what servers do. of_numbers: most of it is numbers of two bytes, a low one and a high one."""
    bytes_alike = {"lc": 0, "lp": 1, "pb": 1} if of_numbers else {"lc": 3, "lp": 0, "pb": 2}
    how = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 2**24, **bytes_alike}
    path.write_bytes(lzma.compress(data, check=lzma.CHECK_CRC32, filters=[how]))
