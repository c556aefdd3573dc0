"""Train a ControlNet, so that a trained model follows edges, lines, scribbles, segmentations, depths or your own hint images.

The model itself stays as it is, to the bit. Everything goes into the folder --out: log.jsonl, state-*.pt (to resume),
control.safetensors (the control, apart from its base), loss.png, samples/ (hints, samples, images), and status.json.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path

from ddpm_utils.commands.train import choose_precision, next_command
from ddpm_utils.config import DECAYS, TrainConfig
from ddpm_utils.control.hinted_images import EXACT, with_hints
from ddpm_utils.control.hints import HINTS
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.sources import EMBEDDED, KAGGLE_HANDLES, load_images
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model, find_weights, load_model
from ddpm_utils.runtime.device import PRECISIONS, Execution, choose_device, describe_device
from ddpm_utils.runtime.doctor import check_device
from ddpm_utils.training.limits import Limits
from ddpm_utils.training.log import parameter_table
from ddpm_utils.training.session import SessionOptions, check_folder
from ddpm_utils.training.tasks.control import control_trainer, train_control
from ddpm_utils.training.trainer import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join([*HINTS, *EXACT])
    parser.add_argument("base", metavar="MODEL", help="the model to control: a file of `train`, or the name of a shipped model")
    parser.add_argument("--hint", required=True, help=f"{names}, or a folder of hint images named like the images")
    parser.add_argument(
        "--data-path", required=True, help=f"a folder of images, kaggle:OWNER/SLUG, or {', '.join([*EMBEDDED, *KAGGLE_HANDLES])}"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/control"), help="folder for everything that the run writes (default %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest state in --out, bit by bit as if it had never stopped")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, default=20, help="passes over the data (default %(default)s)")
    length.add_argument("--steps", type=int, help="at least this many steps, in whole epochs")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default %(default)s)")
    parser.add_argument(
        "--lr", type=float, default=1e-3, help="learning rate; at 1e-5 hints are ignored for thousands of steps (default %(default)s)"
    )
    parser.add_argument("--warmup", type=int, default=50, help="steps over which it rises (default %(default)s)")
    parser.add_argument("--lr-decay", choices=DECAYS, default="constant", help="after that (default %(default)s)")
    parser.add_argument("--ema-decay", type=float, default=0.999, help="of the averaged weights (default %(default)s)")
    parser.add_argument(
        "--drop-hint", type=float, default=0.0, help="share of hints hidden, so that it also learns to do without (default 0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides order, timesteps and noise (default %(default)s)")
    parser.add_argument("--log-every", type=int, default=50, help="steps between two lines of the log (default %(default)s)")
    parser.add_argument("--sample-every", type=int, default=500, help="steps between two grids of samples, 0: none (default %(default)s)")
    parser.add_argument("--max-hours", type=float, help="of this session; it stops cleanly before, to be resumed (default: none)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto goes by the device (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    base = load_model(find_weights(args.base, "generator"))
    if base.config.form is not None:
        raise InputError("this model retouches pictures; a control needs one that generates them")
    if args.steps is not None and args.steps < 1:
        raise InputError(f"steps must be at least 1, got {args.steps}")
    options = SessionOptions(args.out, args.resume, Limits(args.max_hours), args.log_every, args.sample_every, command=next_command())
    settings(args, base.config, args.epochs)  # refuses wrong values before minutes of decoding
    check_folder(options)
    device = choose_device(args.device)
    check_device(device)
    execution = Execution(device, "fp32" if args.precision == "auto" else args.precision)
    images = load_images(args.data_path, base.config.network.image_size)
    check_classes(base, images)
    data = with_hints(images, args.hint, args.drop_hint, args.data_path)
    steps_per_epoch = max(1, len(data) // args.batch_size)
    config = settings(args, base.config, args.epochs if args.steps is None else -(-args.steps // steps_per_epoch))

    def trainer_on(execution: Execution, base: Model) -> Trainer:
        return control_trainer(base, config, data, Path(args.hint).name, execution)

    precision, why = choose_precision(args.precision, execution, options, lambda scratch: trainer_on(scratch, copy.deepcopy(base)))
    trainer = trainer_on(replace(execution, precision=precision), base)
    print(f"data: {len(data):,} images of {data.size} px with {args.hint}, hints of {data.hint_channels} channels")
    print(f"device: {describe_device(device)}; precision {precision} ({why})")
    print(parameter_table(trainer.network.control, 1))
    return 1 if train_control(trainer, options)["status"] == "failed" else 0


def settings(args: argparse.Namespace, base: TrainConfig, epochs: int) -> TrainConfig:
    """The control's run: the base's diffusion and labels, and training of its own."""
    return replace(
        base,
        epochs=epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        warmup=args.warmup,
        lr_decay=args.lr_decay,
        ema_decay=args.ema_decay,
        ema_start=0,
        ema_sigmas=(),
        ema_every=1,
        seed=args.seed,
    )


def check_classes(base: Model, images: ImageSet) -> None:
    """Refuse images with other labels than the base was trained on."""
    if base.config.network.classes is not None and tuple(images.classes) != base.classes:
        raise InputError(
            f"the base was trained on the classes {', '.join(base.classes)}, the images have {', '.join(images.classes) or 'none'}; "
            "pass images in folders of the same names"
        )
