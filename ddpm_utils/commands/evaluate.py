"""Measure retouching: models, simple filters and the untouched copy, over pairs whose true retouching is known.

Prints a table (PSNR in the change mask decides; the copy is row 1) and what each model gained over the copy. Without a model the shipped one.
"""

import argparse
import csv
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from ddpm_utils.data.pair_folders import existing_folder, find_prepared, load_pairs
from ddpm_utils.data.pairs import PairSet
from ddpm_utils.data.sources import download
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.retouching import Method, Row, baselines, evaluate_rows, model_methods, table, verdicts
from ddpm_utils.models import Model, find_weights, load_model, shipped
from ddpm_utils.restoration.formulations import check_restorer
from ddpm_utils.runtime.device import choose_device, describe_device

ENDINGS = (".md", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, nargs="*", metavar="MODEL", help="model.safetensors of `train --form …` (default: the shipped one)"
    )
    parser.add_argument(
        "--data-path", default="wrinkles", help="wrinkles (synthetic), a folder of pairs, or kaggle:OWNER/SLUG (default %(default)s)"
    )
    parser.add_argument("--target-path", help="folder of the retouched pictures, if --data-path holds the untouched ones alone")
    parser.add_argument("--skip-broken", action="store_true", help="measure without the pairs that can't be used, instead of stopping")
    parser.add_argument(
        "--n", type=int, default=100, help="pairs, spread evenly over the test split (default %(default)s, or all there are)"
    )
    parser.add_argument("--img-size", type=int, help="pixels (default: the models' own)")
    parser.add_argument("--steps", type=int, help="calls of the network for a sample (default: the form's own)")
    parser.add_argument("--samples", type=int, default=8, help="samples whose mean is a row of its own, 1: none (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same table (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file for the table, .md or .csv")


def run(args: argparse.Namespace) -> None:
    for flag, value in (("--n", args.n), ("--samples", args.samples), ("--steps", args.steps)):
        if value is not None and value < 1:
            raise InputError(f"{flag} must be at least 1, got {value}")
    if args.out and (args.out.suffix.lower() not in ENDINGS or args.out.is_dir()):
        raise InputError(f"--out must name a file that ends in {' or '.join(ENDINGS)}, got {str(args.out)!r}")
    device = choose_device(args.device)
    print(f"device: {describe_device(device)}")
    models = {path: load_restorer(path, device) for path in [find_weights(name, "retoucher") for name in args.models] or shipped_restorer()}
    methods = baselines() + methods_of(models, args.steps, args.samples, args.seed)
    pairs, split = load_test_pairs(args.data_path, args.img_size or size_of(models), args.target_path, args.n, args.skip_broken)
    print(f"data: {len(pairs)} pairs of {pairs.size} px, {split}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = evaluate_rows(pairs, methods)
    lines = [table(rows), "", *verdicts(rows)]
    print("\n".join(lines))
    if args.out:
        write_csv(rows, args.out) if args.out.suffix.lower() == ".csv" else args.out.write_text("\n".join(lines) + "\n", "utf-8")
        print(f"wrote {args.out}")


def load_restorer(path: Path, device: str) -> Model:
    """The model file at `path`; one that doesn't retouch is refused by its name."""
    model = load_model(path, device)
    try:
        check_restorer(model)
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
    return model


def shipped_restorer() -> list[Path]:
    """The shipped model, or none and a sentence."""
    try:
        return [shipped("retouch")]
    except InputError as error:
        print(f"{error}; so only the copy and the filters are measured")
        return []


def size_of(models: dict[Path, Model]) -> int | None:
    """The one size that all models were trained at."""
    sizes = sorted({model.config.network.image_size for model in models.values()})
    if len(sizes) > 1:
        raise InputError(f"the models were trained at different sizes ({', '.join(map(str, sizes))} px); choose one with --img-size")
    return sizes[0] if sizes else None


def methods_of(models: dict[Path, Model], steps: int | None, samples: int, seed: int) -> list[Method]:
    """All models' methods, named after their form, or form and file where forms repeat."""
    forms = [model.config.form for model in models.values()]
    methods = []
    for path, model in models.items():
        form = model.config.form
        name = f"{form} ({path})" if forms.count(form) > 1 else form
        methods += model_methods(model, name, steps, samples, seed)
    return methods


def load_test_pairs(source: str, size: int | None, target: str | None, n: int, skip_broken: bool) -> tuple[PairSet, str]:
    """At most n pairs of the test split, or of everything where nothing is split, and which of the two in words."""
    if source == "wrinkles":
        source = f"wrinkles:{10 * n}"  # a tenth of them is the test split: no more are drawn than are measured
    if source.startswith("kaggle:") and target is None:
        source = str(download(source.removeprefix("kaggle:")))
    is_split = target is None and (source.startswith("wrinkles:") or find_prepared(existing_folder(source))[1] is not None)
    pairs = load_pairs(source, size, target, "test" if is_split else "train", skip_broken)
    return spread(pairs, n), "from the test split" if is_split else "from all of them: this folder has no test split"


def spread(pairs: PairSet, n: int) -> PairSet:
    """n of the pairs, spread evenly: neighbours may be crops of one photograph."""
    if n >= len(pairs):
        return pairs
    rows = np.arange(n) * len(pairs) // n
    labels = None if pairs.labels is None else pairs.labels[rows]
    return replace(pairs, images=pairs.images[rows], labels=labels, sources=pairs.sources[rows], masks=pairs.masks[rows])


def write_csv(rows: list[Row], path: Path) -> None:
    """All figures of all rows with all digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
