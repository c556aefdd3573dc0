"""The course for Kaggle: a data set that holds the package with its models, and the notebooks, small enough for Kaggle, that find it there.

Kaggle takes a source of less than a million bytes, so that outputs and weights can't travel inside a notebook.
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
from build import ROOT, check_owner
from carrier import PARTS

from ddpm_utils import __version__
from ddpm_utils.errors import InputError

sys.path.append(str(ROOT / "notebooks" / "tools"))
import course

PACKAGE = "ddpm-utils"  # the data set's name on Kaggle
MOST_BYTES = 900_000  # of a notebook; Kaggle refuses 1,000,000
CARRIED = (".py", ".safetensors", ".toml", ".jsonl")
TARGET = r"\((\.\./[\w./-]*|\w+\.ipynb)(#[\w-]*)?\)"  # of a link to a file of the repository; code like f[0](x) is none


# --- the data set ---


def package_files() -> dict[str, Path]:
    """What the data set carries, by name: the code, the shipped models with their recipes and logs, and what a session of a job runs."""
    package = [path for path in sorted((ROOT / "ddpm_utils").rglob("*")) if path.suffix in CARRIED]
    kernel = [ROOT / "kaggle" / f"{part}.py" for part in ("kernel", *PARTS)]
    return {path.relative_to(ROOT).as_posix(): path for path in package} | {f"kaggle_kernel/{path.name}": path for path in kernel}


def content_id() -> str:
    """Names the data set's content: the package's version, and a digest of all its files."""
    digest = hashlib.sha256()
    for name, path in package_files().items():
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return f"{__version__}-{digest.hexdigest()[:12]}"


def build_dataset(owner: str, out: Path) -> Path:
    """Write a folder for `kaggle datasets create -p DIR --dir-mode zip`; returns it.

    Its subtitle holds `content_id`. Raises InputError for a wrong owner, and for a folder that holds something else.
    """
    check_owner(owner)
    out, metadata = Path(out), Path(out) / "dataset-metadata.json"
    if (out / "ddpm_utils").exists() and not metadata.is_file():
        raise InputError(f"{str(out)!r} holds a ddpm_utils that is no data set; use another --out")
    for folder in ("ddpm_utils", "kaggle_kernel"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for name, path in package_files().items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    about = {
        "title": PACKAGE,
        "id": f"{owner}/{PACKAGE}",
        "subtitle": f"Denoising diffusion: package and models, {content_id()}",
        "licenses": [{"name": "MIT"}],
    }
    metadata.write_text(json.dumps(about, indent=2) + "\n")
    return out


# --- the notebooks ---


def build_notebooks(out: Path) -> list[Path]:
    """Write every notebook without outputs, with links that lead to the repository's address; returns the files.

    Raises InputError for one that is too large for Kaggle.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    return [built_notebook(path, out / path.name) for path in course.all_notebooks()]


def built_notebook(path: Path, target: Path) -> Path:
    """One of them."""
    notebook = nbformat.read(path, as_version=4)
    course.address_it(notebook, path.name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = linked(cell.source)
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) >= MOST_BYTES:
        raise InputError(
            f"{path.name} has {len(text.encode()):,} bytes without its outputs, {MOST_BYTES:,} are too many for Kaggle; shorten it"
        )
    target.write_text(text)
    return target


def linked(text: str) -> str:
    """Markdown whose links to files of the repository lead to its address; where it has none yet, only their words are left."""
    if course.is_placeholder():
        return re.sub(rf"\[([^\[\]]*)\]{TARGET}", r"\1", text)
    place = f"https://github.com/{course.address()}/blob/main"

    def absolute(match: re.Match) -> str:
        path, anchor = match[1], match[2] or ""
        return f"]({place}/{path.removeprefix('../') if path.startswith('../') else f'notebooks/{path}'}{anchor})"

    return re.sub(rf"\]{TARGET}", absolute, text)
