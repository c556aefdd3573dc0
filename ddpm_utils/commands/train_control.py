"""Train a control for a model: make it follow edges, lines, scribbles, segmentations, depths or your own hint images.

The model itself stays as it is, to the bit. Everything goes into the folder --out: log.jsonl, state-*.pt (to resume),
control.safetensors (the control, apart from its base), loss.png, samples/ (hints, samples, images), and status.json.
"""

import argparse
import copy
from pathlib import Path

from ddpm_utils.choices import EXACT_HINTS, HINTS
from ddpm_utils.commands import arguments
from ddpm_utils.config import Control, TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.settings import json_object

SESSION = {"out": Path("out/control"), "sample_every": 500}
RUN = {"epochs": 20, "batch_size": 64, "lr": 1e-3, "warmup": 50, "lr_decay": "constant", "ema_decay": 0.999, "seed": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join([*HINTS, *EXACT_HINTS])
    parser.add_argument("base", metavar="MODEL", help="the model to control: a file of `train`, or the name of a shipped model")
    parser.add_argument("--hint", required=True, help=f"{names}, or a folder of hint images named like the images")
    arguments.add_data(parser)
    arguments.add_fields(parser, Control, "hint_dropout")
    arguments.add_fields(parser, TrainConfig, "flip")
    arguments.add_reading(parser, "crop", "labels")
    parser.add_argument("--steps", type=int, help="at least this many steps, in whole epochs, instead of --epochs")
    arguments.add_session(parser, **SESSION)
    arguments.add_optimisation(parser, **RUN)


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.control.hinted_images import check_hint, with_hints
    from ddpm_utils.data.sources import load_images
    from ddpm_utils.models import find_weights, load_model
    from ddpm_utils.training.launch import join, launch
    from ddpm_utils.training.run_folder import check_folder
    from ddpm_utils.training.tasks.control import ControlTask, control_config

    base = load_model(find_weights(args.base, "generator"))
    if base.config.retouches:
        raise InputError("this model retouches images; a control needs one that generates them")
    if args.steps is not None and (args.steps < 1 or args.epochs is not None):
        raise InputError(f"--steps must be at least 1 and stands in place of --epochs, got {args.steps} steps and {args.epochs} epochs")
    options, compute = arguments.session_of(args, **SESSION)
    hint, dropped = Path(args.hint).name, args.hint_dropout or 0.0
    config = control_config(base, hint, dropped, **arguments.given(args, TrainConfig, **RUN))  # refuses wrong values before decoding
    check_hint(args.hint, args.data_path)
    check_folder(options, ControlTask.result)
    if options.resume:
        check_same_control(options.out, config.task)
    execution = join(compute)
    reading = arguments.reading_of(args, fit=config.fit)
    if reading.crop == "boxes" and args.hint not in HINTS:
        raise InputError(f"--crop boxes can't be used with hint images, which have no boxes; draw the hint: {', '.join(HINTS)}")
    images = load_images(args.data_path, base.config.network.image_size, skip_broken=args.skip_broken, reading=reading)
    check_classes(base, images)
    data = with_hints(images, args.hint, args.data_path, reading.fit)
    if args.steps is not None:
        epochs = -(-args.steps // max(1, len(data) // config.batch_size))
        config = control_config(base, hint, dropped, **{**arguments.given(args, TrainConfig, **RUN), "epochs": epochs})
    said = f"data: {len(data):,} images of {data.size} px with {args.hint}, hints of {data.hint_channels} channels"
    return launch(lambda: ControlTask(config, copy.deepcopy(base), data.hint_channels), data, options, compute, execution, said=said)


def check_same_control(out: Path, task: Control) -> None:
    """Refuse to go on with a run of old whose control.json names another hint or base; since then every state names them."""
    path = out / "control.json"
    try:
        before = json_object(path.read_bytes(), repr(str(path))) if path.exists() else {}
    except InputError as error:
        raise InputError(f"{error}; restore it, or delete it if --hint and the model are those that the run began with") from error
    for name in ("hint", "base"):
        if name in before and (old := before[name]) != (mine := getattr(task, name)):
            raise InputError(
                f"the run in {str(out)!r} has the {name} {old!r}, this one {mine!r}; match it, or begin anew with another --out, "
                "without --resume"
            )


def check_classes(base, images) -> None:
    """Refuse images with other labels than the base was trained on."""
    if base.config.network.classes is not None and tuple(images.classes) != base.classes:
        raise InputError(
            f"the base was trained on the classes {', '.join(base.classes)}, the images have {', '.join(images.classes) or 'none'}; "
            "pass images in folders of the same names"
        )
