"""Kernels that build.py makes, executed in an empty folder without network and without this repository."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from bare_python import bare_environment
from drawn_garments import photograph
from PIL import Image

KAGGLE = Path(__file__).parents[2] / "kaggle"
JOBS = sorted(p.parent.name for p in KAGGLE.glob("*/job.toml"))
LAYOUTS = ("{slug}", "datasets/{owner}/{slug}", "notebooks/{owner}/{slug}")
NOT_ON_KAGGLE = ("mlxtend", "kagglehub", "diffusers", "ipywidgets", "IPython", "pytest")  # or not surely
SECRET = "5f0c1e-not-for-anyone"
SMALL = {
    **{"device": "cpu", "precision": "fp32", "img-size": 8, "width": 8, "multipliers": [1], "blocks": 1, "batch-size": 4},
    **{"timesteps": 20, "log-every": 1, "sample-every": 0, "warmup": 0, "attention": [8]},
}


def module(name):
    spec = importlib.util.spec_from_file_location(f"kaggle_{name}", KAGGLE / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


sys.path.insert(0, str(KAGGLE))
build, outcomes = module("build"), module("outcomes")


class Session:
    """A folder that looks like /kaggle, and what a kernel did in it."""

    def __init__(self, root, python, job="ddpm-cars", earlier=None, layout=LAYOUTS[0], images=8, **options):
        self.input, self.working, scratch = (root / name for name in ("input", "working", "scratch"))
        for folder in (self.input, self.working, scratch):
            folder.mkdir(parents=True)
        if options.get("dataset") == "agrigorev/clothing-dataset-full":
            write_garments(self.input / layout.format(owner="agrigorev", slug="clothing-dataset-full"))
        elif job == "wrinkle-removal":
            write_pairs(self.input / layout.format(owner="alice", slug="pairs"))
        else:
            cars = self.input / layout.format(owner="jessicali9530", slug="stanford-cars-dataset")
            write_images(cars / "cars_train" / "cars_train", images)
        if earlier is not None:
            shutil.copytree(earlier, self.input / layout.format(owner="alice", slug=job))
        overrides = {**SMALL, **options.pop("overrides", {})}
        folder = build.build_job(job, "alice", root / "built", resume=earlier is not None, overrides=overrides, **options)
        shutil.move(folder / "kernel.py", self.working.parent / "script.py")
        environment = bare_environment(
            KAGGLE_INPUT_ROOT=str(self.input), KAGGLE_WORKING_ROOT=str(self.working), TMPDIR=str(scratch), KAGGLE_KEY=SECRET
        )
        done = subprocess.run([python, root / "script.py"], cwd=self.working, env=environment, capture_output=True, text=True, timeout=300)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def status(self):
        return json.loads((self.working / "status.json").read_text())

    def files(self):
        return sorted(p.relative_to(self.working).as_posix() for p in self.working.rglob("*") if p.is_file())


def write_images(folder, n):
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(pixels.integers(0, 255, (10, 12, 3), dtype=np.uint8)).save(folder / f"{i:05d}.jpg")


def write_pairs(folder):
    """Four rough pictures, and the same with a smooth middle."""
    pixels = np.random.default_rng(0)
    for i in range(4):
        source = pixels.integers(0, 255, (48, 48, 3), dtype=np.uint8)
        target = source.copy()
        target[8:40, 8:40] = source[8:40, 8:40].mean((0, 1))
        for name, picture in (("CRHD-3K_src", source), ("CRHD-3K_gt", target)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name / f"{i}.png")


def write_garments(folder):
    """Photographs of shirts with folds, on the floor, as the public data set of clothes lays them out."""
    (folder / "images_compressed").mkdir(parents=True)
    for i, name in enumerate(["1a", "2b", "3c"]):
        photograph(i)[0].save(folder / "images_compressed" / f"{name}.jpg", quality=92)
    rows = [f"{name},1,Shirt,False" for name in ("1a", "2b", "3c")]
    (folder / "images.csv").write_text("\n".join(["image,sender_id,label,kids", *rows]))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
