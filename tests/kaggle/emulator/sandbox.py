"""One session: the text of a kernel, executed for real in a folder of its own, and killed where Kaggle would kill it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ddpm_utils.runtime.files import folder_bytes

ISOLATE = Path(__file__).with_name("isolate.py")
RUN_NOTEBOOK = Path(__file__).with_name("run_notebook.py")
TIMEOUT = "Your notebook was stopped because it exceeded the max allowed execution duration."
DISK = "Your notebook tried to use more disk space than is available."
OWN_FILES = ("__script__.py", "__results__.html", "__output__.json", "custom.css")  # what Kaggle adds to the output of a kernel


@dataclass(frozen=True)
class Kernel:
    """What is executed: `prefix` and then the text, or what stands in for it; a notebook cell by cell."""

    text: str
    kind: str = "script"
    prefix: str = ""
    stand_in: Path | None = None

    def command(self, folder: Path) -> list[str]:
        """Write the kernel into the folder; returns what to run."""
        kernel, script = folder / "kernel.py", folder / "script.py"
        if self.kind == "notebook" and self.stand_in is None:
            (folder / "notebook.ipynb").write_text(self.text)
            return [sys._base_executable, "-u", str(RUN_NOTEBOOK), str(folder / "notebook.ipynb")]
        kernel.write_text(self.text)
        stand_in = "" if self.kind == "notebook" else self.stand_in and self.stand_in.read_text()
        script.write_text(f"{self.prefix}\n{self.text if stand_in is None else stand_in}")
        return [sys._base_executable, "-u", str(script), *([str(kernel)] if self.stand_in else [])]


@dataclass
class Sandbox:
    """input/ is read-only, working/ is what is kept, scratch/ is /tmp."""

    folder: Path
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    log: list[dict] = field(default_factory=list)
    peak_bytes: int = 0
    cancelled: bool = False

    def __post_init__(self):
        for name in ("input", "working", "scratch", "src"):
            (self.folder / name).mkdir(parents=True)

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started

    def mount(self, where: str, source: Path) -> Path:
        """Give the kernel a copy of `source` at input/`where`; returns the copy."""
        return Path(shutil.copytree(source, self.folder / "input" / where))

    def run(self, kernel: Kernel, seconds: float, working_bytes: int, *, internet: bool = False, gpus: int = 0) -> tuple[str, str]:
        """Execute a kernel until it ends or breaks a rule; returns (status, failure message) in Kaggle's words.

        gpus: what stand-ins believe to have; a real kernel looks for itself.
        """
        before = listing(self.folder / "input")
        isolate = [str(ISOLATE), str(self.folder / "isolation.json"), str(self.folder / "input"), "internet" if internet else "alone"]
        process = subprocess.Popen(
            [sys._base_executable, "-I", *isolate, *kernel.command(self.folder / "src")],
            cwd=self.folder / "working",
            env=environment(self.folder) | {"EMULATED_GPUS": str(gpus)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        readers = [threading.Thread(target=self._read, args=pair) for pair in (("stdout", process.stdout), ("stderr", process.stderr))]
        for reader in readers:
            reader.start()
        verdict = self._watch(process, seconds, working_bytes)
        process.wait()
        for reader in readers:
            reader.join()
        self.ended = time.monotonic()
        if listing(self.folder / "input") != before:
            return "ERROR", "the kernel wrote into its inputs"
        return verdict or (("COMPLETE", "") if process.returncode == 0 else ("ERROR", ""))

    def _watch(self, process: subprocess.Popen, seconds: float, working_bytes: int) -> tuple[str, str] | None:
        """Wait for the end; (status, message) if the kernel had to be killed."""
        while process.poll() is None:
            used = folder_bytes(self.folder / "working")
            self.peak_bytes = max(self.peak_bytes, used)
            broken = [
                ("CANCEL_ACKNOWLEDGED", "") if self.cancelled else None,
                ("ERROR", DISK) if used > working_bytes else None,
                ("CANCEL_ACKNOWLEDGED", TIMEOUT) if self.seconds > seconds else None,
            ]
            for verdict in filter(None, broken):
                kill_tree(process.pid)
                return verdict
            time.sleep(0.01)
        return None

    def _read(self, stream: str, pipe) -> None:
        for line in pipe:
            self.log.append({"stream_name": stream, "time": round(self.seconds, 3), "data": line})

    @property
    def isolation(self) -> dict:
        """What was taken from the kernel, as isolate.py notes it."""
        return json.loads((self.folder / "isolation.json").read_text())


def environment(folder: Path) -> dict[str, str]:
    """What a kernel finds in its environment: packages, but neither this repository nor any secret.

    The packages come by PYTHONPATH into the interpreter below the virtual environment: so no .pth file is read, and what is installed
    in editable form, as this repository is, isn't there.
    """
    packages = [p for p in sys.path if p.endswith("site-packages")]
    return {
        "PATH": os.defpath,
        "HOME": str(folder / "scratch"),
        "TMPDIR": str(folder / "scratch"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(packages),
        "OMP_NUM_THREADS": "1",
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "KAGGLE_INPUT_ROOT": str(folder / "input"),
        "KAGGLE_WORKING_ROOT": str(folder / "working"),
        **{name: os.environ[name] for name in ("DDPM_PROFILE",) if name in os.environ},
    }


def listing(folder: Path) -> dict[str, tuple]:
    """Name, size and time of each file, to see whether one changed."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started, in whatever groups they are."""
    process = psutil.Process(pid)
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
