"""One session of a training job on Kaggle: look at the machine, find the data, go on where the chain stopped, train, report.

kaggle/build.py fills in the constants, and the package where it doesn't lie in an attached data set. Exit code 1: refused before training, so
that nothing is lost; a line of the log says why, for programs in its field "cause" (see REFUSALS), because a failed session leaves no files.
Once training has begun the exit code is 0 whatever happens, because Kaggle throws away what a failed session wrote: status.json says how it
ended, for programs in its fields "status" and "cause" (see CAUSES), for people in "reason".
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


STARTED = time.monotonic()  # Kaggle's clock runs from here, not from the first training step

CHAIN = "wrinkle-removal-d2e55866af76"
SESSION = 0
JOB = {'job': 'wrinkle-removal', 'pairs': True, 'drawn': 'wrinkles:4000', 'processes': 0, 'contains': ['CRHD-3K_src', 'CRHD-3K_gt'], 'epochs': 100, 'images': 4000, 'classes': 0, 'max_hours': 11.0, 'session_hours': 12.0, 'max_disk_gb': 19.0, 'machine_shape': 'NvidiaTeslaT4', 'gpus': 2, 'tflops': [5, 10], 'train': {'device': 'cuda', 'form': 'resshift', 'img-size': 256, 'patch': 2, 'width': 64, 'multipliers': [1, 2, 2, 4], 'blocks': 2, 'lr': 0.0002, 'ema-decay': 0.999, 'sample-every': 1000, 'batch-size': 32, 'accumulate': 2}, 'dataset_sources': [], 'resume': False, 'accelerator': 't4'}

INPUT = Path(os.environ.get("KAGGLE_INPUT_ROOT", "/kaggle/input"))
WORKING = Path(os.environ.get("KAGGLE_WORKING_ROOT", "/kaggle/working"))
RUN = WORKING / "run"  # what `python -m ddpm_utils train` writes
MOUNT_DEPTH = 6  # /kaggle/input/datasets/OWNER/SLUG and a few folders inside
POLL_SECONDS = 1.0


def main() -> int:
    """The whole session; returns the exit code."""
    try:
        environment = environment_with(unpack_ddpm_utils() if PACKAGE_SHA256 else attached_package())
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


def attached_package() -> Path:
    """The folder of an attached data set that holds ddpm_utils, as `build.py dataset` writes it."""
    found = mounted("ddpm_utils/schedules.py")
    if not found:
        raise Refused(
            "no package", f"ddpm_utils is in none of the data sets in {str(INPUT)!r}; attach the one that `build.py dataset` writes"
        )
    say(f"ddpm_utils in {found[0].parents[1]}")
    return found[0].parents[1]


def environment_with(package: Path) -> dict[str, str]:
    """The variables of commands that use the package; decoded images, and the sentence of a refusal, go where they are not saved."""
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    cache, refusal = Path(tempfile.gettempdir()) / "ddpm_cache", Path(tempfile.mkdtemp()) / "refusal.txt"
    return {"DDPM_CACHE": str(cache), **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "DDPM_REFUSAL": str(refusal)}


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

    A job without a data set trains on what it draws, where it says what that is.
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
    folders = [str(holders[0] / name) for name in names]
    options = ["--size", str(train["img-size"]), "--memory", "8", *(["--skip-broken"] if train.get("skip-broken") else [])]
    code, lines = run([sys.executable, "-m", "ddpm_utils", "prepare-pairs", *folders, str(pairs), *options], environment)
    if code:
        raise refusal_of("prepare-pairs", lines, environment)
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


"""How sessions end, in words that programs decide by: the kernel writes them, chain.py reads them. kaggle/build.py puts this text into kernels."""

import json
from pathlib import Path

# Why a session ended, a closed set: the field "cause" of status.json, which chain.py decides by.
CAUSES = {
    "done": "all epochs are trained",
    "stopped": "a limit or a signal ended it cleanly before that; the next session goes on",
    "diverged": "the loss is no longer a number, which another try would meet again",
    "died": "the training process was killed or crashed, which another try may not meet",
}
CAUSE_OF = {"done": "done", "stopped": "stopped", "failed": "diverged", "running": "died"}  # by the "status" that train left in run/

# Why a session doesn't train at all, a closed set as well: the field "cause" of a line of the log that begins with REFUSED.
REFUSED = "refused: "
REFUSALS = {
    "no gpu": "the job needs a GPU, the session has none",
    "machine": "a look at the machine found a fault, which another machine may not have",
    "no package": "ddpm_utils is neither in the kernel nor in an attached data set",
    "no data": "no attached data set holds what the job trains on",
    "no checkpoint": "the session should go on from an earlier one, and finds none",
    "foreign checkpoint": "the earlier session that it finds is of another chain",
    "damaged checkpoint": "the earlier session's files are not what it wrote, or it left none",
    "input": "training refuses its images or its settings",
    "no time": "the session's hours were over before training began",
}


class Refused(Exception):
    """A reason not to train, found before training. cause: a word of REFUSALS."""

    def __init__(self, cause: str, text: str):
        super().__init__(text)
        self.cause = cause


def read_status(path: Path) -> dict:
    """What a status.json says, which may also be a stranger's, or damaged."""
    try:
        status = json.loads(path.read_text())
    except ValueError:
        return {"chain": "a damaged status.json"}
    return status if isinstance(status, dict) else {}


"""What a session leaves for people: report.html, one page with the loss, the latest samples and the sessions so far.

kaggle/build.py puts this text into kernels.
"""

import html
from base64 import b64encode
from hashlib import file_digest
from pathlib import Path


def report(about: dict, run: Path) -> str:
    """The page, which needs no other file. about: what status.json says; run: the folder with loss.png and samples/."""
    pictures = [(run / "loss.png", "training loss over the steps"), *((p, p.stem) for p in sorted(run.glob("samples/*.png"))[-1:])]
    shown = "".join(
        f'<h2>{html.escape(words)}</h2><img alt="{html.escape(words)}" src="data:image/png;base64,{b64encode(path.read_bytes()).decode()}">'
        for path, words in pictures
        if path.is_file()
    )
    columns = ("session", "status", "epoch", "hours", "peak_disk_gb", "reason")
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(str(s[c]))}</td>" for c in columns) + "</tr>" for s in about["history"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(about["chain"])}</title>'
        "<style>body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td,th{padding:.2em .8em;text-align:left}"
        "img{max-width:100%}</style>"
        f"<h1>{html.escape(about['job'])}: {about['status']} at epoch {about['epoch']:g} of {about['epochs']}</h1>"
        f"<p>Chain {html.escape(about['chain'])}, {about['total_hours']:.2f} hours so far.</p>"
        f"<table><tr>{''.join(f'<th>{c}</th>' for c in columns)}</tr>{rows}</table>{shown}</html>"
    )


def write(path: Path, text: str) -> None:
    """Write a file so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def digest(path: Path) -> str:
    """A file's SHA-256."""
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


"""Takes ddpm_utils out of the text of the file that carries it: kaggle/build.py puts this, filled, into kernels and standalone notebooks."""

import base64
import hashlib
import io
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE_SHA256 = ""
PACKAGE = ""


def unpack_ddpm_utils() -> Path:
    """Unpack the embedded package into a scratch folder, which Python then imports from; returns the folder."""
    data = base64.b64decode(PACKAGE)
    if hashlib.sha256(data).hexdigest() != PACKAGE_SHA256:
        raise ValueError("the copy of ddpm_utils inside this file is damaged (its SHA-256 is another); build or download the file again")
    folder = Path(tempfile.mkdtemp(prefix="ddpm_utils-"))
    zipfile.ZipFile(io.BytesIO(data)).extractall(folder)
    sys.path.insert(0, str(folder))
    return folder


if __name__ == "__main__":
    sys.exit(main())
