"""Train on Kaggle until it is done: push a session, wait, collect, push the next one that goes on from it.

    python kaggle/run.py ddpm-cars --epochs 100

Stop it when you like: the session on Kaggle goes on, and the same command takes up from there. Everything that it knows and fetches lies
in --out. It ends with 0 when the run is done, 1 where it can't go on by itself, 2 for wrong input, 3 when the GPU hours of the week are spent.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # works without an installation

import build
from chain import Chain, Stopped, WeekSpent
from chain_state import Options, State
from client import Kernel, Refused, Unreachable
from estimates import show_plan
from filelock import FileLock, Timeout
from refusals import explained

from ddpm_utils.errors import InputError

RETIRED = "the P100 was retired by Kaggle on 2026-09-15: the session will run on GPU T4 x2, with the batch and precision of the P100"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", help="a folder of kaggle/")
    parser.add_argument("--owner", help="your name on Kaggle (default: the name that the credentials belong to)")
    parser.add_argument("--epochs", type=int, help="of the whole run (default: the job's)")
    parser.add_argument("--accelerator", default="t4", help="t4: GPU T4 x2; p100: retired by Kaggle (default %(default)s)")
    parser.add_argument("--dataset", metavar="OWNER/SLUG", help="data set in place of the job's own")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of job.toml or a flag of train, such as width=64"
    )
    parser.add_argument("--out", type=Path, help="folder for the state and all that is fetched (default out/kaggle/JOB)")
    parser.add_argument("--fetch-checkpoints", action="store_true", help="fetch the states of each session too, not only the final model")
    parser.add_argument(
        "--max-failures", type=int, default=3, help="sessions lost one after the other before it stops (default %(default)s)"
    )
    parser.add_argument("--wait-for-quota", action="store_true", help="wait for the week's new hours instead of ending with their time")
    parser.add_argument("--poll", type=float, default=60, help="seconds between two looks at a session (default %(default)s)")
    parser.add_argument("--replace", action="store_true", help="begin anew on a kernel that holds another chain")
    parser.add_argument("--dry-run", action="store_true", help="show the plan: sessions, hours, disk; needs no network")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(argv)
    try:
        return run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except WeekSpent as error:
        print(error)
        return 3
    except (Stopped, Refused, Unreachable) as error:
        print(f"stopped: {explained(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; a session on Kaggle goes on: run the same command to follow it", file=sys.stderr)
        return 130


def run(args: argparse.Namespace) -> int:
    """Check the arguments, then plan or follow. Raises what `main` turns into exit codes."""
    for name, least in (("poll", 0), ("max_failures", 0)):
        if not getattr(args, name) > least:
            raise InputError(f"--{name.replace('_', '-')} must be above {least}, got {getattr(args, name)}")
    overrides = build.overrides_of(args.set)
    job = build.load_job(args.job, args.accelerator, overrides | ({"epochs": args.epochs} if args.epochs is not None else {}))
    if args.accelerator == "p100":
        print(RETIRED)
    out = args.out or Path("out/kaggle") / job["job"]
    if args.dry_run:
        state = State.read(out / "chain.json")
        show_plan(job, state.seconds_per_epoch if state else None)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / "lock", timeout=0):
            follow(args, job, overrides, out)
    except Timeout as error:
        raise InputError(f"another run.py follows the chain in {str(out)!r}; stop it first, or use another --out") from error
    return 0


def follow(args: argparse.Namespace, job: dict, overrides: dict, out: Path) -> None:
    """Run the chain of this job to its end."""
    slug = json.loads((build.job_folder(args.job) / "kernel-metadata.json").read_text())["id"].partition("/")[2]
    kernel = Kernel(args.owner, slug)
    settings = {"accelerator": args.accelerator, "epochs": args.epochs, "dataset": args.dataset, "overrides": overrides}
    chain = build.built(build.build_job(args.job, kernel.owner, out / "kernel", **settings))["chain"]
    margin = job["session_hours"] - job["max_hours"]
    options = Options(
        job=args.job,
        epochs=job["epochs"],
        out=out,
        build=settings,
        hours=job["max_hours"],
        margin=margin,
        poll=args.poll,
        max_failures=args.max_failures,
        fetch_checkpoints=args.fetch_checkpoints,
        wait_for_quota=args.wait_for_quota,
        replace=args.replace,
    )
    Chain(kernel, chain, options, lambda text: print(f"{time.strftime('%m-%d %H:%M:%S')} {text}", flush=True)).run()


if __name__ == "__main__":
    sys.exit(main())
