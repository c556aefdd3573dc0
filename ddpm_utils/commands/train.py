"""Train a diffusion model on a folder of images, an embedded set, or a Kaggle data set.

Labels are used if the images lie in one folder a class. Everything goes into the folder --out: log.jsonl, state-*.pt (to resume),
model.safetensors (to sample from), loss.png, samples/, and status.json, which says how the session ended and what to run next.
"""

import argparse
from dataclasses import fields, replace

from ddpm_utils.choices import FORMS
from ddpm_utils.commands import arguments
from ddpm_utils.config import OLD_FORMS, Generation, Restoration, TrainConfig
from ddpm_utils.data.reading import Reading
from ddpm_utils.errors import InputError
from ddpm_utils.unet_config import UNetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run")
    arguments.add_data(run, f"{arguments.SOURCES}; with --form: a folder of pairs, or wrinkles")
    run.add_argument(
        "--start-from", metavar="MODEL", help="begin with a model's weights instead of random ones: a file, or the name of a shipped model"
    )
    arguments.add_session(parser)

    images = parser.add_argument_group("images")
    arguments.add_image_size(images)
    arguments.add_fields(images, TrainConfig, "flip", "mean", "std")
    images.add_argument("--unconditional", action="store_true", help="ignore class folders")
    arguments.add_reading(images)

    process = parser.add_argument_group("diffusion")
    names = ("timesteps", "schedule", "zero_terminal_snr", "prediction", "loss", "weighting", "label_dropout")
    arguments.add_fields(process, Generation, *names)

    pairs = parser.add_argument_group("pairs of images, to retouch instead of to generate")
    pairs.add_argument("--form", type=form_named, choices=FORMS, help="how the network retouches (default: it generates images from noise)")
    arguments.add_target_path(pairs)
    arguments.add_fields(pairs, Restoration, "kappa", "first_step_share", "mask_weight")

    network = parser.add_argument_group("network")
    arguments.add_multipliers(network)
    network.add_argument("--attention", type=int, nargs="*", help="resolutions with self-attention (default 16, or else the coarsest)")
    arguments.add_fields(network, UNetConfig, "width", "blocks", "patch", "dropout")
    arguments.add_optimisation(parser)


def form_named(name: str) -> str:
    """The form of this name, or of an old one."""
    return OLD_FORMS.get(name, name)


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.data.pair_folders import load_pairs
    from ddpm_utils.data.sources import load_images
    from ddpm_utils.models import weights_digest
    from ddpm_utils.training.launch import join, launch
    from ddpm_utils.training.session import check_folder
    from ddpm_utils.training.tasks.generation import GenerationTask
    from ddpm_utils.training.tasks.restoration import RestorationTask

    kind = RestorationTask if args.form else GenerationTask
    options, compute = arguments.session_of(args)
    config = settings(args)  # refuses wrong values before minutes of decoding
    check_folder(options, kind.result)
    execution = join(compute)
    if args.form:
        data = load_pairs(args.data_path, args.img_size, args.target_path, skip_broken=args.skip_broken)
    else:
        data = load_images(args.data_path, args.img_size, skip_broken=args.skip_broken, reading=arguments.reading_of(args))
    config, start = replace(config, network=network_for(args, data)), None
    if args.start_from:
        model = model_to_start_from(args.start_from, config)
        config, start = replace(config, start=weights_digest(model.network)), model.network.state_dict()
    labels = f"{len(data.classes)} classes" if config.network.classes else "labels ignored" if data.classes else "no labels"
    said = f"data: {len(data):,} {'pairs' if args.form else 'images'} of {data.size} px, {data.channels} channels, {labels}, "
    said += "mirrored" if config.flip else "not mirrored"
    if data.classes:
        said += f"\n{data.classes_in_words()}"
    return launch(lambda: kind(config), data, options, compute, execution, said=said, start=start)


def settings(args: argparse.Namespace) -> TrainConfig:
    """The run that these arguments describe, but for the network, which depends on the images."""
    common = {**arguments.given(args, TrainConfig), "flip": arguments.flip_of(args)}
    if not args.form:
        arguments.refuse(args, Restoration, only_of(Restoration, Generation), "belongs to training on pairs, with --form")
        if args.target_path:
            raise InputError("--target-path belongs to training on pairs, with --form; leave it out")
        return TrainConfig(task=Generation(**arguments.given(args, Generation)), **common)
    arguments.refuse(args, Generation, only_of(Generation, Restoration), "belongs to training that generates images, without --form")
    if args.unconditional:
        raise InputError("--unconditional belongs to training that generates images, without --form; leave it out")
    arguments.refuse(args, Reading, {"fit", "crop", "labels"}, "belongs to training that generates images, without --form")
    network = UNetConfig(condition_channels=3, extra_channels=1)
    return TrainConfig(network=network, task=Restoration(**arguments.given(args, Restoration)), **common)


def only_of(cls: type, other: type) -> set[str]:
    """The fields of `cls` that `other` hasn't got."""
    return {field.name for field in fields(cls)} - {field.name for field in fields(other)}


def network_for(args: argparse.Namespace, data) -> UNetConfig:
    """The network that these arguments and images ask for."""
    chosen = arguments.given(args, UNetConfig)
    patch = chosen.get("patch", 1)
    multipliers = chosen.pop("multipliers", None) or arguments.default_multipliers(data.size // patch)
    resolutions = [data.size // patch >> level for level in range(len(multipliers))]
    usual = () if args.form else (16 if 16 in resolutions else resolutions[-1],)  # retouched images have any size: no attention
    return UNetConfig(
        **{"attention": usual, **chosen},
        image_size=data.size,
        channels=data.channels,
        multipliers=multipliers,
        groups=arguments.groups_of(chosen.get("width", UNetConfig.width)),
        classes=len(data.classes) if data.classes and not args.unconditional else None,
        middle_attention=not args.form,
        condition_channels=data.channels if args.form else 0,
        extra_channels=1 if args.form else 0,
    )


def model_to_start_from(name: str, config: TrainConfig):
    """The Model of this file or shipped under this name; InputError where its network or task differ from the run's."""
    from ddpm_utils.models import find_weights, load_model

    model = load_model(find_weights(name, "retoucher" if config.retouches else "generator"))
    theirs = replace(model.config.network, image_size=config.network.image_size, attention=config.network.attention)
    kinds = (task_in_words(config), task_in_words(model.config))
    for what, mine, other in (("network", config.network, theirs), ("task", *kinds)):
        if mine != other:
            raise InputError(f"--start-from {name}: its {what} is {other}, this run's is {mine}; use the flags that it was trained with")
    return model


def task_in_words(config: TrainConfig) -> str:
    """What a run trains, and in which form."""
    return f"{config.task.kind} by {config.task.form}" if config.retouches else config.task.kind
