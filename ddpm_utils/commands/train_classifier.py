"""Train a classifier of noisy images, for classifier guidance and for the features of metrics.

Needs images with labels: one folder a class, or an embedded set. Writes log.jsonl and, in the end, classifier.safetensors into the folder
--out. Digits take minutes; there is nothing to resume. For guidance, timesteps, schedule, size, mean and std must be the model's.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from ddpm_utils.classifier import save_classifier
from ddpm_utils.commands.train import default_multipliers, same_named
from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.sources import EMBEDDED, KAGGLE_HANDLES, load_images
from ddpm_utils.diffusion import by_quarter
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.device import choose_device, describe_device
from ddpm_utils.runtime.doctor import check_device
from ddpm_utils.runtime.files import file_in_the_way
from ddpm_utils.schedules import SCHEDULES
from ddpm_utils.training.tasks.classification import ClassifierStep, accuracy_by_quarter, hold_out, new_classifier, train_steps
from ddpm_utils.training.trainer import check_data
from ddpm_utils.unet import UNetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = TrainConfig()
    parser.add_argument(
        "--data-path", required=True, help=f"a folder with one folder a class, or {', '.join([*EMBEDDED, *KAGGLE_HANDLES])}"
    )
    parser.add_argument("--out", type=Path, default=Path("out/classifier"), help="folder for what it writes (default %(default)s)")
    parser.add_argument(
        "--hold-out", type=float, default=0.1, help="share of the images to test on, not to learn from (default %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=30, help="passes over the data (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a step (default %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate after the warm-up (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=50, help="steps over which it rises, to fall to 0 in the end (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides weights, order, timesteps and noise (default %(default)s)")
    parser.add_argument("--log-every", type=int, default=50, help="steps between two lines of the log (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")

    images = parser.add_argument_group("images and noise, as the model has them that is to be guided")
    images.add_argument("--img-size", type=int, help="pixels of the short side, then cut square (default 64; embedded sets: their own)")
    images.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, help="mirror half of the images (default: yes, but not for digits)"
    )
    images.add_argument("--skip-broken", action="store_true", help="train without the images that can't be read, instead of stopping")
    images.add_argument("--mean", type=float, nargs="+", default=defaults.mean, help="subtracted by channel, in 0..1 (default 0.5)")
    images.add_argument("--std", type=float, nargs="+", default=defaults.std, help="divided by, by channel, in 0..1 (default 0.5)")
    images.add_argument("--timesteps", type=int, default=defaults.timesteps, help="T, all of which is trained (default %(default)s)")
    images.add_argument("--schedule", choices=SCHEDULES, default=defaults.schedule, help="of the noise (default %(default)s)")

    network = parser.add_argument_group("network")
    network.add_argument("--width", type=int, default=16, help="channels at full resolution (default %(default)s)")
    network.add_argument("--multipliers", type=int, nargs="+", help="times width at each level (default as for train)")
    network.add_argument("--blocks", type=int, default=1, help="residual blocks a level (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    if args.log_every < 1:
        raise InputError(f"--log-every must be at least 1, got {args.log_every}")
    base = settings(args)  # refuses wrong values before minutes of decoding
    model, log = args.out / "classifier.safetensors", args.out / "log.jsonl"
    check_folder(args.out, model, log)
    device = choose_device(args.device)
    check_device(device)
    data = load_images(args.data_path, args.img_size, skip_broken=args.skip_broken)
    if len(data.classes) < 2:
        raise InputError(f"a classifier needs images with labels, one folder a class; {args.data_path!r} has none")
    learn, test = hold_out(data, args.hold_out, args.seed)
    config = replace(base, network=network_for(args, data))
    check_data(config, learn)
    network = new_classifier(config).to(device)
    count = sum(p.numel() for p in network.parameters())
    print(f"device: {describe_device(device)}")
    print(f"data: {len(learn):,} images to learn from, {len(test):,} to test on, {len(data.classes)} classes; {count:,} parameters")

    args.out.mkdir(parents=True, exist_ok=True)
    with open(log, "x") as file:
        total = config.epochs * (len(learn) // config.batch_size)
        interval, started = [], time.perf_counter()
        for step in train_steps(network, config, learn):
            interval.append(step)
            if step.step % args.log_every == 0 or step.step == total:
                report(record(interval, config.timesteps, time.perf_counter() - started), file)
                interval, started = [], time.perf_counter()
        accuracy = accuracy_by_quarter(network, config, test)
        file.write(json.dumps({"step": total, "held_out": len(test), "accuracy": accuracy}) + "\n")
    save_classifier(network, config, data.classes, accuracy, model)
    print(f"accuracy on {len(test):,} other images by quarter of t, least to most noise: {as_text(accuracy)}")
    print(f"wrote {model} and {log}")


def record(interval: list[ClassifierStep], T: int, seconds: float) -> dict:
    """One line of the log: means over the steps since the last one. Raises InputError if the loss is no longer a number."""
    losses, correct = (torch.cat([getattr(step, name) for step in interval]).cpu() for name in ("losses", "correct"))
    if not losses.isfinite().all():
        raise InputError(f"the loss became {losses.mean().item()} by step {interval[-1].step}; lower --lr")
    accuracy = by_quarter(correct, torch.cat([step.t for step in interval]), T)
    return {
        "step": interval[-1].step,
        "loss": losses.mean().item(),
        "training_accuracy": accuracy,
        "lr": interval[-1].lr,
        "images_per_s": round(len(losses) / seconds, 1),
    }


def report(record: dict, file) -> None:
    file.write(json.dumps(record) + "\n")
    file.flush()
    accuracy, speed = as_text(record["training_accuracy"]), record["images_per_s"]
    print(f"step {record['step']}  loss {record['loss']:.4f}  accuracy by quarter of t {accuracy}  {speed:.0f} images/s")


def as_text(accuracy: list[float | None]) -> str:
    return " ".join("-" if share is None else f"{share:.3f}" for share in accuracy)


def check_folder(out: Path, *files: Path) -> None:
    """Refuse a folder that can't be used, and one that holds a classifier already."""
    if blocking := file_in_the_way(out):
        raise InputError(f"--out must be a folder, {str(blocking)!r} is a file; choose another name")
    if taken := next((file for file in files if file.exists()), None):
        raise InputError(f"{str(out)!r} already holds a run ({taken.name}); pass another --out")


def settings(args: argparse.Namespace) -> TrainConfig:
    """The run that these arguments describe, but for the network, which depends on the images."""
    return TrainConfig(lr_decay="cosine", label_dropout=0.0, **same_named(args))


def network_for(args: argparse.Namespace, data: ImageSet) -> UNetConfig:
    """The network that these arguments and images ask for; no attention, since the mean over all pixels brings them together."""
    return UNetConfig(
        image_size=data.size,
        channels=data.channels,
        width=args.width,
        multipliers=tuple(args.multipliers or default_multipliers(data.size)),
        blocks=args.blocks,
        attention=(),
        middle_attention=False,
        groups=min(32, args.width & -args.width),  # the largest power of two that divides every width
        classes=len(data.classes),
    )
