"""Makes what Kaggle and Colab take: kernels of the jobs in this folder, the course's notebooks, and a data set that both can use.

python kaggle/build.py JOB                           a folder for `kaggle kernels push -p build/kaggle/JOB`, with the package inside
python kaggle/build.py dataset                       a folder for `kaggle datasets create -p build/kaggle/dataset --dir-mode zip`
python kaggle/build.py notebooks --out DIR           the notebooks without outputs, small enough for Kaggle
python kaggle/build.py push-notebooks --owner NAME   the data set and all notebooks onto Kaggle
python kaggle/build.py kernels                       refreshes kernel.py in the folders of the jobs, which use the data set

The same input gives the same bytes. Of the environment nothing but the name of the account is read, so that no secret can get into what is built.
"""

import argparse
import hashlib
import io
import json
import re
import sys
import tomllib
from contextlib import redirect_stderr
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]  # works without an installation

from carrier import SOURCE_BYTES, built, kernel_text, small_kernel_text  # noqa: E402

from ddpm_utils.__main__ import build_parser  # noqa: E402
from ddpm_utils.errors import InputError  # noqa: E402

PLACEHOLDER = "OWNER"
BUILD = ROOT / "build" / "kaggle"
JOB_KEYS = {
    "contains": list,
    "pairs": bool,
    "drawn": str,
    "images": int,
    "classes": int,
    "epochs": int,
    "max_hours": float,
    "session_hours": float,
    "max_disk_gb": float,
    "processes": int,
}
DEFAULTS = {"pairs": False, "drawn": "", "processes": 0}  # processes: 0 means one a GPU
NOT_THE_RUN = {  # flags of train that change where or how a run is computed and reported, not what is trained
    *("device", "precision", "accumulate", "checkpoint-blocks", "compile"),
    *("log-every", "sample-every", "snapshot-every", "keep", "max-epochs", "max-hours", "max-disk-gb", "copy-to"),
}
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
    train_arguments(train, settings["epochs"])
    return {"job": folder.name, **settings, **machine, "train": train}


def job_folder(job: str | Path) -> Path:
    """The folder of a job, named or given. Raises InputError that lists those there are."""
    for folder in (HERE / job, Path(job)):
        if (folder / "job.toml").is_file():
            return folder.resolve()
    names = ", ".join(sorted(p.parent.name for p in HERE.glob("*/job.toml")))
    raise InputError(f"there is no job {str(job)!r}; there are {names}")


def train_arguments(train: dict, epochs: int) -> argparse.Namespace:
    """The flags as `train` reads them. Raises InputError for those that it would refuse hours later, on Kaggle."""
    words = ["train", "--data-path", "DATA", "--epochs", str(epochs)]
    for name, value in train.items():
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{name}", *map(str, values)] if value is not False else []
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return build_parser(["train"]).parse_args(words)
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
    """Write kernel-metadata.json and kernel.py, with the package inside, into the folder `out`; returns it.

    resume: the kernel takes its own latest output as a source, and refuses to begin anew. dataset: OWNER/SLUG in place of the job's own.
    chain: the name by which sessions recognise each other (default: `chain_id`). session: its number (0: the kernel counts).
    Raises InputError for names and flags that won't do, and for a kernel that is too large for Kaggle.
    """
    settings = load_job(job, accelerator, {**(overrides or {}), **({"epochs": epochs} if epochs is not None else {})})
    metadata = json.loads((job_folder(job) / "kernel-metadata.json").read_text())
    slug = metadata["id"].partition("/")[2]
    check_owner(owner)
    sources = own_sources(metadata)
    if dataset is not None:
        if not re.fullmatch(r"[\w-]+/[\w-]+(/\d+)?", dataset):
            raise InputError(f"a data set on Kaggle is named OWNER/SLUG, got {dataset!r}")
        sources = [dataset]
    if not sources and not settings["drawn"]:
        raise InputError(f"job {settings['job']!r} has no data set of its own; pass --dataset OWNER/SLUG")
    metadata |= {
        "id": f"{owner}/{slug}",
        "machine_shape": settings["machine_shape"],
        "dataset_sources": sources,
        "kernel_sources": [f"{owner}/{slug}"] if resume else [],
    }
    text = kernel_text(constants_of(settings, sources, resume, accelerator, chain, session))
    if len(text.encode()) >= SOURCE_BYTES:
        raise InputError(f"the kernel has {len(text.encode()):,} bytes; Kaggle takes fewer than {SOURCE_BYTES:,}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "kernel-metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    (out / metadata["code_file"]).write_text(text)
    return out


def check_owner(owner: str) -> None:
    """InputError for what can't be a name on Kaggle, the placeholder among it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", owner) or owner == PLACEHOLDER:
        raise InputError(f"owner must be your name on Kaggle, as in kaggle.com/NAME, got {owner!r}")


def own_sources(metadata: dict) -> list[str]:
    """A job's own data sets, without the one that holds the package."""
    return [source for source in metadata["dataset_sources"] if not source.startswith(f"{PLACEHOLDER}/")]


def constants_of(settings: dict, sources: list[str], resume=False, accelerator="t4", chain: str | None = None, session=0) -> dict:
    """What the builder fills into kernel.py."""
    job = settings | {"dataset_sources": sources, "resume": resume, "accelerator": accelerator}
    return {"CHAIN": chain or chain_id(job), "SESSION": session, "JOB": job}


def small_kernel(job: str | Path) -> str:
    """kernel.py of the job's own folder, which finds everything in the data set that the folder names."""
    metadata = json.loads((job_folder(job) / "kernel-metadata.json").read_text())
    return small_kernel_text(constants_of(load_job(job), own_sources(metadata)))


def refresh_kernels() -> list[Path]:
    """Write `small_kernel` into the folder of every job; returns the files."""
    folders = sorted(path.parent for path in HERE.glob("*/job.toml"))
    for folder in folders:
        (folder / "kernel.py").write_text(small_kernel(folder))
    return [folder / "kernel.py" for folder in folders]


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
    """The command line; returns the exit code, 2 after one sentence on wrong input, 1 where Kaggle refuses or doesn't answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", metavar="JOB", help="a folder of kaggle/, or dataset, notebooks, push-notebooks, kernels")
    parser.add_argument("--out", type=Path, help="folder to write into (default build/kaggle/JOB)")
    parser.add_argument("--owner", help="your name on Kaggle (default: the name that the credentials belong to)")
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
    from client import Refused, Unreachable
    from refusals import explained

    try:
        make(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Refused, Unreachable) as error:
        print(f"stopped: {explained(error)}", file=sys.stderr)
        return 1
    return 0


def make(args: argparse.Namespace) -> None:
    """Make what the command line asks for, and say what to do with it."""
    import course_notebooks

    out = args.out or BUILD / args.what
    if args.what == "kernels":
        print("\n".join(f"{path} ({path.stat().st_size:,} bytes)" for path in refresh_kernels()))
    elif args.what == "notebooks":
        print("\n".join(f"{path} ({path.stat().st_size:,} bytes)" for path in course_notebooks.build_notebooks(out)))
    elif args.what == "dataset":
        course_notebooks.build_dataset(owner_of(args), out)
        print(f"{out}: upload it with: kaggle datasets create -p {out} --dir-mode zip")
    elif args.what == "push-notebooks":
        from publish import push_notebooks

        push_notebooks(args.owner, out)
    else:
        overrides = overrides_of(args.set)
        load_job(args.what, args.accelerator, overrides)  # refuses wrong input before it asks for credentials
        changes = {"accelerator": args.accelerator, "epochs": args.epochs, "dataset": args.dataset, "overrides": overrides}
        build_job(args.what, owner_of(args), out, resume=args.resume_from_self, **changes)
        print(f"{out}: chain {built(out)['chain']}; push it with: kaggle kernels push -p {out}")


def owner_of(args: argparse.Namespace) -> str:
    """The name that is given, or the one that the credentials belong to."""
    if args.owner is not None:
        check_owner(args.owner)
        return args.owner
    from client import account_of

    try:
        return account_of()[1]
    except InputError as error:  # nothing is sent, so a name is enough
        raise InputError(f"{error}, or say whose it will be: --owner NAME") from error


if __name__ == "__main__":
    sys.exit(main())
