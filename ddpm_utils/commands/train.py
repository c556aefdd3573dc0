"""Train a diffusion model on a folder of images, an embedded set, or a Kaggle data set.

Labels are used if the images lie in one folder a class. Everything goes into the folder --out: log.jsonl, state-*.pt (to resume),
model.safetensors (to sample from), loss.png, samples/, and status.json, which says how the session ended and what to run next.
"""

import argparse
import shlex
from dataclasses import asdict, fields, replace
from typing import Any

from ddpm_utils.choices import FORMS
from ddpm_utils.commands import arguments
from ddpm_utils.config import OLD_FORMS, Generation, Restoration, TrainConfig
from ddpm_utils.data.reading import Reading
from ddpm_utils.errors import InputError
from ddpm_utils.unet_config import UNetConfig

USUAL = {  # in the help: what training/preset.py takes, and runs on pairs, which have no preset
    "prediction": "x0; with --form eps",
    "batch_size": "32, or all images; with --form 64",
    "lr": "0.0012; with --form 0.0002",
    "warmup": "200, or a twentieth of a short run; with --form 500",
    "blocks": "1; with --form 2",
    "patch": "up to 4, so that 16 a side are left; with --form 1",
}
SHAPE = ("multipliers", "attention", "width", "blocks", "patch", "dropout")  # of the network, as far as flags decide it
DETAILS = (
    "head_channels",
    "groups",
    "middle_attention",
    "norm_eps",
    "asymmetric_padding",
    "cosines_first",
    "frequency_shift",
)  # and no flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run")
    arguments.add_data(run, f"{arguments.SOURCES}; with --form: a folder of pairs, or wrinkles")
    run.add_argument(
        "--start-from",
        metavar="MODEL",
        help="begin with a model's weights instead of random ones: its file, the name of a shipped one, a run's folder, or a state",
    )
    arguments.add_session(parser)

    images = parser.add_argument_group("images")
    arguments.add_image_size(images)
    arguments.add_fields(images, TrainConfig, "flip", "mean", "std")
    images.add_argument("--unconditional", action="store_true", help="ignore class folders")
    arguments.add_reading(images)

    process = parser.add_argument_group("diffusion")
    names = ("timesteps", "schedule", "zero_terminal_snr", "prediction", "loss", "weighting", "label_dropout")
    arguments.add_fields(process, Generation, *names, **USUAL)

    pairs = parser.add_argument_group("pairs of images, to retouch instead of to generate")
    pairs.add_argument("--form", type=form_named, choices=FORMS, help="how the network retouches (default: it generates images from noise)")
    arguments.add_target_path(pairs)
    arguments.add_fields(pairs, Restoration, "kappa", "first_step_share", "mask_weight")

    network = parser.add_argument_group("network; what isn't said fits the images (training/preset.py)")
    arguments.add_multipliers(network, "1 2 2; with --form 1 2 2 2")
    network.add_argument(
        "--attention", type=int, nargs="*", help="resolutions with self-attention (default the first from 8 on; with --form none)"
    )
    arguments.add_fields(network, UNetConfig, "width", "blocks", "patch", "dropout", **USUAL)
    arguments.add_optimisation(parser, **USUAL)


def form_named(name: str) -> str:
    """The form of this name, or of an old one."""
    return OLD_FORMS.get(name, name)


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.data.pair_folders import load_pairs
    from ddpm_utils.data.sources import load_images
    from ddpm_utils.models import weights_digest
    from ddpm_utils.training.launch import join, launch, state_to_resume
    from ddpm_utils.training.run_folder import check_folder
    from ddpm_utils.training.starts import model_to_start_from
    from ddpm_utils.training.tasks.generation import GenerationTask
    from ddpm_utils.training.tasks.restoration import RestorationTask

    kind = RestorationTask if args.form else GenerationTask
    options, compute = arguments.session_of(args)
    settings(args, usual_settings(args, size=64, images=10**6))  # refuses wrong values before minutes of decoding
    check_folder(options, kind.result)
    execution = join(compute)
    resumed = state_to_resume(options)
    before = TrainConfig.from_json(resumed["config"]) if resumed else None
    if args.form:
        data = load_pairs(args.data_path, args.img_size, args.target_path, skip_broken=args.skip_broken)
    else:
        reading = arguments.reading_of(args, **({"fit": before.fit} if before else {}))
        data = load_images(args.data_path, args.img_size, skip_broken=args.skip_broken, reading=reading)
    model = model_to_start_from(args.start_from, "retoucher" if args.form else "generator") if args.start_from else None
    usual, whose = usual_settings(args, data.size, len(data)), "training/preset.py"
    if model and is_of_form(model.config, args.form):
        usual, whose = usual | of_network(model.config), f"{whose}, {args.start_from}"
    if before and is_of_form(before, args.form):  # else the state refuses to be gone on with
        usual, whose = of_run(before), "the run to be resumed"
    config, start = replace(settings(args, usual), network=network_for(args, data, usual)), None
    if model:
        check_start(args.start_from, model.config, config)
        config, start = replace(config, start=weights_digest(model.network)), model.network.state_dict()
    labels = f"{len(data.classes)} classes" if config.network.classes else "labels ignored" if data.classes else "no labels"
    said = f"data: {len(data):,} {'pairs' if args.form else 'images'} of {data.size} px, {data.channels} channels, {labels}, "
    said += "mirrored" if config.flip else "not mirrored"
    if data.classes:
        said += f"\n{data.classes_in_words()}"
    if taken := in_words(args, usual):
        said += f"\nwhere nothing is said: {taken} ({whose})"
    return launch(lambda: kind(config), data, options, compute, execution, said=said, start=start, resumed=resumed)


def usual_settings(args: argparse.Namespace, size: int, images: int) -> dict[str, Any]:
    """What is taken where nothing is said, for so many images of `size` pixels."""
    from ddpm_utils.training.preset import preset

    if args.form:
        return {}
    return preset(size, images, epochs=args.epochs, batch_size=args.batch_size, patch=args.patch)


def is_of_form(run: TrainConfig, form: str | None) -> bool:
    """Whether a run is on pairs in this form, or on single images for None."""
    return getattr(run.task, "form", None) == form


def of_run(run: TrainConfig) -> dict[str, Any]:
    """The settings of a run that goes on, by the names of their flags."""
    own = {field.name for field in fields(TrainConfig)} - {"network", "task", "start"}
    return {name: getattr(run, name) for name in own} | of_network(run)


def of_network(run: TrainConfig) -> dict[str, Any]:
    """The settings that a network is used with, and its shape, by the names of their flags."""
    return asdict(run.task) | {name: getattr(run.network, name) for name in SHAPE + DETAILS}


def in_words(args: argparse.Namespace, usual: dict[str, Any]) -> str:
    """The flags that would say what is taken without them."""
    classes = (TrainConfig, Restoration if args.form else Generation, UNetConfig)
    known = {field.name: field for cls in classes for field in fields(cls)}
    taken = {name: value for name, value in usual.items() if getattr(args, name, 0) is None and value != known[name].default}
    return shlex.join(word for name, value in taken.items() for word in arguments.words_of(known[name], value))


def settings(args: argparse.Namespace, usual: dict[str, Any]) -> TrainConfig:
    """The run that these arguments describe, but for the network, which depends on the images. usual: what is taken where nothing is said."""
    common = {**arguments.given(args, TrainConfig, **usual), "flip": arguments.flip_of(args, usual.get("flip"))}
    if not args.form:
        arguments.refuse(args, Restoration, only_of(Restoration, Generation), "belongs to training on pairs, with --form")
        if args.target_path:
            raise InputError("--target-path belongs to training on pairs, with --form; leave it out")
        return TrainConfig(task=Generation(**arguments.given(args, Generation, **usual)), **common)
    arguments.refuse(args, Generation, only_of(Generation, Restoration), "belongs to training that generates images, without --form")
    if args.unconditional:
        raise InputError("--unconditional belongs to training that generates images, without --form; leave it out")
    arguments.refuse(args, Reading, {"fit", "crop", "labels"}, "belongs to training that generates images, without --form")
    network = UNetConfig(condition_channels=3, extra_channels=1)
    return TrainConfig(network=network, task=Restoration(**arguments.given(args, Restoration, **usual)), **common)


def only_of(cls: type, other: type) -> set[str]:
    """The fields of `cls` that `other` hasn't got."""
    return {field.name for field in fields(cls)} - {field.name for field in fields(other)}


def network_for(args: argparse.Namespace, data, usual: dict[str, Any]) -> UNetConfig:
    """The network that these arguments and images ask for."""
    chosen = arguments.given(args, UNetConfig, **usual)
    patch = max(1, chosen.get("patch", 1))  # UNetConfig refuses smaller ones
    multipliers = chosen.pop("multipliers", None) or arguments.default_multipliers(data.size // patch)
    resolutions = [data.size // patch >> level for level in range(len(multipliers))]
    if args.attention is None and not set(chosen.get("attention", (0,))) <= set(resolutions):
        chosen["attention"] = () if args.form else (16 if 16 in resolutions else resolutions[-1],)  # retouched images have any size: none
    if args.width is not None:
        chosen.pop("groups", None)  # they belong to the other width
    details = {"groups": arguments.groups_of(chosen.get("width", UNetConfig.width)), "middle_attention": not args.form}
    return UNetConfig(
        **{**details, **chosen},
        image_size=data.size,
        channels=data.channels,
        multipliers=multipliers,
        classes=len(data.classes) if data.classes and not args.unconditional else None,
        condition_channels=data.channels if args.form else 0,
        extra_channels=1 if args.form else 0,
    )


def check_start(name: str, start: TrainConfig, config: TrainConfig) -> None:
    """InputError where the network or the task of a model to start from differ from the run's."""
    theirs = replace(start.network, image_size=config.network.image_size, attention=config.network.attention)
    unlike = [one.name for one in fields(UNetConfig) if getattr(theirs, one.name) != getattr(config.network, one.name)]
    networks = ("of " + ", ".join(f"{field}={getattr(network, field)}" for field in unlike) for network in (config.network, theirs))
    for what, mine, other in (("network", *networks), ("task", task_in_words(config), task_in_words(start))):
        if mine != other:
            raise InputError(f"--start-from {name}: its {what} is {other}, this run's is {mine}; use the flags that it was trained with")


def task_in_words(config: TrainConfig) -> str:
    """What a run trains, and in which form."""
    return f"{config.task.kind} by {config.task.form}" if config.retouches else config.task.kind
