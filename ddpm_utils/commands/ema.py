"""Rebuild the averaged weights of any length from a run's snapshots, after training.

For runs trained with --ema-sigmas 0.05 0.1 --snapshot-every N: writes a model that `sample` takes like any other.
"""

import argparse
from pathlib import Path

from ddpm_utils.ema import gamma_of, reconstruct, reconstruction_weights
from ddpm_utils.errors import InputError
from ddpm_utils.models import load_model, save_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="MODEL_DIR", help="the --out folder of the run")
    parser.add_argument("--sigma", type=float, required=True, help="relative length of the average, 0.01 to 0.28; 0.05 to 0.15 is usual")
    parser.add_argument("--step", type=int, help="rebuild the average as it was at this step (default: the last snapshot's)")
    parser.add_argument("--out", type=Path, help="model file (default: MODEL_DIR/model-sigma-….safetensors)")


def run(args: argparse.Namespace) -> None:
    gamma_of(args.sigma)  # refuses impossible lengths before reading files
    if args.out and args.out.suffix != ".safetensors":
        raise InputError(f"--out must name a file that ends in .safetensors, got {str(args.out)!r}")
    paths = sorted((args.folder / "snapshots").glob("*-sigma-*.safetensors"))
    if len(paths) < 2:
        raise InputError(
            f"{str(args.folder)!r} holds {len(paths)} snapshots of power-function averages, at least 2 are needed (16 or more for a good "
            "result); train with --ema-sigmas 0.05 0.1 --snapshot-every N"
        )
    models = [load_model(path) for path in paths]
    if other := next((path for path, m in zip(paths, models) if m.config != models[0].config), None):
        raise InputError(f"the snapshots are of different runs: {str(other)!r} is not of the same as {str(paths[0])!r}")
    steps = [m.snapshot["step"] for m in models]
    target = max(steps) if args.step is None else args.step
    if not min(steps) <= target <= max(steps):
        raise InputError(f"--step must lie between the first and the last snapshot, {min(steps)} .. {max(steps)}, got {target}")
    weights = reconstruction_weights(steps, [m.snapshot["sigma"] for m in models], target, args.sigma)
    network = models[-1].network
    network.load_state_dict(reconstruct([m.network.state_dict() for m in models], weights))
    out = args.out or args.folder / f"model-sigma-{args.sigma:g}.safetensors"
    save_model(network, models[0].config, models[0].classes, out, {"step": target, "sigma": args.sigma})
    print(f"rebuilt the average of relative length {args.sigma:g} at step {target} from {len(models)} snapshots: {out}")
