"""Draw images from a trained model.

Models with labels draw each class equally often, a row or more a class, unless --label asks for one. --guidance S pulls images towards their
label: 0 ignores it, 1 takes the model as it is, above 1 exaggerates. It does so by the model itself, or by --classifier, which any
model can be guided by that was trained with the same noise; with --bad-model it leads away from the mistakes of a worse model.
"""

import argparse
import math
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from ddpm_utils.classifier import load_classifier
from ddpm_utils.data import to_uint8
from ddpm_utils.errors import InputError
from ddpm_utils.execution import choose_device, describe_device
from ddpm_utils.figures import denoising_frames, reverse_filmstrip, sample_grid, save_gif
from ddpm_utils.generate import SAMPLERS, Guidance, generate, labels_in_rows, start_noise
from ddpm_utils.models import Model, load_model
from ddpm_utils.sampling import Step

PICTURES = (".png", ".jpg", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model.safetensors that `train` wrote")
    parser.add_argument("--n", type=int, default=64, help="images (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("samples.png"), help="picture of all images (default %(default)s)")
    parser.add_argument("--images", type=Path, help="folder for each image as a PNG of its own")
    parser.add_argument("--film", type=Path, help="picture of the first image at ten moments from noise to result")
    parser.add_argument("--gif", type=Path, help="animation of the first --batch-size images from noise to result")
    parser.add_argument("--sampler", choices=SAMPLERS, default="ddim", help="(default %(default)s)")
    parser.add_argument("--steps", type=int, help="calls of the network (default 50, or all timesteps of a model with fewer)")
    guidance = parser.add_argument_group("guidance")
    guidance.add_argument("--guidance", type=float, default=1.0, help="its scale, 1: none, or the classifier's (default %(default)s)")
    guidance.add_argument(
        "--guidance-interval", type=int, nargs=2, metavar=("LOW", "HIGH"), help="timesteps that are guided, both included (default: all)"
    )
    guidance.add_argument(
        "--guidance-rescale", type=float, default=0.0, help="share of the added contrast to take back, such as 0.7 (default %(default)s)"
    )
    guidance.add_argument("--classifier", type=Path, help="a classifier.safetensors of `train-classifier` that guides instead of the model")
    guidance.add_argument("--bad-model", type=Path, help="a worse model of the same images to lead away from, such as an early snapshot")
    parser.add_argument("--label", help="name or number of the only class to draw")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same images (default %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=256, help="images at a time; changes what --sampler ddpm draws (default %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    if args.n < 1 or args.batch_size < 1:
        raise InputError(f"--n and --batch-size must be at least 1, got {args.n} and {args.batch_size}")
    device = choose_device(args.device)
    print(f"device: {describe_device(device)}")
    model = load_model(args.model, device)
    guidance = chosen_guidance(args, device)
    guidance.check(model.config)
    of_labels = model if model.config.network.classes or not guidance.classifier else guidance.classifier
    label = chosen_labels(args.label, args.n, of_labels.classes, of_labels.config.network.classes)
    x_T = start_noise(model.config, args.n, args.seed)
    check_outputs(args.out, args.film, args.gif, args.images)
    results, film = draw(model, x_T, label, guidance, args)
    images = to_uint8(results, model.config.mean, model.config.std)
    columns, names = layout(args.n, label, of_labels.classes)

    for path in filter(None, (args.out, args.film, args.gif)):
        path.parent.mkdir(parents=True, exist_ok=True)
    sample_grid(images, columns, names).savefig(args.out)
    if args.film:
        reverse_filmstrip(x_T[: args.batch_size], film).savefig(args.film)
    if args.gif:
        scale = max(1, 480 // (columns * model.config.network.image_size))
        save_gif(denoising_frames(x_T[: args.batch_size], film, columns, scale), args.gif)
    if args.images:
        args.images.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(args.images / f"{i:05d}.png")
    print("wrote " + ", ".join(str(path) for path in (args.out, args.film, args.gif, args.images) if path))


def chosen_guidance(args: argparse.Namespace, device: torch.device) -> Guidance:
    """What the flags ask for, with its files read."""
    bad = load_model(args.bad_model, device) if args.bad_model else None
    classifier = load_classifier(args.classifier, device) if args.classifier else None
    interval = tuple(args.guidance_interval) if args.guidance_interval else None
    return Guidance(args.guidance, interval, args.guidance_rescale, bad, classifier)


def draw(
    model: Model, x_T: torch.Tensor, label: torch.Tensor | None, guidance: Guidance, args: argparse.Namespace
) -> tuple[torch.Tensor, list[Step]]:
    """All images (n, C, H, W), a batch at a time; and every step of the first batch, if a film or an animation wants it."""
    count = min(50, model.config.timesteps) if args.steps is None else args.steps
    results, film = [], []
    for start in range(0, args.n, args.batch_size):
        part = slice(start, start + args.batch_size)
        of_part = None if label is None else label[part]
        steps = generate(model.network, model.config, x_T[part], of_part, args.sampler, count, guidance, (args.seed, start))
        name = f"images {start + 1} to {min(start + args.batch_size, args.n)}"
        for step in tqdm(steps, total=count, desc=name, unit="step", leave=False, disable=None):
            if start == 0 and (args.film or args.gif):
                film.append(Step(step.t, step.x.cpu(), step.x0_hat.cpu()))
        results.append(step.x.cpu())
    return torch.cat(results), film


def check_outputs(out: Path, film: Path | None, gif: Path | None, images: Path | None) -> None:
    """Refuse names that can't be written before the time for sampling is spent."""
    for flag, path, endings in (("--out", out, PICTURES), ("--film", film, PICTURES), ("--gif", gif, (".gif",))):
        if path and (path.suffix.lower() not in endings or path.is_dir()):
            raise InputError(f"{flag} must name a file that ends in {' or '.join(endings)}, got {str(path)!r}")
    folders = [path.parent for path in (out, film, gif) if path] + ([images] if images else [])
    for folder in folders:
        if blocking := next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), None):
            raise InputError(f"there can be no folder {str(folder)!r}, because {str(blocking)!r} is a file; choose another name")


def chosen_labels(wanted: str | None, n: int, classes: tuple[str, ...], count: int | None) -> torch.Tensor | None:
    """Labels (n,) for the images: all of the class `wanted` (a name or number), or all classes in turn; None without labels."""
    if count is None:
        if wanted is not None:
            raise InputError(f"this model was trained without labels; leave --label {wanted} out")
        return None
    if wanted is None:
        return labels_in_rows(n, count)
    if wanted in classes:
        return torch.full((n,), classes.index(wanted))
    if wanted.isdecimal() and int(wanted) < count:
        return torch.full((n,), int(wanted))
    raise InputError(f"--label must be a number from 0 to {count - 1} or one of {', '.join(classes[:20])}, got {wanted!r}")


def layout(n: int, label: torch.Tensor | None, classes: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Columns of the grid and the names of its rows: a row a class where that comes out even, else a square."""
    if label is not None and len(label.unique()) == len(classes) and n % len(classes) == 0:
        return n // len(classes), classes
    return math.ceil(math.sqrt(n)), ()
