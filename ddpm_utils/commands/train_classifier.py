"""Train a classifier of noisy images, for classifier guidance and for the features of metrics.

Needs images with labels: one folder a class, or an embedded set. Everything goes into the folder --out: log.jsonl, state-*.pt (to resume),
classifier.safetensors, loss.png and status.json. For guidance, timesteps, schedule, size, mean and std must be the model's.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ddpm_utils.commands import arguments
from ddpm_utils.config import Classification, TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.unet_config import UNetConfig

RUN = {
    "epochs": 30,
    "batch_size": 128,
    "lr": 2e-3,
    "warmup": 50,
    "lr_decay": "cosine",
    "ema_decay": 0.0,
}  # the last weights: the rate falls to 0
SESSION = {"out": Path("out/classifier"), "sample_every": 0}
NETWORK = {"width": 16, "blocks": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_data(parser)
    arguments.add_session(parser, **SESSION)

    images = parser.add_argument_group("images and noise, as the model has them that is to be guided")
    arguments.add_image_size(images)
    arguments.add_fields(images, TrainConfig, "flip", "mean", "std")
    arguments.add_reading(images)
    arguments.add_fields(images, Classification, "hold_out", "timesteps", "schedule", "zero_terminal_snr")

    network = parser.add_argument_group("network")
    arguments.add_multipliers(network)
    arguments.add_fields(network, UNetConfig, "width", "blocks", **NETWORK)
    arguments.add_optimisation(parser, **RUN)


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.data.sources import load_images
    from ddpm_utils.training.launch import join, launch
    from ddpm_utils.training.run_folder import check_folder
    from ddpm_utils.training.tasks.classification import ClassificationTask, hold_out

    options, compute = arguments.session_of(args, **SESSION)
    config = settings(args)  # refuses wrong values before minutes of decoding
    check_folder(options, ClassificationTask.result)
    execution = join(compute)
    data = load_images(args.data_path, args.img_size, skip_broken=args.skip_broken, reading=arguments.reading_of(args))
    if len(data.classes) < 2:
        raise InputError(f"a classifier needs images with labels, one folder a class; {args.data_path!r} has none")
    learn, test = hold_out(data, config.task.hold_out, config.seed)
    config = replace(config, network=network_for(args, data))
    said = f"data: {len(learn):,} images to train on, {len(test):,} held out, {len(data.classes)} classes\n{data.classes_in_words()}"
    return launch(lambda: ClassificationTask(config, test), learn, options, compute, execution, said=said)


def settings(args: argparse.Namespace) -> TrainConfig:
    """The run that these arguments describe, but for the network, which depends on the images."""
    run = {**arguments.given(args, TrainConfig, **RUN), "flip": arguments.flip_of(args)}
    return TrainConfig(network=UNetConfig(classes=2), task=Classification(**arguments.given(args, Classification)), **run)


def network_for(args: argparse.Namespace, data) -> UNetConfig:
    """The network that these arguments and images ask for; no attention, since the mean over all pixels brings them together."""
    chosen = arguments.given(args, UNetConfig, **NETWORK)
    return UNetConfig(
        **{"multipliers": arguments.default_multipliers(data.size), **chosen},
        image_size=data.size,
        channels=data.channels,
        attention=(),
        middle_attention=False,
        groups=arguments.groups_of(chosen["width"]),
        classes=len(data.classes),
    )
