"""Kill real training runs at random moments, in the middle of saving too, and compare what they end with. `make faults`.

A run of the train command is started, killed by SIGKILL after a random time, resumed, killed again, … until it is done; then its model, its
last state and its log are compared, byte by byte, with those of a run that was left alone. Each attempt is a fresh process forked from
one that has done the imports, so that a hundred kills take minutes. At each resume at most the steps since the last save may be missing.

    python tests/records/faults.py [--kills 100] [--seed 0] [--record tests/records/faults.md]
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: forked processes must not share threads

from ddpm_utils.__main__ import main as command_line
from ddpm_utils.data.sources import load_images
from ddpm_utils.training.checkpoints import list_states, read_state

FLAGS = ["train", "--data-path", "digits", "--img-size", "4", "--width", "8", "--multipliers", "1", "--blocks", "1", "--batch-size", "256"]
FLAGS += ["--precision", "fp32", "--epochs", "60", "--log-every", "5", "--sample-every", "100", "--dropout", "0.1", "--ema-start", "40"]
STEPS_PER_EPOCH, STEPS = 7, 420
COMPARED = ("model", "last state (weights, average, moments)", "last record of the log")


def start(out: Path, resume: bool) -> int:
    """Fork a process that trains into `out`; returns its id."""
    child = os.fork()
    if child == 0:
        with open(out.with_suffix(".txt"), "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os._exit(command_line([*FLAGS, "--out", str(out), *(["--resume"] if resume else [])]))
    return child


def wait(child: int, seconds: float) -> int | None:
    """The exit status of `child`, or None if it still runs after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def is_saving(out: Path) -> bool:
    """Whether a state is being written at this moment."""
    return any(out.glob(".state-*.tmp"))


def kill_until_done(out: Path, rng: random.Random, longest: float) -> Counter:
    """Run, kill at a random moment and resume, until the run is done. Every third attempt is killed in the middle of a save.

    longest: seconds that an attempt may take before it is killed.
    """
    counts: Counter = Counter()
    for attempt in range(1000):
        states = list_states(out)
        before = read_state(states[-1])["step"] if states else 0
        if not states:  # killed before the first one: there is nothing to go on from, and a log may be in the way
            shutil.rmtree(out, ignore_errors=True)
        child = start(out, resume=bool(states))
        status = wait(child, rng.uniform(0.02, 1) * longest)
        if status is None and attempt % 3 == 2:
            status = wait_for_save(out, child)
        if status == 0:
            return counts
        if status is not None:
            raise SystemExit(f"a run failed with exit code {status}:\n{out.with_suffix('.txt').read_text()}")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        counts["kills"] += 1
        counts["hit while a state was being written"] += is_saving(out)
        counts["hit before the first state"] += not list_states(out)
        steps = [read_state(path)["step"] for path in list_states(out)]  # every file under its name is whole
        if max(steps, default=0) < before:
            raise SystemExit(f"a kill lost saved work: step {before} before, {steps} after")
    raise SystemExit("the run makes no progress between kills")


def wait_for_save(out: Path, child: int) -> int | None:
    """Wait until a state is being written, or the child ends; returns its exit status in that case."""
    status = None
    while status is None and not is_saving(out):
        status = wait(child, 0.0005)
    return status


def same(a: Path, b: Path) -> dict[str, bool]:
    """What of two finished runs is equal. Speed and time in the log are left out."""
    keys = ("step", "loss", "quarters", "lr", "grad_norm")
    logs = [[[json.loads(line)[k] for k in keys] for line in (d / "log.jsonl").read_text().splitlines()] for d in (a, b)]
    state = f"state-{STEPS:08d}.pt"
    equal = [
        (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes(),
        (a / state).read_bytes() == (b / state).read_bytes(),
        logs[0][-1] == logs[1][-1],
    ]
    return dict(zip(COMPARED, equal, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    command_line(["doctor"])  # import and load here what every forked process would otherwise spend its short life on
    for name in ("torch._dynamo", "matplotlib.figure", "matplotlib.backends.backend_agg"):  # an optimizer's and the loss curve's
        importlib.import_module(name)
    load_images("digits", 4)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        if wait(start(whole, resume=False), 600) != 0:
            raise SystemExit(f"the uninterrupted run failed:\n{whole.with_suffix('.txt').read_text()}")
        longest = (time.monotonic() - started) / 4  # a quarter of an uninterrupted run
        rng, counts, rounds, equal = random.Random(args.seed), Counter(), 0, Counter()
        while counts["kills"] < args.kills:
            rounds += 1
            out = Path(folder) / f"killed-{rounds}"
            counts += kill_until_done(out, rng, longest)
            equal.update(what for what, is_equal in same(whole, out).items() if is_equal)
            print(f"round {rounds}: {counts['kills']} kills so far", flush=True)
    lines = [
        f"{counts['kills']} SIGKILLs over {rounds} runs of {STEPS} steps, with a state every {STEPS_PER_EPOCH} steps, seed {args.seed}.",
        "",
    ]
    lines += [f"- {count} of them {what}" for what, count in counts.items() if what != "kills"]
    lines += [f"- {what}: equal to the uninterrupted run, bit by bit, in {equal[what]} of {rounds} runs" for what in COMPARED]
    print("\n".join([*lines, f"({time.monotonic() - started:.0f} s)"]))
    if args.record:
        args.record.write_text("# Fault record\n\nWritten by `make faults`.\n\n" + "\n".join(lines) + "\n")
    return 0 if all(equal[what] == rounds for what in COMPARED) else 1


if __name__ == "__main__":
    sys.exit(main())
