"""What goes to other programs and what comes from them: diffusers' samples beside ours, ONNX beside torch, configurations read and refused.

python tests/records/exchange_record.py [--record tests/records/exchange.md]

Exports every shipped model by the command, opens it in diffusers, in onnxruntime, and reads it back. The configurations are those of
tests/unit/diffusers_folders/test_reading.py.
"""

import argparse
import copy
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "helpers"), str(TESTS / "unit" / "diffusers_folders")]

import test_reading as configurations  # noqa: E402
from diffusers_here import diffusers, opened  # noqa: E402

from ddpm_utils.__main__ import main as ddpm_utils  # noqa: E402
from ddpm_utils.control.controlnet import controlled, load_control  # noqa: E402
from ddpm_utils.diffusers_folders.reading import read_description  # noqa: E402
from ddpm_utils.errors import InputError  # noqa: E402
from ddpm_utils.generate import generate, start_noise  # noqa: E402
from ddpm_utils.models import find_weights, load_model, shipped  # noqa: E402
from ddpm_utils.recipes import read_recipes  # noqa: E402
from ddpm_utils.sampling import sample  # noqa: E402

N, STEPS, SEED = 4, 20, 5


def export(*words) -> None:
    if ddpm_utils(["export", *map(str, words)]):
        sys.exit(f"export {words} failed")


@torch.no_grad()
def by_diffusers(name: str, folder: Path) -> list[str]:
    """Rows: the largest difference of a pixel in 0..1, with the pipeline that goes along, and of one class by DDIMPipeline alone."""
    model, rows = load_model(shipped(name)), []
    for label in (None, model.classes[1]):
        plain = label is not None and model.config.network.patch == 1  # what diffusers runs with its own code
        out = folder / f"{name}-{label}"
        export(name, "--to", "diffusers", "--out", out, *(["--label", label] if label else []))
        pipeline = opened(out, diffusers.DDIMPipeline if plain else diffusers.DiffusionPipeline)
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
        call = {"use_clipped_model_output": True} if plain else {"labels": None if label else model.classes[1]}
        noise = torch.Generator().manual_seed(SEED)
        theirs = pipeline(N, generator=noise, num_inference_steps=STEPS, output_type="np", **call).images
        theirs = torch.from_numpy(theirs).permute(0, 3, 1, 2)
        x0 = sample(
            generate(model.network, model.config, start_noise(model.config, N, SEED), torch.ones(N, dtype=torch.int64), steps=STEPS)
        )
        apart = (theirs - (x0 / 2 + 0.5).clamp(0, 1)).abs().max().item()
        rows.append(f"| {name} | {type(pipeline).__name__} | {'no' if plain else 'yes'} | {apart:.1e} |")
    return rows


@torch.no_grad()
def by_onnx(name: str, control: str | None, folder: Path) -> str:
    """A row: the largest difference over the largest value of torch's float32 output, of a size that the export has not seen."""
    kind = next(recipe.kind for recipe in read_recipes() if recipe.name == name)
    model = load_model(find_weights(name, kind))
    c, generator = model.network.config, torch.Generator().manual_seed(SEED)
    size = c.multiple * 5
    given = {"sample": torch.randn(3, c.channels, size, size, generator=generator), "timestep": torch.tensor([0, 400, 900])}
    given |= {"label": torch.tensor([0, 1, c.classes])} if c.classes else {}
    given |= {"condition": torch.randn(3, c.condition_channels, size, size, generator=generator)} if c.condition_channels else {}
    network, words = model.network, []
    if control:
        branch, words = load_control(find_weights(control, "control")), ["--control", control]
        hint = torch.rand(3, branch.hint_channels, size, size, generator=generator)
        network = controlled(copy.deepcopy(network), [(branch, hint, 1.0)])
    x_t, t, *rest = given.values()
    expected = network(x_t, t, *([None] * (1 - bool(c.classes)) if rest and not c.classes else []), *rest)
    given |= {"hint": hint} if control else {}
    cells = []
    for half in (False, True):
        path = folder / "model.onnx"
        export(name, "--to", "onnx", "--out", path, *words, *(["--half"] if half else []))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        arrays = {key: (v.half() if half and v.is_floating_point() else v).numpy() for key, v in given.items()}
        (output,) = session.run(["prediction"], arrays)
        cells.append(f"{np.abs(output - expected.numpy()).max() / expected.abs().max().item():.1e}")
    return f"| {name}{f' with {control}' if control else ''} | {', '.join(given)} | {' | '.join(cells)} |"


def read(folder: Path, unet: dict, scheduler: dict) -> str:
    """How a folder with these options is read: the network and its noise, or the sentence of the refusal."""
    options = {name: value for name, value in unet.items() if value is not None or name != "attention_head_dim"}
    for name, content in (("config.json", options), ("scheduler_config.json", scheduler)):
        (folder / name).write_text(configurations.json.dumps(content))
    (folder / "model_index.json").unlink(missing_ok=True)
    try:
        run, _ = read_description(folder)
    except InputError as error:
        return "refused: " + str(error).replace(str(folder), "FOLDER")
    task, network = run.task, run.network
    zero = ", to zero SNR" if task.zero_terminal_snr else ""
    return f"read: {network.image_size} px, {task.prediction}, {task.schedule}, T = {task.timesteps}{zero}, variance {task.variance}"


def settings(folder: Path) -> list[str]:
    """Rows of all configurations."""
    c = configurations
    rows = [(name, unet, c.SCHEDULER) for name, (_, unet) in c.KNOWN.items()]
    more = ({"variance_type": "fixed_large"}, {"_class_name": "DDIMScheduler"}, {"_class_name": "DPMSolverMultistepScheduler"})
    more += ({"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},)
    noises = [*more, *(options for options, _ in c.REFUSED_SCHEDULERS)]
    rows += [(named(options), c.SMALL, {**c.SCHEDULER, **options}) for options in noises]
    rows += [(named(options), {**c.SMALL, **options}, c.SCHEDULER) for options, _ in c.REFUSED_NETWORKS]
    return [f"| {name} | {read(folder, unet, noise)} |".replace("\n", " ") for name, unet, noise in rows]


def named(options: dict) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in options.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, default=Path(__file__).with_name("exchange.md"))
    record = parser.parse_args().record
    kinds = {recipe.name: recipe.kind for recipe in read_recipes()}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pipelines = [row for name, kind in kinds.items() if kind == "generator" for row in by_diffusers(name, folder)]
        networks = [(name, None) for name, kind in kinds.items() if kind in ("generator", "retoucher")]
        networks += [("toy-cars", name) for name, kind in kinds.items() if kind == "control"]
        onnx = [by_onnx(name, control, folder) for name, control in networks]
        (folder / "read").mkdir()
        configured = settings(folder / "read")
    record.write_text(
        "# To other programs and from them\n\nWritten by `make exchange-record`.\n\n"
        f"## Shipped models in diffusers {diffusers.__version__}\n\n{N} images by DDIM in {STEPS} steps from the same noise, beside ours.\n\n"
        "| model | pipeline | code beside the weights | largest difference of a pixel in 0..1 |\n|---|---|---|---:|\n"
        + "\n".join(pipelines)
        + f"\n\n## As ONNX, by onnxruntime {onnxruntime.__version__}\n\nThree inputs of another size than the export saw, beside torch.\n\n"
        "| network | inputs | float32: largest difference over largest value | float16 |\n|---|---|---:|---:|\n"
        + "\n".join(onnx)
        + "\n\n## Configurations of diffusers\n\nWell-known networks by their own, then single options changed of a small one.\n\n"
        "| configuration | what becomes of it |\n|---|---|\n" + "\n".join(configured) + "\n",
        "utf-8",
    )
    print(record.read_text("utf-8"))


if __name__ == "__main__":
    main()
