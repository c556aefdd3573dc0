"""Puts the course onto Kaggle: the data set with the package, anew where its content changed, and every chapter as a notebook that uses it."""

import json
import time
from pathlib import Path

import refusals
from build import BUILD
from client import Refused, Unreachable, account_of, ask
from course_notebooks import PACKAGE, build_dataset, build_notebooks, content_id

POLL = 20.0  # seconds between two looks
PATIENCE = 90  # looks at a data set that Kaggle is still unpacking
UPLOAD_SECONDS = 3600


def push_notebooks(owner: str | None, out: Path | None = None, poll: float = POLL) -> list[str]:
    """Upload the data set where Kaggle hasn't got its content, then push all chapters, each run on a CPU; returns their addresses.

    owner None: the account of the credentials. Waits for a free session where Kaggle runs as many as it lends. Raises InputError without
    credentials, Refused with Kaggle's own sentence, Unreachable where it doesn't answer.
    """
    api, account = account_of(owner)
    out = Path(out or BUILD / "course")
    upload(api, account, build_dataset(account, out / "dataset"), poll)
    return [push(api, folder, poll) for folder in notebook_folders(account, out)]


def upload(api, account: str, folder: Path, poll: float) -> None:
    """Create the data set, or a new version of it, and wait until it can be attached."""
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

    ref, request = f"{account}/{PACKAGE}", ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = account, PACKAGE
    try:
        with api.build_kaggle_client() as client:
            there = ask(lambda: client.datasets.dataset_api_client.get_dataset(request)).subtitle or ""
    except Refused as error:
        if error.code not in (403, 404):  # Kaggle doesn't tell one that is missing from one that is forbidden
            raise
        answer = ask(lambda: api.dataset_create_new(str(folder), quiet=True, dir_mode="zip"), UPLOAD_SECONDS)
    else:
        if content_id() in there:
            print(f"data set {ref}: Kaggle has this content")
            return
        answer = ask(lambda: api.dataset_create_version(str(folder), content_id(), quiet=True, dir_mode="zip"), UPLOAD_SECONDS)
    if answer.error:
        raise Refused(answer.error)
    print(f"data set {ref}: uploaded, waiting until Kaggle has unpacked it")
    for _ in range(PATIENCE):
        if status(api, ref) == "ready":
            return
        time.sleep(poll)
    raise Unreachable(f"the data set {ref} isn't ready yet; run the same command again")


def status(api, ref: str) -> str:
    """ "ready", "pending", …; "" while Kaggle doesn't list the data set."""
    try:
        return ask(lambda: api.dataset_status(ref))
    except Refused:
        return ""


def notebook_folders(account: str, out: Path) -> list[Path]:
    """A folder for `kaggle kernels push` of each chapter."""
    folders = []
    for path in build_notebooks(out / "notebooks"):
        if path.name[0].isdigit():  # the others are not for Kaggle
            slug = f"ddpm-course-{path.stem.replace('_', '-')}"
            folder = out / slug
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).write_text(path.read_text())
            (folder / "kernel-metadata.json").write_text(json.dumps(metadata(account, slug, path.name), indent=2) + "\n")
            folders.append(folder)
    return folders


def metadata(account: str, slug: str, name: str) -> dict:
    """kernel-metadata.json of a chapter: on a CPU, which takes none of the week's hours, and without internet."""
    return {
        "id": f"{account}/{slug}",
        "title": slug,
        "code_file": name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": False,
        "enable_tpu": False,
        "enable_internet": False,
        "dataset_sources": [f"{account}/{PACKAGE}"],
        "competition_sources": [],
        "kernel_sources": [],
        "model_sources": [],
    }


def push(api, folder: Path, poll: float) -> str:
    """Push one notebook, when Kaggle has a session for it; returns its address."""
    while True:
        answer = ask(lambda: api.kernels_push(str(folder)))
        if not answer.error:
            if answer.invalid_dataset_sources:
                raise Refused(f"Kaggle left out the data set {', '.join(answer.invalid_dataset_sources)} of {folder.name}")
            print(f"{folder.name}: version {answer.version_number}, {answer.url}")
            return answer.url
        if not refusals.of_push(error := Refused(answer.error)).again:
            raise error
        print(f"{folder.name}: {answer.error} Trying again in {poll:g} s")
        time.sleep(poll)
