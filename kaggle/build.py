"""Makes what Kaggle and Colab take: one-file kernels of the jobs in this folder, and notebooks that carry ddpm_utils inside.

python kaggle/build.py JOB --owner NAME --out DIR     a folder for `kaggle kernels push -p DIR`
python kaggle/build.py notebooks --out DIR            copies of all notebooks that need no other file

The same input gives the same bytes. Nothing is read from the environment, so that no secret can get into what is built.
"""

import argparse
import ast
import base64
import hashlib
import io
import json
import re
import sys
import tomllib
import zipfile
from contextlib import redirect_stderr
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # works without an installation

from ddpm_utils.__main__ import build_parser  # noqa: E402
from ddpm_utils.errors import InputError  # noqa: E402
from ddpm_utils.models import shipped  # noqa: E402

PACKAGE = ROOT / "ddpm_utils"
IMPORT, MAIN = "from unpack import PACKAGE_SHA256, unpack_ddpm_utils\n\n", '\n\nif __name__ == "__main__":'
JOB_KEYS = {
    "contains": list,
    "pairs": bool,
    "epochs": int,
    "max_hours": float,
    "session_hours": float,
    "max_disk_gb": float,
    "processes": int,
}
DEFAULTS = {"pairs": False, "processes": 0}  # processes: 0 means one a GPU
NOT_THE_RUN = {  # flags of train that change where or how a run is computed and reported, not what is trained
    *("device", "precision", "accumulate", "checkpoint-blocks", "compile"),
    *("log-every", "sample-every", "snapshot-every", "keep", "max-epochs", "max-hours", "max-disk-gb", "copy-to"),
}
SETUP_TITLE = "# @title Set-up: this notebook carries the course inside it"
KERNELS_OWN = {"data-path", "out", "epochs", "max-hours", "max-disk-gb", "resume"}  # flags that the kernel decides


# --- jobs ---


def load_job(job: str | Path, accelerator: str = "t4", overrides: dict | None = None) -> dict:
    """A job's settings for one accelerator, {"job", "contains", "epochs", "max_hours", …, "train": {flag: value}}, with changes made.

    job: a folder with job.toml and kernel-metadata.json, or the name of one beside this file. overrides: keys of job.toml or flags of train
    without their dashes. Raises InputError for unknown names and for flags that `train` would refuse.
    """
    folder = job_folder(job)
    settings = {**DEFAULTS, **tomllib.loads((folder / "job.toml").read_text())}
    machines = settings.pop("accelerator")
    if accelerator not in machines:
        raise InputError(f"accelerator must be one of {', '.join(machines)}, got {accelerator!r}")
    machine = dict(machines[accelerator])
    train = {**settings.pop("train"), **machine.pop("train")}
    for key, value in (overrides or {}).items():
        key = key.replace("_", "-") if key not in JOB_KEYS else key
        if key in KERNELS_OWN and key not in JOB_KEYS:
            raise InputError(f"--{key} is decided by the kernel; leave it out")
        (settings if key in JOB_KEYS else train)[key] = value
    for key, kind in JOB_KEYS.items():
        if not isinstance(settings.get(key), (int, float) if kind is float else kind):
            raise InputError(f"{key} of job {folder.name!r} must be of type {kind.__name__}, got {settings.get(key)!r}")
    check_flags(train, settings["epochs"])
    return {"job": folder.name, **settings, **machine, "train": train}


def job_folder(job: str | Path) -> Path:
    """The folder of a job, named or given. Raises InputError that lists those there are."""
    for folder in (HERE / job, Path(job)):
        if (folder / "job.toml").is_file():
            return folder.resolve()
    names = ", ".join(sorted(p.parent.name for p in HERE.glob("*/job.toml")))
    raise InputError(f"there is no job {str(job)!r}; there are {names}")


def check_flags(train: dict, epochs: int) -> None:
    """Refuse flags that `train` would refuse hours later, on Kaggle."""
    words = ["train", "--data-path", "DATA", "--epochs", str(epochs)]
    for name, value in train.items():
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{name}", *map(str, values)] if value is not False else []
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            build_parser(["train"]).parse_args(words)
    except SystemExit as error:
        raise InputError(f"train refuses what job.toml and --set say: {said.getvalue().strip()}") from error


def chain_id(job: dict) -> str:
    """Names a run by its job, its data and the flags that say what is trained: sessions with the same id continue each other."""
    train = {name: value for name, value in sorted(job["train"].items()) if name not in NOT_THE_RUN}
    text = json.dumps([job["job"], job["dataset_sources"], job["contains"], train])
    return f"{job['job']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


# --- kernels ---


def build_job(
    job: str | Path,
    owner: str,
    out: Path,
    *,
    accelerator: str = "t4",
    epochs: int | None = None,
    resume: bool = False,
    dataset: str | None = None,
    overrides: dict | None = None,
    chain: str | None = None,
    session: int = 0,
) -> Path:
    """Write kernel-metadata.json and kernel.py into the folder `out`; returns it.

    resume: the kernel takes its own latest output as a source, and refuses to begin anew. dataset: OWNER/SLUG in place of the job's own.
    chain: the name by which sessions recognise each other (default: `chain_id`). session: its number (0: the kernel counts).
    Raises InputError for names and flags that won't do.
    """
    settings = load_job(job, accelerator, {**(overrides or {}), **({"epochs": epochs} if epochs is not None else {})})
    metadata = json.loads((job_folder(job) / "kernel-metadata.json").read_text())
    slug = metadata["id"].partition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", owner) or owner == "OWNER":
        raise InputError(f"owner must be your name on Kaggle, as in kaggle.com/NAME, got {owner!r}")
    if dataset is not None:
        if not re.fullmatch(r"[\w-]+/[\w-]+(/\d+)?", dataset):
            raise InputError(f"a data set on Kaggle is named OWNER/SLUG, got {dataset!r}")
        metadata["dataset_sources"] = [dataset]
    if not metadata["dataset_sources"]:
        raise InputError(f"job {settings['job']!r} has no data set of its own; pass --dataset OWNER/SLUG")
    metadata |= {
        "id": f"{owner}/{slug}",
        "machine_shape": settings["machine_shape"],
        "kernel_sources": [f"{owner}/{slug}"] if resume else [],
    }
    settings |= {"dataset_sources": metadata["dataset_sources"], "resume": resume, "accelerator": accelerator}
    constants = {"CHAIN": chain or chain_id(settings), "SESSION": session, "JOB": settings}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "kernel-metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    (out / metadata["code_file"]).write_text(kernel_text(constants))
    return out


def kernel_text(constants: dict) -> str:
    """kernel.py with its constants filled in and the package before its last lines."""
    functions, main = (HERE / "kernel.py").read_text().replace(IMPORT, "").split(MAIN)
    for name, value in constants.items():
        functions = replaced(functions, name, value)
    return functions + "\n\n# --- the package ---\n\n" + carrier() + MAIN + main


def built(folder: Path) -> dict:
    """The job in a built folder: its settings, with "chain" and "session"."""
    text = (Path(folder) / "kernel.py").read_text()
    chain, session, job = (ast.literal_eval(re.search(rf"^{name} = (.*)$", text, re.M)[1]) for name in ("CHAIN", "SESSION", "JOB"))
    return {**job, "chain": chain, "session": session}


def replaced(text: str, name: str, value) -> str:
    """The text with another value for the constant `name`, which stands on a line of its own."""
    line = f"{name} = {value!r}" if not isinstance(value, str) else f'{name} = "{value}"'
    found, count = re.subn(rf"^{name} = .*$", lambda _: line, text, flags=re.M)
    if count != 1:
        raise ValueError(f"{name} stands on {count} lines of the template, not on one")
    return found


# --- the package as text ---


def package_bytes(weights: tuple[str, ...] = ()) -> bytes:
    """ddpm_utils as a zip: its code and the shipped models named, always with the same bytes."""
    files = sorted(PACKAGE.rglob("*.py")) + [shipped(name) for name in sorted(weights)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(ROOT).as_posix())  # dated 1980, so that time leaves no trace
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def carrier(weights: tuple[str, ...] = ()) -> str:
    """unpack.py with the package inside."""
    data = package_bytes(weights)
    text = (HERE / "unpack.py").read_text()
    text = text[text.index("import base64") :]  # without its docstring
    text = replaced(text, "PACKAGE_SHA256", hashlib.sha256(data).hexdigest())
    encoded = base64.b64encode(data).decode()
    lines = "\n".join(encoded[i : i + 160] for i in range(0, len(encoded), 160))
    return text.replace('PACKAGE = ""', f'PACKAGE = """\n{lines}\n"""').strip() + "\n"


# --- notebooks ---


def build_notebooks(out: Path) -> list[Path]:
    """Write a copy of every notebook with the package, and the shipped models that it uses, in its set-up cell; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = json.loads(path.read_text())
        code = "".join(line for cell in notebook["cells"] if cell["cell_type"] == "code" for line in cell["source"])
        weights = tuple(sorted(set(re.findall(r'\bshipped\("([\w-]+)"\)', code))))
        for cell in notebook["cells"]:
            if "setup" in cell["metadata"].get("tags", []):
                text = f"{SETUP_TITLE}\n{carrier(weights)}\n\nunpack_ddpm_utils()\n\n{''.join(cell['source'])}"
                cell["source"] = text.splitlines(keepends=True)
                cell["metadata"] |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
        written.append(out / path.name)
        written[-1].write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return written


# --- command line ---


def overrides_of(words: list[str]) -> dict:
    """The changes that --set KEY=VALUE … asks for. Raises InputError for a word without an equals sign."""
    if wrong := next((word for word in words if "=" not in word), None):
        raise InputError(f"--set takes KEY=VALUE, got {wrong!r}")
    return {key: value_of(value) for key, _, value in (word.partition("=") for word in words)}


def value_of(text: str):
    """A value of --set: as TOML reads it, or else the plain text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after one sentence on wrong input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", help="a folder of kaggle/, or `notebooks`")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--owner", help="your name on Kaggle")
    parser.add_argument("--accelerator", default="t4", help="t4: GPU T4 x2; p100: retired by Kaggle, see README.md (default %(default)s)")
    parser.add_argument("--epochs", type=int, help="of the whole run (default: the job's)")
    parser.add_argument(
        "--resume-from-self", action="store_true", help="go on from the kernel's own latest output; without one it fails at once"
    )
    parser.add_argument("--dataset", metavar="OWNER/SLUG", help="data set in place of the job's own")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of job.toml or a flag of train, such as width=64"
    )
    args = parser.parse_args(argv)
    try:
        if args.job == "notebooks":
            for path in build_notebooks(args.out):
                print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
            return 0
        overrides = overrides_of(args.set)
        if args.owner is None:
            raise InputError("--owner is needed: your name on Kaggle, as in kaggle.com/NAME")
        changes = {"accelerator": args.accelerator, "epochs": args.epochs, "dataset": args.dataset, "overrides": overrides}
        out = build_job(args.job, args.owner, args.out, resume=args.resume_from_self, **changes)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{out}: chain {built(out)['chain']}; push it with: kaggle kernels push -p {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
