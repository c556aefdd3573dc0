"""Kill every command that writes something at random moments, and see that what it left is never taken for a good result.

After each SIGKILL no result may lie under its name unless it is whole, byte by byte what a command that was left alone writes; and the same
command, run again (with --resume where it trains), must end well and in the same bytes. Each attempt is a process forked from one that has
done the imports.

    python tests/records/kills.py [--kills 10] [--seed 0] [--record tests/records/kills.md] [COMMANDS …]
"""

import argparse
import importlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
from faults import wait
from PIL import Image
from retouched import smoothed_pairs, write_pairs

from ddpm_utils.__main__ import COMMANDS
from ddpm_utils.__main__ import main as command_line
from ddpm_utils.training.checkpoints import list_states, read_state

RUN = ["--batch-size", "256", "--log-every", "5", "--precision", "fp32", "--device", "cpu", "--sample-every", "0"]
DIGITS = ["--data-path", "digits", *RUN, "--epochs", "10"]
NETWORK = ["--img-size", "8", "--width", "4", "--multipliers", "1", "--blocks", "1", "--timesteps", "20", *RUN, "--batch-size", "8"]
AVERAGES = ["--batch-size", "256", "--epochs", "6", "--ema-sigmas", "0.05", "0.1", "--snapshot-every", "1"]
MODULES = ("torch._dynamo", "matplotlib.figure", "matplotlib.backends.backend_agg", "ddpm_utils.figures", "sklearn.datasets")
SECONDS = re.compile(rb"\| [\d.]+ \|$", re.MULTILINE)
HEAD = """# Kills by command

Written by `make kills`, seed {seed}. After each SIGKILL, whatever lay under a result's name was whole, and every state could be read; each round
of up to three kills was ended in peace by the same command (with --resume where it trains), in the same bytes as a command that was left alone.

| command | kills | after the first state | with results there | ended in the same bytes |
|---|---:|---:|---:|---:|"""


@dataclass(frozen=True)
class Command:
    """A command to be killed. words: its arguments, "OUT" standing for the folder that it writes into."""

    words: list[str]
    results: tuple[str, ...]  # globs, in OUT, of what must be whole wherever it is
    trains: bool = False  # goes on with --resume


def commands(folder: Path) -> dict[str, Command]:
    """What is killed, with its inputs made in `folder`."""
    rng = np.random.default_rng(0)
    for name in ("photos/a", "photos/b", *(f"images/{k % 2}/{k}" for k in range(30))):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.kron(rng.integers(0, 256, (10, 14, 3), np.uint8), np.ones((20, 20, 1), np.uint8))).save(path)
    photographs = [np.kron(rng.integers(40, 216, (20, 20, 3), np.uint8), np.ones((15, 15, 1), np.uint8)) for _ in range(6)]
    pairs = [str(path) for path in write_pairs(folder, smoothed_pairs(photographs), ending=".png")]
    run, base, samples, cpu = f"{folder}/run", f"{folder}/run/model.safetensors", f"{folder}/samples", ["--device", "cpu"]
    in_own_process(["train", *DIGITS, *NETWORK, *AVERAGES, "--out", run])
    in_own_process(["sample", base, "--n", "20", "--steps", "3", *cpu, "--images", samples, "--out", f"{folder}/s.png"])
    figures = ["--out", "OUT/s.png", "--film", "OUT/f.png", "--gif", "OUT/s.gif", "--images", "OUT/images"]
    return {
        "sample": Command(["sample", base, "--n", "40", "--steps", "10", *cpu, *figures], ("s.*", "f.png", "images/*.png")),
        "metrics": Command(["metrics", samples, "digits", "--features", "digits-judge", *cpu], ()),
        "evaluate": Command(
            ["evaluate", "--data-path", str(folder), "--img-size", "32", "--samples", "1", *cpu, "--out", "OUT/t.md"], ("t.md",)
        ),
        "prepare-pairs": Command(
            ["prepare-pairs", *pairs, "OUT", "--size", "64"], ("split.json", "source/*.png", "target/*.png", "mask/*.png")
        ),
        "retouch": Command(["retouch", f"{folder}/photos", "--out", "OUT", *cpu], ("*.png",)),
        "ema": Command(["ema", run, "--sigma", "0.08", "--out", "OUT/ema.safetensors"], ("*.safetensors",)),
        "train, decoding": Command(
            ["train", "--data-path", f"{folder}/images", *NETWORK, "--epochs", "1", "--out", "OUT"], ("model.*",), True
        ),
        "train-classifier": Command(["train-classifier", *DIGITS, "--out", "OUT"], ("classifier.safetensors",), True),
        "train-control": Command(["train-control", base, "--hint", "canny", *DIGITS, "--out", "OUT"], ("control.safetensors",), True),
    }


def start(words: list[str], log: Path) -> int:
    """Fork a process that runs a command; returns its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:  # whatever happens, the child must not go on as this program
            with open(log, "a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            code = command_line(words)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(code)
    return child


def in_own_process(words: list[str], log: Path = Path(os.devnull)) -> float:
    """Run a command to its end, in a fork, so that no thread of it is in the way of later forks; returns the seconds that it took."""
    started = time.monotonic()
    if (code := wait(start(words, log), 600)) != 0:
        raise SystemExit(f"{words[0]} ended with {code}: {log.read_text()[-2000:]}")
    return time.monotonic() - started


def results(command: Command, out: Path) -> dict[str, bytes]:
    """The results that lie under their names, without the seconds in a table's last column."""
    return {str(path.relative_to(out)): SECONDS.sub(b"", path.read_bytes()) for glob in command.results for path in sorted(out.glob(glob))}


def check_left(command: Command, out: Path, whole: dict[str, bytes]) -> None:
    """After a kill: every result that is there is a whole one, and every state can be read."""
    for name, content in results(command, out).items():
        if content != whole[name]:
            raise SystemExit(f"{command.words[0]} left a result that isn't whole: {name}")
    for path in list_states(out):
        read_state(path)


def campaign(command: Command, folder: Path, kills: int, rng: random.Random) -> dict[str, int]:
    """Kill the command again and again; returns what was counted. Each round is up to three kills and an end in peace."""
    log, alone = folder / "log.txt", folder / "alone"
    words = [word.replace("OUT", str(alone)) for word in command.words]
    os.environ["DDPM_CACHE"] = str(folder / "cache")
    longest = in_own_process(words, log)
    whole, said, counts = (
        results(command, alone),
        last_line(log),
        {"kills": 0, "rounds": 0, "after the first state": 0, "with some results": 0},
    )
    while counts["kills"] < kills:
        counts["rounds"] += 1
        out = folder / f"killed-{counts['rounds']}"
        shutil.rmtree(folder / "cache", ignore_errors=True)  # so that decoding is killed, too
        words = [word.replace("OUT", str(out)) for word in command.words]
        for _ in range(3):
            again = [*words, *(["--resume"] if command.trains and out.exists() and any(out.iterdir()) else [])]
            child = start(again, log)
            if wait(child, rng.uniform(0, 1) * longest) is not None:
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            counts["kills"] += 1
            counts["after the first state"] += bool(list_states(out))
            counts["with some results"] += bool(results(command, out))
            check_left(command, out, whole)
        in_own_process([*words, *(["--resume"] if command.trains and out.exists() and any(out.iterdir()) else [])], log)
        if results(command, out) != whole or (not whole and last_line(log) != said):
            raise SystemExit(f"{command.words[0]}, killed and run again, ended in other results")
    return counts


def last_line(log: Path) -> str:
    return log.read_text().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", help="only those whose name holds one of these words")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    for name in (*MODULES, *(f"ddpm_utils.commands.{c.replace('-', '_')}" for c in COMMANDS)):  # what a fork would spend its short life on
        importlib.import_module(name)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DDPM_CACHE"] = f"{folder}/cache"
        for number, (name, command) in enumerate(commands(Path(folder)).items()):
            if args.commands and not any(word in name for word in args.commands):
                continue
            place = Path(folder) / str(number)
            place.mkdir()
            counts = campaign(command, place, args.kills, random.Random(args.seed + number))
            states = str(counts["after the first state"]) if command.trains else ""
            rows.append(
                f"| {name} | {counts['kills']} | {states} | {counts['with some results']} | {counts['rounds']} of {counts['rounds']} |"
            )
            print(rows[-1], flush=True)
    if args.record:
        args.record.write_text("\n".join([HEAD.format(seed=args.seed), *rows]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
