"""Rebuild the averaged weights of any length from a run's snapshots, after training.

For runs of train, train-control and train-classifier with --ema-sigmas 0.05 0.1 --snapshot-every N: writes a file that is used like the
run's own.
"""

import argparse
from pathlib import Path

from ddpm_utils.commands.arguments import user_path
from ddpm_utils.errors import DamagedFile, InputError, printable
from ddpm_utils.runtime.files import check_writable
from ddpm_utils.settings import check_value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=user_path, metavar="RUN_FOLDER", help="the --out folder of the run")
    parser.add_argument("--sigma", type=float, required=True, help="relative length of the average, 0.01 to 0.28; 0.05 to 0.15 is usual")
    parser.add_argument("--step", type=int, help="rebuild the average as it was at this step (default: the last snapshot's)")
    parser.add_argument("--out", type=user_path, help="file to write (default: RUN_FOLDER/model-sigma-….safetensors)")


def run(args: argparse.Namespace) -> None:
    from ddpm_utils.ema import gamma_of, reconstruct, reconstruction_weights
    from ddpm_utils.models import write_weights

    gamma_of(args.sigma)  # refuses impossible lengths before reading files
    if args.out and args.out.suffix != ".safetensors":
        raise InputError(f"--out must name a file that ends in .safetensors, got {str(args.out)!r}")
    if args.out:
        check_writable(args.out)
    paths = sorted((args.folder / "snapshots").glob("*-sigma-*.safetensors"))
    if len(paths) < 2:
        raise InputError(
            f"{str(args.folder)!r} holds {len(paths)} snapshots of power-function averages, at least 2 are needed (16 or more for a good "
            "result); train with --ema-sigmas 0.05 0.1 --snapshot-every N"
        )
    abouts, weights = read_snapshots(paths)
    if other := next((path for path, about in zip(paths, abouts) if about["config"] != abouts[0]["config"]), None):
        raise InputError(f"the snapshots are of different runs: {str(other)!r} is not of the same as {str(paths[0])!r}")
    steps, sigmas = ([about["snapshot"][name] for about in abouts] for name in ("step", "sigma"))
    target = max(steps) if args.step is None else args.step
    if not min(steps) <= target <= max(steps):
        raise InputError(f"--step must lie between the first and the last snapshot, {min(steps)} .. {max(steps)}, got {target}")
    rebuilt = reconstruct(weights, reconstruction_weights(steps, sigmas, target, args.sigma))
    kind = abouts[0]["format"].split()[1]  # model, control or classifier
    out = args.out or args.folder / f"{kind}-sigma-{args.sigma:g}.safetensors"
    measured = {"accuracy": []} if "accuracy" in abouts[0] else {}  # that of a snapshot isn't the average's
    write_weights(rebuilt, {**abouts[-1], **measured, "snapshot": {"step": target, "sigma": args.sigma}}, out)
    print(printable(f"rebuilt the average of relative length {args.sigma:g} at step {target} from {len(paths)} snapshots: {out}"))


def read_snapshots(paths: list[Path]) -> tuple[list[dict], list[dict]]:
    """What `read_weights` finds in snapshots of one network, of any kind. Raises InputError for a file that isn't one of them."""
    from ddpm_utils.models import blamed_on, read_weights

    abouts, weights = [], []
    for path in paths:
        about, found = read_weights(path, None, "snapshot", "train --ema-sigmas … --snapshot-every …", needs=("config", "snapshot"))
        with blamed_on(path):
            check_value("step of the snapshot", about["snapshot"].get("step"), {"within": "[1, inf)"}, int)
            check_value("sigma of the snapshot", about["snapshot"].get("sigma"), {"within": "[0.01, 0.28]"}, float)
        abouts.append(about)
        weights.append(found)
        if {name: w.shape for name, w in found.items()} != {name: w.shape for name, w in weights[0].items()}:
            raise DamagedFile(f"{str(path)!r} is damaged: its weights aren't of the same network as those of {str(paths[0])!r}")
    return abouts, weights
