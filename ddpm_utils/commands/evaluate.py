"""Full-reference metrics of retouching (PSNR, SSIM, change mask) over pairs with a known ground truth.

Measures models, simple filters and the untouched copy. Prints a table (PSNR in the change mask decides; the copy is row 1) and what each model
gained over the copy. Without a model the shipped one. For generated images, which have no ground truth, see `metrics`.
"""

import argparse

from ddpm_utils.commands.arguments import add_device, add_target_path, user_path
from ddpm_utils.errors import InputError, printable
from ddpm_utils.runtime.files import atomic_path, check_writable

ENDINGS = (".md", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="model.safetensors of `train --form …`, or a shipped one's name (default: retouch)"
    )
    parser.add_argument(
        "--data-path", default="wrinkles", help="wrinkles (synthetic), a folder of pairs, or kaggle:OWNER/SLUG (default %(default)s)"
    )
    add_target_path(parser)
    parser.add_argument("--skip-broken", action="store_true", help="measure without the pairs that can't be used, instead of stopping")
    parser.add_argument(
        "--n", type=int, default=100, help="pairs, spread evenly over the test split (default %(default)s, or all there are)"
    )
    parser.add_argument("--img-size", type=int, help="pixels (default: the models' own)")
    parser.add_argument("--steps", type=int, help="sampling steps (NFE) for a sample (default: the form's own)")
    parser.add_argument("--samples", type=int, default=8, help="samples whose mean is a row of its own, 1: none (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same table (default %(default)s)")
    add_device(parser)
    parser.add_argument("--out", type=user_path, help="file for the table, .md or .csv")


def run(args: argparse.Namespace) -> None:
    from ddpm_utils.data.pair_folders import load_test_pairs
    from ddpm_utils.evaluation.retouching import baselines, common_size, evaluate_rows, methods_of, table, verdicts, write_csv
    from ddpm_utils.models import find_weights
    from ddpm_utils.restoration.formulations import load_restorer
    from ddpm_utils.runtime.device import choose_device, describe_device

    for flag, value in (("--n", args.n), ("--samples", args.samples), ("--steps", args.steps)):
        if value is not None and value < 1:
            raise InputError(f"{flag} must be at least 1, got {value}")
    if args.out and (args.out.suffix.lower() not in ENDINGS or args.out.is_dir()):
        raise InputError(f"--out must name a file that ends in {' or '.join(ENDINGS)}, got {str(args.out)!r}")
    if args.out:
        check_writable(args.out)
    device = choose_device(args.device)
    print(f"device: {describe_device(device)}")
    models = {name: load_restorer(find_weights(name, "retoucher"), device) for name in args.models or shipped_restorer()}
    methods = baselines() + methods_of(models, args.steps, args.samples, args.seed)
    size = args.img_size or common_size(models)
    pairs, is_split = load_test_pairs(args.data_path, size, args.target_path, n=args.n, skip_broken=args.skip_broken)
    split = "from the test split" if is_split else "from all of them: this folder has no test split"
    print(f"data: {len(pairs)} pairs of {pairs.size} px, {split}")
    rows = evaluate_rows(pairs, methods)
    lines = [table(rows), "", *verdicts(rows)]
    print("\n".join(lines))
    if args.out:
        with atomic_path(args.out) as path:
            write_csv(rows, path) if args.out.suffix.lower() == ".csv" else path.write_text("\n".join(lines) + "\n", "utf-8")
        print(printable(f"wrote {args.out}"))


def shipped_restorer() -> list[str]:
    """The name of the shipped model, or none and a sentence."""
    from ddpm_utils.models import shipped

    try:
        shipped("retouch")
    except InputError as error:
        print(f"{error}; so only the copy and the filters are measured")
        return []
    return ["retouch"]
