"""One session of a training job on Kaggle: look at the machine, find the data, go on where the chain stopped, train, report.

kaggle/build.py fills in the constants and the package; or from_dataset.py runs this out of a data set, where the package lies beside its folder.
Exit code 1: refused before training, so that nothing is lost; a line of the log says why, for programs in its field "cause" (see REFUSALS),
because a failed session leaves no files. Once training has begun the exit code is 0 whatever happens, because Kaggle throws away what a failed
session wrote: status.json says how it ended, for programs in its fields "status" and "cause" (see CAUSES), for people in "reason".
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

from outcomes import CAUSE_OF, REFUSED, Refused, read_status
from session_report import digest, report, write
from unpack import PACKAGE_SHA256, unpack_ddpm_utils

STARTED = time.monotonic()  # Kaggle's clock runs from here, not from the first training step

CHAIN = ""
SESSION = 0  # 0: one more than the chain has had
JOB = {}

INPUT = Path(os.environ.get("KAGGLE_INPUT_ROOT", "/kaggle/input"))
WORKING = Path(os.environ.get("KAGGLE_WORKING_ROOT", "/kaggle/working"))
RUN = WORKING / "run"  # what `python -m ddpm_utils train` writes
MOUNT_DEPTH = 6  # /kaggle/input/datasets/OWNER/SLUG and a few folders inside
POLL_SECONDS = 1.0


def main() -> int:
    """The whole session; returns the exit code."""
    try:
        environment = environment_with(unpack_ddpm_utils() if PACKAGE_SHA256 else Path(__file__).resolve().parents[1])
        gpus = check_machine(environment)
        history = take_up_chain()
        command = training_command(prepared_data(environment), gpus, resume=history is not None)
    except Exception as error:
        return refuse(error)
    try:
        tail, peak = watched(command, environment)
    except Exception as error:  # from here on whatever is in the working folder must be kept
        tail, peak = [f"{type(error).__name__}: {error}"], working_bytes()
    if not (RUN / "status.json").exists():
        return refuse(refusal_of("training", tail, environment))
    try:
        status = conclude(history or [], tail, peak)
        say(f"{status['status']} at epoch {status['epoch']:g} of {status['epochs']}: {status['reason']}")
    except Exception as error:
        say(f"the report could not be written ({type(error).__name__}: {error}); the run's files are in {RUN}")
    return 0


def say(text: str) -> None:
    """One line of the kernel's own in the log."""
    print(f"kernel: {text}", flush=True)


def refuse(error: Exception) -> int:
    """Say why this session doesn't train, in the log for chain.py and as the last line for people; returns the exit code."""
    if isinstance(error, Refused):
        print(REFUSED + json.dumps({"cause": error.cause, "reason": str(error)}), flush=True)
    elif not isinstance(error, OSError):
        traceback.print_exception(error)
    print(f"error: {error}", file=sys.stderr)
    return 1


def hours() -> float:
    """Hours since this session began."""
    return (time.monotonic() - STARTED) / 3600


# --- before training ---


def environment_with(package: Path) -> dict[str, str]:
    """The variables of commands that use the package; decoded images, and the sentence of a refusal, go where they are not saved."""
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    scratch, refusal = Path(tempfile.gettempdir()), Path(tempfile.mkdtemp()) / "refusal.txt"
    kept = {"DDPM_CACHE": str(scratch / "ddpm_cache"), "PYTHONPYCACHEPREFIX": str(scratch / "pycache")}
    return {**kept, **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "DDPM_REFUSAL": str(refusal)}


def check_machine(environment: dict[str, str]) -> int:
    """Refuse a machine that lacks the device or fails a real computation on it; returns the number of GPUs. Takes seconds."""
    say(f"{JOB['job']} to epoch {JOB['epochs']}, chain {CHAIN}")
    command = [sys.executable, "-m", "ddpm_utils", "doctor", "--json", "--out", str(WORKING)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    print(done.stderr, end="", flush=True)
    try:
        looked = json.loads(done.stdout)
    except ValueError:
        print(done.stdout, flush=True)
        words = last_words(done.stderr.splitlines(), environment)
        raise Refused("machine", f"the look at the machine failed with exit code {done.returncode}: {words}") from None
    for finding in looked["findings"]:
        say(f"{finding['what']}: {finding['found']}")
    if problems := [finding["problem"] for finding in looked["findings"] if finding["problem"]]:
        raise Refused("machine", problems[-1])
    gpus = looked["devices"].get("cuda", 0)
    if JOB["train"].get("device") == "cuda" and gpus == 0:
        raise Refused(
            "no gpu",
            "this session has no GPU: Kaggle lends none without a verified phone number, and none once the week's hours are used up",
        )
    return gpus


def run(command: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """A command's exit code and its lines, once it has ended; they go into the log."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print(done.stdout, flush=True)
    return done.returncode, done.stdout.splitlines()


def mounted(name: str) -> list[Path]:
    """Everything called `name` below the inputs, the shallowest first, however Kaggle mounts them."""
    return [path for depth in range(MOUNT_DEPTH) for path in sorted(INPUT.glob("*/" * depth + name))]


def take_up_chain() -> list[dict] | None:
    """Copy the run of this chain's latest session from the inputs into the working folder; returns the sessions so far.

    None where no session is mounted, and none was asked for. Raises Refused where the mounted ones are of another chain, where one was asked
    for and there is none, or where its newest state is not what that session wrote.
    """
    chains = {path: status for path in mounted("status.json") if "chain" in (status := read_status(path))}  # the others are of single runs
    if not chains and not JOB["resume"]:
        return None
    own = [path for path, status in chains.items() if status["chain"] == CHAIN]
    if not own:
        found = ", ".join(f"{status['chain']!r} in {str(path.parent)!r}" for path, status in chains.items()) or "no session of any chain"
        raise Refused(
            "foreign checkpoint" if chains else "no checkpoint",
            f"there is no checkpoint of chain {CHAIN!r} in {str(INPUT)!r} to go on from, found {found}; "
            "push with the kernel's own latest output as a source, or begin anew without resuming",
        )
    newest = max(own, key=lambda path: chains[path]["step"])
    before = chains[newest]
    if before["state"] is None:
        raise Refused(
            "damaged checkpoint",
            f"session {before['session']} of chain {CHAIN!r} in {str(newest.parent)!r} left no checkpoint; begin anew without resuming",
        )
    for name, about in before["files"].items():
        path = newest.parent / name
        if not path.is_file() or path.stat().st_size != about["bytes"] or digest(path) != about["sha256"]:
            raise Refused(
                "damaged checkpoint",
                f"{str(path)!r} is missing or damaged: it isn't what session {before['session']} wrote; mount its whole output",
            )
    carry_forward(newest.parent / "run")
    say(f"going on from epoch {before['epoch']:g}, {before['state']} of session {before['session']} in {newest.parent}")
    return before["history"]


def carry_forward(run: Path) -> None:
    """Copy a mounted run: only what the latest session saves is there for the next one."""
    for path in sorted(run.rglob("*")):
        target = RUN / path.relative_to(run)
        if path.is_file() and path.name not in ("status.json", ".lock"):  # of the session before: train writes its own once it begins
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)  # without the modes: inputs are read-only


def prepared_data(environment: dict[str, str]) -> str | Path:
    """The folder to train on, found by the names that it holds. Pairs that prepare-pairs has not seen yet are cut into scratch space.

    A job of pairs that names one folder alone has photographs of garments there: their folds make the pairs. One without a data set trains on
    what it draws, where it says what that is.
    """
    if not JOB["dataset_sources"] and JOB["drawn"]:
        return JOB["drawn"]
    if JOB["pairs"] and (prepared := mounted("split.json")):
        say(f"prepared pairs in {prepared[0].parent}")
        return prepared[0].parent
    names, train = JOB["contains"], JOB["train"]
    holders = [path.parent for path in mounted(names[0]) if all((path.parent / name).exists() for name in names)]
    if not holders:
        sources = ", ".join(JOB["dataset_sources"]) or "none"
        raise Refused("no data", f"no folder in {str(INPUT)!r} holds {' and '.join(names)}; check the job's data set (sources: {sources})")
    say(f"data in {holders[0]}")
    if not JOB["pairs"]:
        return holders[0]
    pairs = Path(tempfile.mkdtemp(prefix="pairs-"))
    if len(names) == 1:
        masks = tempfile.mkdtemp(prefix="masks-")
        fold = [holders[0], masks, pairs, "--n", JOB["images"], "--size", train["img-size"]]
        commands = {"cloth-masks": [holders[0], masks], "fold-pairs": fold}
    else:
        options = ["--size", train["img-size"], "--memory", 8, *(["--skip-broken"] if train.get("skip-broken") else [])]
        commands = {"prepare-pairs": [*(holders[0] / name for name in names), pairs, *options]}
    for command, words in commands.items():
        code, lines = run([sys.executable, "-m", "ddpm_utils", command, *map(str, words)], environment)
        if code:
            raise refusal_of(command, lines, environment)
    return pairs


def training_command(data: str | Path, gpus: int, resume: bool) -> list[str]:
    """`python -m ddpm_utils train …` in as many processes as there are GPUs, with what is left of this session's hours."""
    left = JOB["max_hours"] - hours()
    if left <= 0:
        raise Refused("no time", f"starting took {hours():.4f} hours, the session may take {JOB['max_hours']:g}; raise max_hours")
    count = JOB["processes"] or max(1, gpus)
    several = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(count)]
    words = [sys.executable, *(several if count > 1 else []), "-m", "ddpm_utils", "train", "--data-path", str(data), "--out", str(RUN)]
    words += ["--epochs", str(JOB["epochs"]), "--max-hours", f"{left:.6f}", "--max-disk-gb", str(JOB["max_disk_gb"])]
    for name, value in JOB["train"].items():
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{name}", *map(str, values)] if value is not False else []
    return words + (["--resume"] if resume else [])


def last_words(lines: list[str], environment: dict[str, str]) -> str:
    """The sentence with which a command refused its input, which it leaves in the file $DDPM_REFUSAL, or the last of these lines."""
    refusal = Path(environment.get("DDPM_REFUSAL", os.devnull))
    said = [refusal.read_text()] if refusal.is_file() else []
    return (said or lines or ["it ended without a word"])[-1]


def refusal_of(command: str, lines: list[str], environment: dict[str, str]) -> Exception:
    """What to raise for a command that ended before it did anything: Refused if it refused its input, which it would do again."""
    words = last_words(lines, environment)
    refused = Path(environment.get("DDPM_REFUSAL", os.devnull)).is_file()
    return Refused("input", words) if refused else OSError(f"{command} ended before it began: {words}")


# --- training ---


def watched(command: list[str], environment: dict[str, str]) -> tuple[list[str], int]:
    """Run training beside a look at the clock and the disk; returns its last lines and the most bytes that the working folder held.

    Training that passes its own limit by far is ended by force, so that this session still has time to conclude.
    """
    say(" ".join(command))
    slack, peak = JOB["session_hours"] - JOB["max_hours"], 0
    deadlines = [JOB["max_hours"] + slack / 3, JOB["max_hours"] + slack * 2 / 3]
    log = Path(tempfile.mkdtemp()) / "training.log"  # a file, because nobody waits for a file's other end
    with open(log, "wb") as sink, open(log, errors="replace") as lines:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # training saves and stops
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                print(lines.read(), end="", flush=True)
                peak = max(peak, working_bytes())
                if deadlines and hours() > deadlines[0]:
                    deadlines.pop(0)
                    say(f"training has not ended after {hours():.2f} hours; {'asking it to' if deadlines else 'ending it'}")
                    process.terminate() if deadlines else process.kill()
        finally:
            process.wait()
        print(lines.read(), end="", flush=True)
    return log.read_text(errors="replace").splitlines()[-40:], max(peak, working_bytes())


def working_bytes() -> int:
    """Bytes of all files in the working folder, also while some of them come and go."""
    total = 0
    for folder, _, names in os.walk(WORKING):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


# --- after training ---


def conclude(history: list[dict], tail: list[str], peak_bytes: int) -> dict:
    """Write report.html and status.json; returns what the latter says."""
    status = run_status(tail)
    this = {"session": SESSION or len(history) + 1, **{k: status[k] for k in ("status", "cause", "reason", "epoch")}}
    this |= {"hours": round(hours(), 5), "peak_disk_gb": round(peak_bytes / 1e9, 4)}
    states = sorted(RUN.glob("state-*.pt"))
    model = RUN / "model.safetensors"
    kept = [*states, *([model] if model.is_file() else [])]
    about = {
        "chain": CHAIN,
        "job": JOB["job"],
        **this,
        "epochs": status["epochs"],
        "step": status["step"],
        "steps": status["steps"],
        "total_hours": round(sum(s["hours"] for s in [*history, this]), 5),
        "state": f"run/{states[-1].name}" if states else None,
        "model": "run/model.safetensors" if model.is_file() else None,
        "files": {f"run/{path.name}": {"bytes": path.stat().st_size, "sha256": digest(path)} for path in kept},
        "package_sha256": PACKAGE_SHA256,
        "history": [*history, this],
    }
    write(WORKING / "status.json", json.dumps(about, indent=2))
    write(WORKING / "report.html", report(about, RUN))
    return about


def run_status(tail: list[str]) -> dict:
    """What training says of itself, or, where it died, what its files and its last words say; with a "cause" of CAUSES."""
    status = json.loads((RUN / "status.json").read_text())
    status["cause"] = CAUSE_OF[status["status"]]
    if status["cause"] == "died":
        step = max((int(path.stem.removeprefix("state-")) for path in RUN.glob("state-*.pt")), default=0)
        epoch = round(step * status["epochs"] / status["steps"], 3)
        status |= {"status": "failed", "step": step, "epoch": epoch, "reason": f"training died: {' | '.join(tail[-3:])[-500:]}"}
    return status


if __name__ == "__main__":
    sys.exit(main())
