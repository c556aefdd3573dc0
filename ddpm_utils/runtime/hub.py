"""Files from and to the Hugging Face Hub, by its own client, which keeps them in its cache and heeds HF_HUB_OFFLINE, HF_HOME and HF_TOKEN."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddpm_utils.errors import InputError

PREFIX = "hf:"  # before OWNER/NAME, or OWNER/NAME@REVISION


def fetch(repository: str, files: list[str]) -> Path:
    """The folder in the cache with those of `files` that the repository OWNER/NAME[@REVISION] has, fetched if they aren't there yet.

    Raises InputError for a repository that can't be read, offline for one that was never fetched, and without the client.
    """
    client = _client(f"{PREFIX}{repository}")
    name, _, revision = repository.partition("@")
    with _told(f"'{PREFIX}{repository}' can't be fetched from the Hugging Face Hub"):
        return Path(client.snapshot_download(name, revision=revision or None, allow_patterns=files))


def check_can_push(repository: str) -> None:
    """InputError where nothing can be pushed to OWNER/NAME, before the work for it is done: no client, no such name, no token that holds."""
    client = _client("--to hub")
    from huggingface_hub.utils import validate_repo_id

    with _told(f"nothing can be pushed to {repository!r}"):
        validate_repo_id(repository)
        if not client.get_token():
            raise InputError("there is no token for the Hugging Face Hub; run `hf auth login`, or set HF_TOKEN, or pass --dry-run")
        client.HfApi().whoami()


def push(folder: Path, repository: str, message: str) -> str:
    """All files of the folder as one commit to OWNER/NAME, which is made if there is none. Returns its address."""
    api = _client("--to hub").HfApi()
    with _told(f"{str(folder)!r} is written, but can't be pushed to {repository!r}"):
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return str(address)


def _client(wanted: str):
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise InputError(
            f"{wanted} needs the package huggingface_hub, which is not installed; run `pip install huggingface_hub`"
        ) from error
    return huggingface_hub


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What goes wrong inside, on the Hub, on the way there or with the name, is told in one sentence."""
    # HTTPError is that of the client's own HTTP library, which isn't the same in all its versions.
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except (HTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise InputError(f"{what} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What the client says, on one line; behind its status an answer of the Hub tells what there isn't."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    answered = hasattr(error, "response") and len(lines) > 1
    return (lines[answered] if lines else type(error).__name__).rstrip(".")
