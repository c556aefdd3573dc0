"""Write a trained model for other programs: a folder that diffusers opens, an ONNX file, or a repository of the Hugging Face Hub.

export digits --to diffusers --out FOLDER; export digits --to onnx --out FILE.onnx; export digits --to hub OWNER/NAME. The way back is the
model's name: every command that takes a model takes such a folder, and hf:OWNER/NAME.
"""

import argparse
import shutil
from pathlib import Path

from ddpm_utils.commands import arguments
from ddpm_utils.errors import InputError, printable
from ddpm_utils.recipes import read_recipes
from ddpm_utils.runtime.files import atomic_path, atomic_write, check_folder_can_be, check_writable, filled_folder, is_unfinished

TARGETS = ("diffusers", "onnx", "hub")
SAMPLES = 16  # in samples.png of a repository; with labels two of each


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a model.safetensors that `train` wrote, the folder of its run, or the name of a shipped model")
    parser.add_argument(
        "--to",
        nargs="+",
        required=True,
        metavar=("diffusers|onnx|hub", "OWNER/NAME"),
        help="what to write; for hub with the repository that it is pushed to, which is made if there is none",
    )
    parser.add_argument(
        "--out", type=arguments.user_path, help="folder, or for onnx a file that ends in .onnx (default for hub: out/hub/NAME)"
    )
    parser.add_argument("--label", help="diffusers: the only class to draw, by plain pipelines of diffusers that know no labels")
    parser.add_argument("--half", action="store_true", help="onnx: float16 instead of float32")
    parser.add_argument("--control", help="onnx: a control.safetensors of `train-control` with this model, whose hint becomes an input")
    parser.add_argument("--dry-run", action="store_true", help="hub: write the repository's folder and push nothing")


def run(args: argparse.Namespace) -> None:
    target, repository = target_of(args)
    out = args.out or Path("out/hub") / repository.partition("/")[2]
    check_flags(args, target)
    check_out(out, target)
    from ddpm_utils.models import find_weights, load_model

    if target == "hub" and not args.dry_run:
        from ddpm_utils.runtime.hub import check_can_push

        check_can_push(repository)
    path = find_weights(args.model, kind_of(args.model) if target == "onnx" else "generator")
    model = load_model(path)
    if target == "onnx":
        to_onnx(args, model, out)
        return
    recipe = next((recipe for recipe in read_recipes() if recipe.name == args.model), None)
    with filled_folder(out, last="model_index.json") as folder:
        how = to_folder(args, model, folder, recipe, place=repository or str(out))
        if target == "hub":
            add_own_files(model, path, folder)
    if target == "hub":
        to_hub(args, out, repository)
    else:
        print(printable(f"wrote {out}, which diffusers opens by {how}"))


def target_of(args: argparse.Namespace) -> tuple[str, str]:
    """What --to asks for: one of TARGETS, and OWNER/NAME for hub, else ""."""
    target, *rest = args.to
    if target not in TARGETS:
        raise InputError(f"--to must be one of {', '.join(TARGETS)}, got {target!r}")
    if target != "hub" and rest:
        raise InputError(f"--to {target} takes no further word, got {rest[0]!r}")
    if target == "hub" and (len(rest) != 1 or len(rest[0].split("/")) != 2 or not all(rest[0].split("/"))):
        raise InputError(f"--to hub needs the name of one repository, OWNER/NAME, got {' '.join(rest) or 'none'}")
    return target, rest[0] if rest else ""


def check_flags(args: argparse.Namespace, target: str) -> None:
    """Refuse what would be ignored, and what is missing."""
    for flag, value, of in (
        ("--half", args.half, "onnx"),
        ("--control", args.control, "onnx"),
        ("--label", args.label, "diffusers"),
        ("--dry-run", args.dry_run, "hub"),
    ):
        if value and target != of:
            raise InputError(f"{flag} belongs to --to {of}, not to --to {target}")
    if target != "hub" and args.out is None:
        raise InputError(f"--to {target} needs --out, the {'file' if target == 'onnx' else 'folder'} to write")


def check_out(out: Path, target: str) -> None:
    """Refuse a place that can't be written to, or where something else would be lost."""
    if target == "onnx":
        if out.suffix != ".onnx" or out.is_dir():
            raise InputError(f"--out must name a file that ends in .onnx, got {str(out)!r}")
        check_writable(out)
        return
    check_folder_can_be(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "model_index.json").is_file() and not is_unfinished(out):
        raise InputError(f"--out must be a new folder, or one that was exported before, {str(out)!r} holds other files")
    check_writable(out / "model_index.json")


def kind_of(name: str) -> str:
    """The kind of model that an ONNX file is asked of: shipped ones tell it, files of both kinds are called alike."""
    return "retoucher" if any(recipe.name == name and recipe.kind == "retoucher" for recipe in read_recipes()) else "generator"


def to_onnx(args: argparse.Namespace, model, out: Path) -> None:
    from ddpm_utils.control.controlnet import load_control
    from ddpm_utils.export.onnx import input_names, write_onnx
    from ddpm_utils.models import find_weights

    control = load_control(find_weights(args.control, "control")) if args.control else None
    write_onnx(model, out, args.half, control)
    print(printable(f"wrote {out}: prediction({', '.join(input_names(model.network, control))})"))


def to_folder(args: argparse.Namespace, model, out: Path, recipe, place: str) -> str:
    """A pipeline of diffusers with its card; returns the call that opens it."""
    from ddpm_utils.commands.sample import chosen_labels
    from ddpm_utils.diffusers_folders.writing import needs_own_pipeline, with_one_label, write_folder
    from ddpm_utils.export.card import card_of

    network, config, classes = model.network, model.config, model.classes
    if args.label is not None:
        (label,) = chosen_labels(args.label, 1, classes, config.network.classes).tolist()
        network, config, classes = *with_one_label(network, config, label), ()
    write_folder(network, config, classes, out)
    samples = args.to[0] == "hub"
    title = place.rpartition("/")[2]
    with atomic_write(out / "README.md") as file:
        known = classes if config.network.classes else ()
        file.write(card_of(title, config, known, recipe, place, samples, needs_own_pipeline(config)).encode())
    own = "DiffusionPipeline.from_pretrained(…, trust_remote_code=True)"
    return own if needs_own_pipeline(config) else "DDPMPipeline.from_pretrained(…)"


def add_own_files(model, path: Path, out: Path) -> None:
    """What else belongs into a repository: the model's own file, and samples."""
    from ddpm_utils.commands.sample import layout
    from ddpm_utils.data.images import to_uint8
    from ddpm_utils.figures import sample_grid
    from ddpm_utils.generate import generate, labels_in_rows, start_noise
    from ddpm_utils.sampling import sample

    if path.is_file():
        with atomic_path(out / "model.safetensors") as temporary:
            shutil.copyfile(path, temporary)
    config, count = model.config, model.config.network.classes
    n = 2 * count if count else SAMPLES
    label = labels_in_rows(n, count) if count else None
    x0 = sample(generate(model.network, config, start_noise(config, n, 0), label, steps=min(50, config.timesteps)))
    columns, names = layout(n, label, model.classes)
    with atomic_path(out / "samples.png") as temporary:
        sample_grid(to_uint8(x0, config.mean, config.std), columns, names).savefig(temporary)


def to_hub(args: argparse.Namespace, out: Path, repository: str) -> None:
    """Push the folder, or say that it wasn't."""
    from ddpm_utils.runtime.hub import push

    files = sorted(file for file in out.rglob("*") if file.is_file())
    for file in files:
        print(printable(f"{file.stat().st_size / 1e6:8.2f} MB  {file.relative_to(out).as_posix()}"))
    if args.dry_run:
        print(printable(f"wrote {out}; nothing was pushed, that is done without --dry-run"))
        return
    print(printable(f"pushed to {push(out, repository, f'{args.model}, exported by ddpm_utils')}"))
