"""Train a DDPM on a folder of images, an embedded set, or a Kaggle data set.

Labels are used if the images lie in one folder a class. Everything goes into the folder --out: log.jsonl, state.pt (to resume),
model.safetensors (to sample from), loss.png and samples/.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from ddpm_utils.data import EMBEDDED, KAGGLE_HANDLES, ImageSet, load_images
from ddpm_utils.diffusion import LOSSES, PREDICTIONS, WEIGHTINGS
from ddpm_utils.schedules import SCHEDULES
from ddpm_utils.session import SessionOptions, choose_device, train
from ddpm_utils.training import DECAYS, OPTIMIZERS, TrainConfig, check_data
from ddpm_utils.unet import UNetConfig, parameter_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = TrainConfig()
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--data-path", required=True, help=f"a folder of images, kaggle:OWNER/SLUG, or {', '.join([*EMBEDDED, *KAGGLE_HANDLES])}"
    )
    run.add_argument("--out", type=Path, default=Path("out/train"), help="folder for everything that the run writes (default %(default)s)")
    run.add_argument("--resume", action="store_true", help="go on from the state in --out, bit by bit as if it had never stopped")
    run.add_argument("--epochs", type=int, default=defaults.epochs, help="passes over the data (default %(default)s)")
    run.add_argument("--batch-size", type=int, default=defaults.batch_size, help="images a step (default %(default)s)")
    run.add_argument("--seed", type=int, default=defaults.seed, help="decides weights, order, timesteps and noise (default %(default)s)")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")
    run.add_argument("--log-every", type=int, default=50, help="steps between two lines of the log (default %(default)s)")
    run.add_argument("--sample-every", type=int, default=1000, help="steps between two grids of samples, 0: none (default %(default)s)")

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


def run(args: argparse.Namespace) -> None:
    options = SessionOptions(args.out, args.resume, choose_device(args.device), args.log_every, args.sample_every)
    settings(args)  # refuses wrong ones before minutes of decoding
    data = load_images(args.data_path, args.img_size, skip_broken=args.skip_broken)
    config = config_for(args, data)
    check_data(config, data)
    labelled = f"{len(data.classes)} classes" if config.network.classes else "no labels" if not data.classes else "labels ignored"
    print(
        f"data: {len(data):,} images of {data.size} px, {data.channels} channels, {labelled}, {'mirrored' if config.flip else 'not mirrored'}"
    )
    trainer = train(config, data, options)
    print(parameter_table(trainer.network, 1))
    print(f"trained {trainer.step} steps; model: {args.out / 'model.safetensors'}")


def config_for(args: argparse.Namespace, data: ImageSet) -> TrainConfig:
    """The run that these arguments and images describe."""
    multipliers = tuple(args.multipliers or default_multipliers(data.size))
    coarsest = data.size >> len(multipliers) - 1
    resolutions = [data.size >> level for level in range(len(multipliers))]
    attention = (16 if 16 in resolutions else coarsest,) if args.attention is None else tuple(args.attention)
    network = UNetConfig(
        image_size=data.size,
        channels=data.channels,
        width=args.width,
        multipliers=multipliers,
        blocks=args.blocks,
        attention=attention,
        groups=min(32, args.width & -args.width),  # the largest power of two that divides every width
        dropout=args.dropout,
        classes=len(data.classes) if data.classes and not args.unconditional else None,
    )
    return replace(settings(args), network=network)


def settings(args: argparse.Namespace) -> TrainConfig:
    """The run that these arguments describe, but for the network, which depends on the images."""
    same_name = {f.name: getattr(args, f.name) for f in fields(TrainConfig) if hasattr(args, f.name)}
    same_name["flip"] = args.data_path not in EMBEDDED if args.flip is None else args.flip
    return TrainConfig(**same_name)


def default_multipliers(size: int) -> tuple[int, ...]:
    """1 2 2 2, or fewer levels where the size can't be halved three times."""
    halvings = 0
    while halvings < 3 and size % 2 ** (halvings + 1) == 0:
        halvings += 1
    return (1, 2, 2, 2)[: halvings + 1]
