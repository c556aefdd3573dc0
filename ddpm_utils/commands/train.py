"""Train a DDPM on a folder of images, an embedded set, or a Kaggle data set.

Labels are used if the images lie in one folder a class. Everything goes into the folder --out: log.jsonl, state-*.pt (to resume),
model.safetensors (to sample from), loss.png, samples/, and status.json, which says how the session ended and what to run next.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from ddpm_utils.config import DECAYS, FORMS, OPTIMIZERS, TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.data.sources import EMBEDDED, KAGGLE_HANDLES, load_images
from ddpm_utils.diffusion import LOSSES, PREDICTIONS, WEIGHTINGS
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model, find_weights, load_model, weights_digest
from ddpm_utils.runtime.device import (
    PRECISIONS,
    Execution,
    choose_device,
    cpu_gains_from_bf16,
    describe_device,
    join_processes,
    leave_processes,
    precision_of,
)
from ddpm_utils.runtime.doctor import check_device
from ddpm_utils.schedules import SCHEDULES
from ddpm_utils.training.checkpoints import list_states, read_state
from ddpm_utils.training.limits import Limits
from ddpm_utils.training.log import parameter_table
from ddpm_utils.training.session import SessionOptions, check_folder, train
from ddpm_utils.training.trainer import Trainer, check_data
from ddpm_utils.unet import UNet, UNetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = TrainConfig()
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--data-path",
        required=True,
        help=f"a folder of images, kaggle:OWNER/SLUG, or {', '.join([*EMBEDDED, *KAGGLE_HANDLES])}; with --form: a folder of pairs, or wrinkles",
    )
    run.add_argument("--out", type=Path, default=Path("out/train"), help="folder for everything that the run writes (default %(default)s)")
    run.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        type=Path,
        metavar="STATE",
        help="go on from the newest state in --out, or from this one, bit by bit as if it had never stopped",
    )
    run.add_argument("--copy-to", type=Path, help="second folder for all of it, such as one on Google Drive; --resume finds it there too")
    run.add_argument(
        "--start-from", metavar="MODEL", help="begin with a model's weights instead of random ones: a file, or the name of a shipped model"
    )
    run.add_argument("--epochs", type=int, default=defaults.epochs, help="passes over the data (default %(default)s)")
    run.add_argument("--batch-size", type=int, default=defaults.batch_size, help="images a step (default %(default)s)")
    run.add_argument("--seed", type=int, default=defaults.seed, help="decides weights, order, timesteps and noise (default %(default)s)")
    run.add_argument("--log-every", type=int, default=50, help="steps between two lines of the log (default %(default)s)")
    run.add_argument("--sample-every", type=int, default=1000, help="steps between two grids of samples, 0: none (default %(default)s)")

    limits = parser.add_argument_group("limits of this session; it stops cleanly before them, to be resumed")
    limits.add_argument("--max-hours", type=float, help="since its start (default: none)")
    limits.add_argument("--max-epochs", type=int, help="trained in this session (default: none)")
    limits.add_argument("--max-disk-gb", type=float, help="of everything in --out, at any moment (default: none)")
    limits.add_argument("--keep", type=int, default=2, help="full states to keep (default %(default)s)")
    limits.add_argument(
        "--snapshot-every", type=int, default=0, help="epochs between two small files of averaged weights, 0: none (default)"
    )

    machine = parser.add_argument_group("machine; several GPUs: torchrun --nproc-per-node 2 -m ddpm_utils train …")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")
    machine.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto goes by the device (default %(default)s)")
    machine.add_argument("--accumulate", type=int, default=1, help="micro-batches a step: less memory, same result (default %(default)s)")
    machine.add_argument("--checkpoint-blocks", action="store_true", help="recompute activations: less memory, a third more time")
    machine.add_argument("--compile", action="store_true", help="use torch.compile: minutes at the start; not on a P100")

    pairs = parser.add_argument_group("pairs of pictures, to retouch instead of to generate")
    pairs.add_argument("--form", choices=FORMS, help="how the network retouches (default: it generates images from noise)")
    pairs.add_argument("--target-path", help="folder of the retouched pictures, if --data-path holds the untouched ones alone")
    pairs.add_argument("--kappa", type=float, default=defaults.kappa, help="noise of the anchored form (default %(default)s)")
    pairs.add_argument(
        "--first-step-share",
        type=float,
        default=defaults.first_step_share,
        help="of the pairs that train the anchored form's first step, the hardest (default %(default)s)",
    )
    pairs.add_argument(
        "--mask-weight", type=float, default=defaults.mask_weight, help="how much more a retouched pixel counts (default %(default)s)"
    )

    images = parser.add_argument_group("images")
    images.add_argument("--img-size", type=int, help="pixels of the short side, then cut square (default 64; embedded sets: their own)")
    images.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, help="mirror half of the images (default: yes, but not for digits)"
    )
    images.add_argument("--unconditional", action="store_true", help="ignore class folders")
    images.add_argument("--skip-broken", action="store_true", help="train without the images that can't be read, instead of stopping")
    images.add_argument("--mean", type=float, nargs="+", default=defaults.mean, help="subtracted by channel, in 0..1 (default 0.5)")
    images.add_argument("--std", type=float, nargs="+", default=defaults.std, help="divided by, by channel, in 0..1 (default 0.5)")

    process = parser.add_argument_group("diffusion")
    process.add_argument("--timesteps", type=int, default=defaults.timesteps, help="T, all of which is trained (default %(default)s)")
    process.add_argument("--schedule", choices=SCHEDULES, default=defaults.schedule, help="of the noise (default %(default)s)")
    process.add_argument("--zero-terminal-snr", action="store_true", help="stretch the schedule to end in pure noise; not with eps")
    process.add_argument(
        "--prediction", choices=PREDICTIONS, default=defaults.prediction, help="what the network says (default %(default)s)"
    )
    process.add_argument("--loss", choices=LOSSES, default=defaults.loss, help="distance to the truth (default %(default)s)")
    process.add_argument("--weighting", choices=WEIGHTINGS, default=defaults.weighting, help="of the loss over t (default %(default)s)")
    process.add_argument(
        "--label-dropout", type=float, default=defaults.label_dropout, help="share of labels hidden, for guidance (default %(default)s)"
    )

    network = parser.add_argument_group("network")
    network.add_argument("--width", type=int, default=64, help="channels at full resolution (default %(default)s)")
    network.add_argument(
        "--multipliers", type=int, nargs="+", help="times width at each level (default 1 2 2 2, or as often as the size halves)"
    )
    network.add_argument("--attention", type=int, nargs="*", help="resolutions with self-attention (default 16, or else the coarsest)")
    network.add_argument("--blocks", type=int, default=UNetConfig.blocks, help="residual blocks a level (default %(default)s)")
    network.add_argument(
        "--patch", type=int, default=UNetConfig.patch, help="pixels folded into one: 2 costs a quarter, for pairs (default %(default)s)"
    )
    network.add_argument("--dropout", type=float, default=UNetConfig.dropout, help="in every block (default %(default)s)")

    optimisation = parser.add_argument_group("optimisation")
    optimisation.add_argument("--optimizer", choices=OPTIMIZERS, default=defaults.optimizer, help="(default %(default)s)")
    optimisation.add_argument("--lr", type=float, default=defaults.lr, help="learning rate after the warm-up (default %(default)s)")
    optimisation.add_argument("--warmup", type=int, default=defaults.warmup, help="steps over which it rises (default %(default)s)")
    optimisation.add_argument("--lr-decay", choices=DECAYS, default=defaults.lr_decay, help="after that (default %(default)s)")
    optimisation.add_argument("--ema-decay", type=float, default=defaults.ema_decay, help="of the averaged weights (default %(default)s)")
    optimisation.add_argument(
        "--ema-start", type=int, default=defaults.ema_start, help="step at which averaging begins (default %(default)s)"
    )
    optimisation.add_argument("--ema-every", type=int, default=defaults.ema_every, help="steps between its updates (default %(default)s)")
    optimisation.add_argument(
        "--ema-sigmas",
        type=float,
        nargs="+",
        default=defaults.ema_sigmas,
        help="keep power-function averages of these relative lengths, such as 0.05 0.1",
    )


def run(args: argparse.Namespace) -> int:
    limits = Limits(args.max_hours, args.max_epochs, args.max_disk_gb, args.keep)
    options = SessionOptions(
        args.out, args.resume, limits, args.log_every, args.sample_every, args.snapshot_every, next_command(), args.copy_to
    )
    base = settings(args)  # refuses wrong values before minutes of decoding
    check_folder(options)
    device, rank, world = join_processes(choose_device(args.device))
    check_device(device)
    asked = "fp32" if args.precision == "auto" else args.precision
    execution = Execution(device, asked, args.accumulate, args.checkpoint_blocks, args.compile, rank, world)
    if args.form:
        data = load_pairs(args.data_path, args.img_size, args.target_path, skip_broken=args.skip_broken)
    else:
        data = load_images(args.data_path, args.img_size, skip_broken=args.skip_broken)
    config = replace(base, network=network_for(args, data))
    start = None
    if args.start_from:
        model = model_to_start_from(args.start_from, config)
        config, start = replace(config, start=weights_digest(model.network)), model.network.state_dict()
    check_data(config, data)
    precision, why = choose_precision(args.precision, execution, options, lambda scratch: Trainer(config, data, scratch))
    execution = replace(execution, precision=precision)
    if execution.is_first:
        labels = f"{len(data.classes)} classes" if config.network.classes else "labels ignored" if data.classes else "no labels"
        kind = "pairs" if config.form else "images"
        print(f"data: {len(data):,} {kind} of {data.size} px, {data.channels} channels, {labels}, {'' if config.flip else 'not '}mirrored")
        print(
            f"device: {describe_device(device)}" + (f", one of {world} processes" if world > 1 else "") + f"; precision {precision} ({why})"
        )
        print(parameter_table(UNet(config.network), 1))
    status = train(config, data, options, execution, start)
    leave_processes()
    return 1 if status["status"] == "failed" else 0


def model_to_start_from(name: str, config: TrainConfig) -> Model:
    """The model of this file or shipped under this name; InputError where its network or form differ from the run's."""
    model = load_model(find_weights(name, "retoucher" if config.form else "generator"))
    theirs = replace(model.config.network, image_size=config.network.image_size, attention=config.network.attention)
    for what, mine, other in (("network", config.network, theirs), ("form", config.form, model.config.form)):
        if mine != other:
            raise InputError(f"--start-from {name}: its {what} is {other}, this run's is {mine}; use the flags that it was trained with")
    return model


def next_command() -> str:
    """This command again, with --resume: what status.json tells to run next."""
    words, resume = list(sys.argv[1:]), "--resume"
    if resume in words:
        at = words.index(resume)
        has_value = at + 1 < len(words) and not words[at + 1].startswith("--")
        del words[at : at + 1 + has_value]
    world = os.environ.get("WORLD_SIZE")
    return shlex.join([*(["torchrun", "--nproc-per-node", world] if world else ["python"]), "-m", "ddpm_utils", *words, resume])


def choose_precision(asked: str, execution: Execution, options: SessionOptions, trainer: Callable[[Execution], Trainer]) -> tuple[str, str]:
    """(precision, why): as asked, or with "auto" that of the state to be resumed, that of the GPU, or what this CPU is measured to gain from.

    trainer: makes a scratch trainer of the run, to be timed.
    """
    if asked != "auto":
        return asked, "as asked"
    if options.resume:
        path = options.resume if isinstance(options.resume, Path) else next(iter(list_states(options.out)[-1:]), None)
        before = read_state(path)["execution"] if path else None
        if before and before["device"] == execution.kind:
            return before["precision"], "as the state was trained"
    if execution.kind != "cpu" or execution.world > 1:
        return precision_of(execution.device)

    def time_step(precision: str) -> None:
        scratch[precision].train_step()

    scratch = {p: trainer(replace(execution, precision=p)) for p in ("fp32", "bf16")}
    gains, why = cpu_gains_from_bf16(time_step)
    return "bf16" if gains else "fp32", why


def network_for(args: argparse.Namespace, data: ImageSet) -> UNetConfig:
    """The network that these arguments and images ask for."""
    multipliers = tuple(args.multipliers or default_multipliers(data.size // args.patch))
    resolutions = [data.size // args.patch >> level for level in range(len(multipliers))]
    usual = () if args.form else (16 if 16 in resolutions else resolutions[-1],)  # retouched pictures have any size: no attention
    attention = usual if args.attention is None else tuple(args.attention)
    return UNetConfig(
        image_size=data.size,
        channels=data.channels,
        width=args.width,
        multipliers=multipliers,
        blocks=args.blocks,
        attention=attention,
        groups=min(32, args.width & -args.width),  # the largest power of two that divides every width
        dropout=args.dropout,
        classes=len(data.classes) if data.classes and not args.unconditional else None,
        patch=args.patch,
        middle_attention=not args.form,
        condition_channels=data.channels if args.form else 0,
        extra_channels=1 if args.form else 0,
    )


def settings(args: argparse.Namespace) -> TrainConfig:
    """The run that these arguments describe, but for the network, which depends on the images."""
    network = UNetConfig(condition_channels=3, extra_channels=1) if args.form else UNetConfig()
    return TrainConfig(network=network, **same_named(args))


def same_named(args: argparse.Namespace) -> dict:
    """The arguments that TrainConfig has under the same names; mirroring, if nobody asked, is for all images but embedded ones."""
    named = {f.name: getattr(args, f.name) for f in fields(TrainConfig) if hasattr(args, f.name)}
    named["flip"] = args.data_path.partition(":")[0] not in EMBEDDED if args.flip is None else args.flip
    return named


def default_multipliers(size: int) -> tuple[int, ...]:
    """1 2 2 2, or fewer levels where the size can't be halved three times."""
    halvings = 0
    while halvings < 3 and size % 2 ** (halvings + 1) == 0:
        halvings += 1
    return (1, 2, 2, 2)[: halvings + 1]
