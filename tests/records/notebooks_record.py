"""Every notebook, as `build.py notebooks` makes it, by "Run all" in the versions of Kaggle and of Colab. `make notebooks-record`.

    python tests/records/notebooks_record.py kaggle --python python3.12
    python tests/records/notebooks_record.py colab --python python3.13

Kaggle's set finds the package in an attached data set, whose archive was unpacked, and is read-only; Colab's fetches the tag from a clone, of a
repository on this machine. Both run in an empty folder, by papermill, without a network, in the tiny profile. Nothing is installed meanwhile:
the packages are listed before and after. A set's part of tests/records/notebooks.md is written anew, the other's is kept.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "kaggle"), str(ROOT / "tests" / "kaggle")]

import course_notebooks
from emulator.datasets import unpack

HERE = Path(__file__).parent
RECORD = HERE / "notebooks.md"
ISOLATE = ROOT / "tests/kaggle/emulator/isolate.py"
SHOWN = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "matplotlib",
    "mlxtend",
    "ipywidgets",
    "ipython",
    "ipykernel",
    "papermill",
)


def environment_of(name: str, python: str) -> Path:
    """The Python of a virtual environment with exactly the set's packages, made in build/sets if it isn't there."""
    folder = ROOT / "build" / "sets" / name
    if not (folder / "installed").exists():
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "-r", HERE / "sets" / f"{name}.txt"], check=True)
        (folder / "installed").touch()
    return folder / "bin" / "python"


def packages(python: Path) -> dict[str, str]:
    """What is installed: {name: version}."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True).stdout
    return {package["name"].lower(): package["version"] for package in json.loads(listed)}


def attached(folder: Path) -> Path:
    """Kaggle's inputs with the data set, as the server lays them: its archive unpacked."""
    built = course_notebooks.build_dataset("alice", folder / "dataset")
    mounted = folder / "input" / "datasets" / "alice" / course_notebooks.PACKAGE
    mounted.mkdir(parents=True)
    shutil.make_archive(str(mounted / "ddpm_utils"), "zip", built / "ddpm_utils")
    unpack(mounted)
    return folder / "input"


def published(folder: Path, tag: str) -> str:
    """The address of a repository with this commit under the tag."""
    target = folder / "course.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, target], check=True)
    subprocess.run(["git", "-C", target, "tag", "--force", tag, "HEAD"], check=True, capture_output=True)
    return f"file://{target}"


def run_all(python: Path, notebook: Path, inputs: Path, folder: Path) -> tuple[float, str]:
    """(seconds, "" or what went wrong) of one notebook."""
    (folder / "scratch").mkdir(parents=True)
    (folder / "working").mkdir()
    command = [sys.executable, ISOLATE, folder / "note.json", inputs, "alone", python, "-m", "papermill", "--no-progress-bar"]
    environment = {
        **{"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "DDPM_PROFILE": "tiny"},
        **{"HOME": str(folder / "scratch"), "TMPDIR": str(folder / "scratch"), "KAGGLE_INPUT_ROOT": str(inputs)},
    }
    started = time.monotonic()
    done = subprocess.run(
        [*command, "-k", "python3", notebook, folder / "out.ipynb"], cwd=folder / "working", env=environment, capture_output=True, text=True
    )
    return time.monotonic() - started, "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=("kaggle", "colab"))
    parser.add_argument("--python", default=sys.executable, help="the interpreter that the set has")
    args = parser.parse_args()
    python = environment_of(args.set, args.python)
    before = packages(python)
    version = subprocess.run([python, "-V"], capture_output=True, text=True).stdout.split()[1]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inputs = attached(folder) if args.set == "kaggle" else folder / "nothing"
        inputs.mkdir(exist_ok=True)
        rows, wrong = [], 0
        for notebook in course_notebooks.build_notebooks(folder / "notebooks"):
            if args.set == "kaggle" and not notebook.name[0].isdigit():  # the others are for Colab
                continue
            if args.set == "colab":
                text = notebook.read_text().replace(
                    f"https://github.com/{course_notebooks.course.address()}",
                    published(folder / notebook.stem, course_notebooks.course.tag()),
                )
                notebook.write_text(text)
            seconds, problem = run_all(python, notebook, inputs, folder / "runs" / notebook.stem)
            wrong += bool(problem)
            rows.append(f"| {notebook.stem} | {notebook.stat().st_size:,} | {seconds:.0f} | {problem or 'all cells'} |")
            print(rows[-1], flush=True)
    same = "yes" if packages(python) == before else "NO"
    how = "the package from an attached data set" if args.set == "kaggle" else "the package from the tag, cloned by the set-up cell"
    part = [
        f"## {args.set}: Python {version}, {', '.join(f'{name} {before[name]}' for name in SHOWN)}",
        "",
        f"{how[0].upper() + how[1:]}; the same packages installed before and after: {same}.",
        "",
        "| notebook | bytes | seconds | ran |",
        "|---|---:|---:|---|",
        *rows,
    ]
    write(args.set, "\n".join(part))
    return 1 if wrong or same == "NO" else 0


def write(name: str, part: str) -> None:
    """Put a set's part into the record, beside the others'."""
    old = RECORD.read_text() if RECORD.exists() else ""
    parts = {re.match(r"## (\w+)", text)[1]: text.strip() for text in re.split(r"(?m)^(?=## )", old)[1:]} | {name: part}
    head = "# Notebooks record\n\nEvery notebook as `build.py notebooks` makes it, run in the versions of each place: `make notebooks-record`.\n\n"
    RECORD.write_text(head + "\n\n".join(parts[key] for key in sorted(parts)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
