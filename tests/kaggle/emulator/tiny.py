"""A job that takes seconds, its data set, and run.py as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from emulator.server import Emulator

ROOT = Path(__file__).resolve().parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")
DATASET = "bob/tiny-pictures"
KEY = "0123456789abcdef-a-key-that-must-not-be-seen"
JOB = """
contains = ["pictures"]
epochs = 100
images = 24
classes = 0
max_hours = 0.1
session_hours = 0.2
max_disk_gb = 0.1

[train]
device = "cpu"
precision = "fp32"
img-size = 4
timesteps = 20
width = 8
multipliers = [1]
blocks = 1
batch-size = 8
sample-every = 0
log-every = 25

[accelerator.t4]
machine_shape = "NvidiaTeslaT4"
gpus = 2
tflops = [5, 10]
train = {}

[accelerator.p100]
machine_shape = "NvidiaTeslaP100"
gpus = 1
tflops = [3, 5]
train = {}
"""

ONCE_TRAINING = """
import os, threading, time
def mishap():
    while not os.path.exists(os.path.join(os.environ["KAGGLE_WORKING_ROOT"], "run", "status.json")):
        time.sleep(0.02)
{}
threading.Thread(target=mishap, daemon=True).start()
"""
FILLS_DISK = ONCE_TRAINING.format("""
    with open(os.path.join(os.environ["KAGGLE_WORKING_ROOT"], "ballast"), "wb") as file:
        while True:
            file.write(bytes(1_000_000))
            time.sleep(0.01)
""")
FAILS = ONCE_TRAINING.format("    print('RuntimeError: injected', flush=True); os._exit(1)")
TRAINING_DIES = ONCE_TRAINING.format("""
    import psutil
    [child.kill() for child in psutil.Process().children() if "train" in child.cmdline()]
""")


def make_job(folder: Path) -> Path:
    """A job of 100 epochs on 24 pictures of 8 x 8, cut to 4 x 4."""
    folder.mkdir(parents=True)
    (folder / "job.toml").write_text(JOB)
    metadata = json.loads((ROOT / "kaggle" / "ddpm-cars" / "kernel-metadata.json").read_text())
    metadata |= {"id": "OWNER/tiny-job", "title": "tiny-job", "dataset_sources": [DATASET]}
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata))
    return folder


def make_pictures(folder: Path) -> Path:
    """The data set that the job asks for."""
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "pictures" / f"{i}.png")
    return folder


def environment(kaggle: Emulator, home: Path) -> dict[str, str]:
    """For the client and run.py in processes of their own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "OMP_NUM_THREADS": "1", **kaggle.environment(home)}


def start_runner(kaggle: Emulator, job: Path, out: Path, *extra: str) -> subprocess.Popen:
    """run.py, begun."""
    command = [sys.executable, str(ROOT / "kaggle" / "run.py"), str(job), "--out", str(out), "--poll", "0.1", *extra]
    return subprocess.Popen(
        command, env=environment(kaggle, out.parent), cwd=out.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def leaks(key: str, kaggle: Emulator, *folders: Path) -> list[str]:
    """Where the key can be read: in files, in what was pushed, in logs."""
    found = [str(p) for folder in folders for p in folder.rglob("*") if p.is_file() and key.encode() in p.read_bytes()]
    found += [method for method, request in kaggle.calls if key in str(request)]
    return found + [f"log of {v.number}" for versions in kaggle.account.kernels.values() for v in versions if key in str(v.sandbox.log)]


def state_of(out: Path) -> dict:
    """chain.json."""
    return json.loads((out / "chain.json").read_text())
