"""Draw images from a trained model.

Models with labels draw each class equally often, a row or more a class, unless --label asks for one. --guidance S pulls images towards their
label: 0 ignores it, 1 takes the model as it is, above 1 exaggerates. It does so by the model itself, or by --classifier, which any
model can be guided by that was trained with the same noise; with --bad-model it leads away from the mistakes of a worse model.
--control makes all images follow a hint, such as edges; several controls add up.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

from ddpm_utils.choices import SAMPLERS
from ddpm_utils.commands import arguments, sample_edits
from ddpm_utils.errors import InputError, printable
from ddpm_utils.runtime.files import atomic_path, check_apart, check_folder_can_be, check_writable

FIGURES = (".png", ".jpg", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a model.safetensors that `train` wrote, the folder of its run, or the name of a shipped model")
    parser.add_argument("--n", type=int, default=64, help="images (default %(default)s)")
    parser.add_argument("--out", type=arguments.user_path, default=Path("samples.png"), help="figure of all images (default %(default)s)")
    parser.add_argument("--images", type=arguments.user_path, help="folder for each image as a PNG of its own")
    parser.add_argument("--film", type=arguments.user_path, help="figure of the first image at ten moments from noise to result")
    parser.add_argument("--gif", type=arguments.user_path, help="animation of the first --batch-size images from noise to result")
    parser.add_argument("--sampler", choices=SAMPLERS, help="(default ddim); heun asks the network twice a step")
    parser.add_argument("--steps", type=int, help="sampling steps (default 50, or all timesteps of a model with fewer)")
    guidance = parser.add_argument_group("guidance")
    guidance.add_argument("--guidance", type=float, default=1.0, help="its scale, 1: none, or the classifier's (default %(default)s)")
    guidance.add_argument(
        "--guidance-interval", type=int, nargs=2, metavar=("LOW", "HIGH"), help="timesteps that are guided, both included (default: all)"
    )
    guidance.add_argument(
        "--guidance-rescale", type=float, default=0.0, help="share of the added contrast to take back, such as 0.7 (default %(default)s)"
    )
    guidance.add_argument(
        "--classifier", help="a classifier.safetensors of `train-classifier`, or a shipped one's name, that guides instead of the model"
    )
    guidance.add_argument(
        "--bad-model", help="a worse model of the same images to lead away from, such as an early snapshot, or a shipped one's name"
    )
    add_control_arguments(parser)
    sample_edits.add_arguments(parser)
    parser.add_argument("--label", help="name or number of the only class to draw")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same images (default %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=256, help="images at a time; changes what --sampler ddpm draws (default %(default)s)"
    )
    arguments.add_device(parser)


def add_control_arguments(parser: argparse.ArgumentParser) -> None:
    control = parser.add_argument_group("controls; the other flags belong to the --control before them")

    def add(flag: str, **settings) -> None:
        control.add_argument(flag, dest="controls", action=InOrder, default=(), **settings)

    add("--control", metavar="CONTROL", help="a control.safetensors of `train-control` with this model, or the name of a shipped control")
    add(
        "--hint-from",
        metavar="IMAGE",
        type=arguments.user_path,
        help="draw its hint from this image, of any size: canny, lines, scribble",
    )
    add(
        "--hint-image",
        metavar="IMAGE",
        type=arguments.user_path,
        help="this image is its hint: a scribble of any size, others of the model's size",
    )
    add("--strength", metavar="S", type=float, help="0: as without it, 1: as trained (default 1)")


class InOrder(argparse.Action):
    """Collects (flag, value) of several flags in the order in which they were typed."""

    def __call__(self, parser, namespace, value, option_string=None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), (self.option_strings[0], value)))


def run(args: argparse.Namespace) -> None:
    if args.n < 1 or args.batch_size < 1:
        raise InputError(f"--n and --batch-size must be at least 1, got {args.n} and {args.batch_size}")
    if args.guidance < 0:
        raise InputError(f"--guidance must be at least 0, which ignores the label, 1 to 5 is usual; got {args.guidance:g}")
    check_outputs(args.out, args.film, args.gif, args.images)
    asked = sample_edits.edit_of(args)
    from PIL import Image

    from ddpm_utils.control.controlnet import controlled
    from ddpm_utils.figures import denoising_frames, reverse_filmstrip, sample_grid, save_gif
    from ddpm_utils.generate import start_noise
    from ddpm_utils.models import find_weights, load_model
    from ddpm_utils.runtime.device import join, leave_processes

    execution = join(args.device)
    device = execution.device
    model = load_model(find_weights(args.model, "generator"), device)
    if controls := chosen_controls(args.controls, device, model.config.fit):
        model = replace(model, network=controlled(model.network, controls))
    guidance = chosen_guidance(args, device)
    guidance.check(model.config)
    of_labels = model if model.config.network.classes or not guidance.classifier else guidance.classifier
    label = chosen_labels(args.label, args.n, of_labels.classes, of_labels.config.network.classes)
    edit = sample_edits.Edit(asked, args, model.config) if asked else None
    x_T = start_noise(model.config, args.n, args.seed)
    for path in filter(None, (args.out, args.film, args.gif, args.images and args.images / "00000.png")):
        if execution.is_first:
            check_writable(path)  # before the time for sampling is spent
    images, film = draw(model, x_T, label, guidance, args, execution, edit)
    leave_processes()
    if not execution.is_first:
        return
    columns, names = layout(args.n, label, of_labels.classes)

    with atomic_path(args.out) as path:
        sample_grid(images, columns, names).savefig(path)
    if args.film:
        with atomic_path(args.film) as path:
            reverse_filmstrip(x_T[: args.batch_size], film).savefig(path)
    if args.gif:
        scale = max(1, 480 // (columns * model.config.network.image_size))
        with atomic_path(args.gif) as path:
            save_gif(denoising_frames(x_T[: args.batch_size], film, columns, scale), path)
    for i, image in enumerate(images if args.images else ()):
        with atomic_path(args.images / f"{i:05d}.png") as path:
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
    print(printable("wrote " + ", ".join(str(path) for path in (args.out, args.film, args.gif, args.images) if path)))


def chosen_guidance(args: argparse.Namespace, device: str):
    """The Guidance that the flags ask for, with its files read."""
    from ddpm_utils.classifier import load_classifier
    from ddpm_utils.generate import Guidance
    from ddpm_utils.models import find_weights, load_model

    bad = load_model(find_weights(args.bad_model, "generator"), device) if args.bad_model else None
    classifier = load_classifier(find_weights(args.classifier, "classifier"), device) if args.classifier else None
    interval = tuple(args.guidance_interval) if args.guidance_interval else None
    return Guidance(args.guidance, interval, args.guidance_rescale, bad, classifier)


def chosen_controls(flags: tuple[tuple[str, str | Path | float], ...], device: str, fit: str) -> list[tuple]:
    """The controls that the flags ask for, in their order, with files read: (ControlNet, hint (1, c, H, W), strength).

    fit: how the base's images became square.
    """
    asked: list[dict[str, str | Path | float]] = []
    for flag, value in flags:
        if flag == "--control":
            asked.append({flag: value})
        elif not asked:
            raise InputError(f"{flag} {value} belongs to a control; put it behind a --control")
        elif flag in asked[-1]:
            raise InputError(f"the control {asked[-1]['--control']!r} has {flag} twice; leave one out")
        else:
            asked[-1][flag] = value
    return [_control(device, fit, **{flag.strip("-").replace("-", "_"): value for flag, value in one.items()}) for one in asked]


def _control(device: str, fit: str, control: str, hint_from: Path | None = None, hint_image: Path | None = None, strength: float = 1.0):
    if (hint_from is None) == (hint_image is None):
        found = "none" if hint_from is None else "both"
        raise InputError(f"the control {control!r} needs either --hint-from or --hint-image, it has {found}")
    from ddpm_utils.control.controlnet import load_control
    from ddpm_utils.control.hint_files import hint_drawn_from, hint_from_image
    from ddpm_utils.models import find_weights

    network = load_control(find_weights(control, "control"), device)
    hint = hint_drawn_from(network, hint_from, fit) if hint_from else hint_from_image(network, hint_image)
    return network, hint.to(device), strength


def draw(model, x_T, label, guidance, args: argparse.Namespace, execution, edit: sample_edits.Edit | None = None) -> tuple:
    """All images, uint8 (n, H, W, C), batch by batch, which several processes share; and every Step of the first, if a film or a GIF wants it."""
    from tqdm import tqdm

    from ddpm_utils.data.images import to_uint8
    from ddpm_utils.generate import generate
    from ddpm_utils.sampling import Step

    count, sampler = min(50, model.config.timesteps) if args.steps is None else args.steps, args.sampler or "ddim"
    x_T = edit.start(model, x_T, label, count) if edit else x_T
    film = []

    def batch(part: slice):
        of_part, seed = None if label is None else label[part], (args.seed, part.start)
        if edit:
            steps = edit.steps(model, x_T[part], of_part, guidance, sampler, count, seed)
        else:
            steps = generate(model.network, model.config, x_T[part], of_part, sampler, count, guidance, seed)
        bar.set_description(f"images {part.start + 1} to {part.stop}")
        for step in steps:
            bar.update()
            if part.start == 0 and (args.film or args.gif):
                film.append(Step(step.t, step.x.cpu(), step.x0_hat.cpu()))
        return to_uint8(step.x, model.config.mean, model.config.std)

    batches = len(range(0, args.n, args.batch_size)[execution.rank :: execution.world_size])
    total = batches * (edit.total(count) if edit else count)
    with tqdm(total=total, unit="step", leave=False, disable=None if execution.is_first else True) as bar:
        return execution.shared_out(args.n, args.batch_size, batch), film


def check_outputs(out: Path, film: Path | None, gif: Path | None, images: Path | None) -> None:
    """Refuse names that no files can have, before anything is read."""
    for flag, path, endings in (("--out", out, FIGURES), ("--film", film, FIGURES), ("--gif", gif, (".gif",))):
        if path and (path.suffix.lower() not in endings or path.is_dir()):
            raise InputError(f"{flag} must name a file that ends in {' or '.join(endings)}, got {str(path)!r}")
    check_apart({"--out": out, "--film": film, "--gif": gif, "--images": images})
    folders = [path.parent for path in (out, film, gif) if path] + ([images] if images else [])
    for folder in folders:
        check_folder_can_be(folder)


def chosen_labels(wanted: str | None, n: int, classes: tuple[str, ...], count: int | None):
    """Labels (n,) for the images: all of the class `wanted` (a name or number), or all classes in turn; None without labels."""
    from ddpm_utils.generate import labels_of

    if count is None and wanted is not None:
        raise InputError(f"this model was trained without labels; leave --label {wanted} out")
    return labels_of(wanted, n, classes, count)


def layout(n: int, label, classes: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Columns of the grid and the names of its rows: a row a class where that comes out even, else a square."""
    if label is not None and len(label.unique()) == len(classes) and n % len(classes) == 0:
        return n // len(classes), classes
    return math.ceil(math.sqrt(n)), ()
