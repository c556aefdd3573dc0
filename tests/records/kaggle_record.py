"""Chains of sessions on the emulator of Kaggle, with sessions and runner killed, and compared with an uninterrupted run. `make kaggle-record`.

1. A hundred epochs of real kernels, pushed by run.py through the real client: sessions are lost to the clock, to the disk, to an exception
   and to a killed training process, while run.py itself is killed at random requests and started again, until the run is done.
2. run.py killed before and after every single request of a chain of two sessions (with stand-ins for the kernels).
3. Every way in which Kaggle or a session says no, and what a user then reads.
4. What is built, with its bytes.

    python tests/records/kaggle_record.py [--seed 0] [--record tests/records/kaggle.md]
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.append(str(Path(__file__).parents[1] / "kaggle"))
from emulator import Emulator, Limits, tiny
from refusal_cases import CASES

PATHS = [str(tiny.ROOT / "kaggle"), str(tiny.ROOT)]
FORKS = multiprocessing.get_context("forkserver")  # of a process that has done the slow imports
FORKS.set_forkserver_preload(["build", "client", "chain", "requests", "kagglesdk.kernels.types.kernels_api_service"])

FAULTS = {
    2: ("killed by the clock", {"seconds": 9}),
    4: ("filled its disk while it trained", {"prefix": tiny.FILLS_DISK}),
    6: ("ended with an error while it trained", {"prefix": tiny.FAILS}),
    7: ("lost its training process", {"prefix": tiny.TRAINING_DIES}),
}


def uninterrupted(job: Path, pictures: Path, out: Path) -> None:
    """The same run by the plain train command, in one go."""
    settings = tomllib.loads((job / "job.toml").read_text())
    words = [
        sys.executable,
        "-m",
        "ddpm_utils",
        "train",
        "--data-path",
        str(pictures),
        "--out",
        str(out),
        "--epochs",
        str(settings["epochs"]),
    ]
    for name, value in settings["train"].items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    subprocess.run(words, check=True, capture_output=True, cwd=tiny.ROOT)


def run_killed(kaggle: Emulator, job: Path, out: Path, kills: list[tuple[int, str]], *flags: str) -> list[int]:
    """Start run.py again and again, killed at the given requests and left alone at last; returns the exit codes."""
    codes = []
    for kill in [*kills, None]:
        runner = tiny.start_runner(kaggle, job, out, *flags)
        kaggle.kill = (runner.pid, *kill) if kill else None
        said = runner.communicate()[0]
        kaggle.kill = None
        codes.append(runner.returncode)
        if tiny.KEY in said:
            raise SystemExit("run.py printed the key")
        if runner.returncode == 0:
            return codes
    raise SystemExit(f"the chain did not end:\n{said}")


def real_chain(folder: Path, seed: int) -> tuple[list[str], bool]:
    """Part 1: (lines of the record, whether all is as it should be)."""
    job, pictures = tiny.make_job(folder / "tiny-job"), tiny.make_pictures(folder / "pictures")
    uninterrupted(job, pictures / "pictures", folder / "whole")
    rng = random.Random(seed)
    kills = [(rng.randrange(1, 60), rng.choice(("before", "after"))) for _ in range(12)]
    flags = ("--set", "max-epochs=25", "--poll", "0.5", "--fetch-checkpoints")
    limits = Limits(session_seconds=300, working_bytes=20_000_000)
    with Emulator(folder / "server", limits, {tiny.DATASET: pictures}, layout="by owner", key=tiny.KEY) as kaggle:
        kaggle.account.faults = {number: fault for number, (_, fault) in FAULTS.items()}
        codes = run_killed(kaggle, job, folder / "out", kills, *flags)
        versions = kaggle.account.kernels["tiny-job"]
        hours = kaggle.account.used / 3600
        leaks = tiny.leaks(tiny.KEY, kaggle, folder)
    sessions = {s["version"]: s for s in tiny.state_of(folder / "out")["sessions"]}
    lines = [
        "| version | what was done to it | Kaggle's status | of the chain | seconds | peak MB in working |",
        "|---|---|---|---|---|---|",
    ]
    for v in versions:
        s = sessions[v.number]
        outcome = f"{s['status']} at epoch {s['epoch']:g}" if "epoch" in s else s["status"]
        done_to = FAULTS.get(v.number, ("nothing",))[0]
        lines.append(f"| {v.number} | {done_to} | {v.status} | {outcome} | {v.sandbox.seconds:.0f} | {v.sandbox.peak_bytes / 1e6:.2f} |")
    last = max((folder / "out").rglob("state-*.pt"), key=lambda path: path.name)
    equal = {
        "model.safetensors": (folder / "out/model.safetensors").read_bytes() == (folder / "whole/model.safetensors").read_bytes(),
        "last state (weights, average, moments)": last.read_bytes() == (folder / "whole" / last.name).read_bytes(),
    }
    isolation = versions[0].sandbox.isolation
    lines += [
        "",
        f"- {len(versions)} sessions, {hours:.4f} hours of the week, run.py killed {codes.count(-9)} times (seed {seed})",
        f"- network of the kernels: {isolation['network']}; their inputs: {isolation['inputs']}; layout of the mounts: by owner",
        *(
            f"- {name}: {'equal' if same else 'NOT EQUAL'} to one uninterrupted run of the train command, bit by bit"
            for name, same in equal.items()
        ),
        f"- places where the key of the account can be read: {len(leaks)}",
    ]
    return lines, all(equal.values()) and not leaks


def runner_process(environment: dict[str, str], words: list[str]) -> None:
    """run.py in a forked process, with its own environment and its words written down."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = PATHS
    import run  # and later the client, which reads the environment when it is imported

    with open(Path(words[2]) / "said.txt", "a") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run.main(words)
    os._exit(code)


def killed_everywhere(folder: Path) -> tuple[list[str], bool]:
    """Part 2: (lines of the record, whether every chain ended as the one that was left alone)."""
    job, pictures = tiny.make_job(folder / "tiny-job"), tiny.make_pictures(folder / "pictures")
    os.environ["PYTHONPATH"] = os.pathsep.join(PATHS)  # the only way into the process that is forked from

    def chain(name: str, kill: tuple[int, str] | None) -> tuple[list[str], int, bytes, int]:
        """Requests, versions and model of a chain whose runner is killed once, and the exit code of that runner."""
        out = folder / name / "out"
        out.mkdir(parents=True)
        words = [str(job), "--out", str(out), "--poll", "1", "--set", "max-epochs=50"]
        with Emulator(folder / name / "server", datasets={tiny.DATASET: pictures}, key=tiny.KEY, stand_in=tiny.STAND_IN) as kaggle:
            codes = []
            for n in ([kill] if kill else []) + [None]:
                runner = FORKS.Process(target=runner_process, args=(tiny.environment(kaggle, out.parent), words))
                runner.start()
                kaggle.kill = (runner.pid, *n) if n else None
                runner.join()
                codes.append(runner.exitcode)
            if codes[-1] != 0:
                raise SystemExit(f"{name}: the chain did not end:\n{(out / 'said.txt').read_text()}")
            return [m for m, _ in kaggle.calls], len(kaggle.account.kernels["tiny-job"]), (out / "model.safetensors").read_bytes(), codes[0]

    calls, _, model, _ = chain("alone", None)
    cases, twice, different = 0, [], []
    for k in range(1, len(calls) + 1):
        for when in ("before", "after"):
            name = f"{k}-{when}"
            _, versions, ended, code = chain(name, (k, when))
            cases += code == -9
            twice += [name] if versions != 2 else []
            different += [name] if ended != model else []
            print(f"killed {when} request {k} ({calls[k - 1]}): {versions} versions, exit code {code}", flush=True)
    kinds = ", ".join(dict.fromkeys(calls))
    lines = [
        f"- {len(calls)} requests: {kinds}",
        f"- {cases} chains, each with run.py killed once, before or after one of them was acted on, and started again",
        f"- chains with a session pushed twice: {len(twice)}{' ' + ', '.join(twice) if twice else ''}",
        f"- chains that ended in another model: {len(different)}{' ' + ', '.join(different) if different else ''}",
    ]
    return lines, not twice and not different


def refusals(folder: Path) -> tuple[list[str], bool]:
    """Part 3: (a table of what a user reads, whether all ended as they should)."""
    job, pictures = tiny.make_job(folder / "tiny-job"), tiny.make_pictures(folder / "pictures")
    rows, good = [], True
    for number, case in enumerate(CASES):
        options = {"datasets": {tiny.DATASET: pictures}, "key": tiny.KEY, "stand_in": tiny.STAND_IN} | case.options
        with Emulator(folder / f"server-{number}", **options) as kaggle:
            case.prepare(kaggle)
            before = len(kaggle.account.kernels.get("tiny-job", []))
            out = folder / f"case-{number}" / "out"
            out.parent.mkdir()
            runner = tiny.start_runner(kaggle, job, out, "--set", "max-epochs=100", *case.flags)
            said = runner.communicate()[0]
            sessions = len(kaggle.account.kernels.get("tiny-job", [])) - before
        good = good and (runner.returncode, sessions) == (case.code, case.sessions)
        line = next(line for line in reversed(said.splitlines()) if case.says[0] in line)
        rows.append(f"| {case.name} | {re.sub(r'^[0-9-]+ [0-9:]+ ', '', line)} | {sessions} | {runner.returncode} |")
    return ["| what is wrong | what a user reads | sessions begun | exit code |", "|---|---|---:|---:|", *rows], good


def built_files(folder: Path) -> list[str]:
    """Part 4: a table of all that build.py makes."""
    sys.path[:0] = PATHS
    import build
    import course_notebooks

    jobs = sorted(path.parent.name for path in (tiny.ROOT / "kaggle").glob("*/job.toml"))
    kernels = [(f"{job}, package inside", build.build_job(job, "alice", folder / job) / "kernel.py") for job in jobs]
    kernels += [(f"{job}, as it stands in its folder", tiny.ROOT / "kaggle" / job / "kernel.py") for job in jobs]
    notebooks = [(path.name, path) for path in course_notebooks.build_notebooks(folder / "notebooks")]
    dataset = course_notebooks.build_dataset("alice", folder / "dataset")
    size = sum(path.stat().st_size for path in dataset.rglob("*") if path.is_file())
    rows = [f"| {name} | {path.stat().st_size:,} |" for name, path in kernels + notebooks]
    return ["| file | bytes |", "|---|---:|", *rows, f"| the data set with the package and its models | {size:,} |"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        real, real_good = real_chain(Path(folder) / "real", args.seed)
        print("\n".join(real), flush=True)
        killed, killed_good = killed_everywhere(Path(folder) / "killed")
        refused, refused_good = refusals(Path(folder) / "refused")
        files = built_files(Path(folder) / "built")
    client = f"kaggle {version('kaggle')}, kagglesdk {version('kagglesdk')}"
    text = [
        "# Kaggle record",
        "",
        f"Written by `make kaggle-record`, with the real client ({client}) against the emulator.",
        "",
        "## A hundred epochs in sessions that are killed",
        "",
        *real,
    ]
    text += ["", "## run.py killed before and after every request", "", *killed]
    text += ["", "## What a user reads where Kaggle or a session says no", "", *refused]
    text += ["", "## What is built (Kaggle takes less than 1,000,000 bytes a source)", "", *files]
    print("\n".join([*text, f"({time.monotonic() - started:.0f} s)"]))
    if args.record:
        args.record.write_text("\n".join(text) + "\n")
    return 0 if real_good and killed_good and refused_good else 1


if __name__ == "__main__":
    sys.exit(main())
