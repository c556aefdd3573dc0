"""One kernel on Kaggle, through the kaggle package: the few calls that a chain of sessions needs, each with a plain answer.

Versions are named v<N> in requests (a bare number is answered with 404); the package's own calls ask for the newest version only.
Credentials stay where the package finds them; no address of a download, which holds a signature, is ever shown.
"""

import json
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from session_report import digest

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import atomic_write

ANSWER_SECONDS = 300  # the package itself would wait for ever


class Unreachable(Exception):
    """No answer, or none that can be relied on: ask again later."""


class Refused(Exception):
    """Kaggle says no, in its own words. code: the HTTP status, or None for a push that was answered with a reason."""

    def __init__(self, text: str, code: int | None = None):
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Quota:
    """GPU hours of this week. reserved: what running sessions may still use. refresh: when the hours are given anew."""

    used: float
    reserved: float
    total: float
    refresh: datetime


@dataclass(frozen=True)
class Pushed:
    """What became of a push: the version that was made, and the sources that Kaggle left out."""

    version: int
    left_out_kernels: list[str]
    left_out_datasets: list[str]


def account_of(owner: str | None = None) -> tuple:
    """(the client, the name that its credentials belong to). Raises InputError without credentials, or where `owner` is another's name."""
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi
    except SystemExit as error:  # its import looks for credentials, and has explained how to get some
        raise InputError("there are no credentials for Kaggle; see above") from error
    except ImportError as error:
        raise InputError(f"the kaggle package is needed ({error}); pip install kaggle six") from error
    api = KaggleApi()
    api.args = [word for word in api.args if word != "--verbose"]  # under which it prints its headers, with the credentials
    try:
        ask(api.authenticate)
    except SystemExit as error:
        raise InputError("there are no credentials for Kaggle; see above") from error
    account = api.get_config_value(api.CONFIG_NAME_USER)
    if owner is not None and owner.lower() != account.lower():
        raise InputError(f"the credentials are those of {account!r}, --owner says {owner!r}; a kernel runs on its own owner's account")
    return api, account


class Kernel:
    """The kernel OWNER/SLUG; owner None: the account's own name. Raises InputError without credentials or with another's name."""

    def __init__(self, owner: str | None, slug: str):
        self.api, self.owner = account_of(owner)
        self.slug = slug

    @property
    def ref(self) -> str:
        return f"{self.owner}/{self.slug}"

    def quota(self) -> Quota | None:
        """This week's GPU hours; None where Kaggle doesn't tell."""
        answer = ask(self.api.quota_view)
        gpu = answer.gpu_quota
        if gpu is None or gpu.total_time_allowed is None:
            return None
        hours = [0.0 if t is None else t.total_seconds() / 3600 for t in (gpu.time_used, gpu.time_reserved, gpu.total_time_allowed)]
        return Quota(*hours, answer.quota_refresh_time.replace(tzinfo=UTC))

    def push(self, folder: Path, seconds: int) -> Pushed:
        """Push a built folder, which starts a session of at most so many seconds. Raises Refused with Kaggle's reason."""
        answer = ask(lambda: self.api.kernels_push(str(folder), timeout=str(seconds)))
        if answer.error:
            raise Refused(answer.error)
        return Pushed(answer.version_number, list(answer.invalid_kernel_sources or []), list(answer.invalid_dataset_sources or []))

    def newest(self) -> tuple[int, str]:
        """(newest version, the chain that its source names or ""); (0, "") if there is no such kernel."""
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

        try:
            answer = self._call("get_kernel", ApiGetKernelRequest())
        except Refused as error:
            if error.code not in (403, 404):  # Kaggle doesn't tell a kernel that is missing from one that is forbidden
                raise
            return 0, ""
        chain = re.search(r'^CHAIN = "(.*)"$', answer.blob.source, re.M)
        return answer.metadata.current_version_number, chain[1] if chain else ""

    def status(self, version: int) -> tuple[str, str]:
        """(QUEUED | RUNNING | COMPLETE | ERROR | CANCEL_REQUESTED | CANCEL_ACKNOWLEDGED | NEW_SCRIPT, Kaggle's reason or "")."""
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

        try:
            answer = self._call("get_kernel_session_status", ApiGetKernelSessionStatusRequest(), version)
        except Refused as error:
            raise Unreachable(f"version {version} isn't listed yet") if error.code == 404 else error from None
        return answer.status.name, answer.failure_message

    def output(self, version: int) -> tuple[dict[str, str], str]:
        """({file name: address}, text of the log) of a version that has ended."""
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        files, token = {}, ""
        while True:
            request = ApiListKernelSessionOutputRequest()
            request.page_size, request.page_token = 100, token
            answer = self._call("list_kernel_session_output", request, version)
            files |= {f.file_name: f.url for f in answer.files or [] if not {"..", "/"} & set(Path(f.file_name).parts)}
            token = answer.next_page_token
            if not token:
                return files, plain_log(answer.log)

    def _call(self, method: str, request, version: int | None = None):
        request.user_name, request.kernel_slug = self.owner, self.slug
        if version is not None:
            request.version_label = f"v{version}"

        def call():
            with self.api.build_kaggle_client() as client:
                return getattr(client.kernels.kernels_api_client, method)(request)

        return ask(call)


def ask(call, seconds: float = ANSWER_SECONDS):
    """The answer of `call`. Raises Unreachable where asking again may help, Refused where it won't."""
    import requests

    outcome = []

    def work():
        try:
            outcome.append((call(), None))
        except (Exception, SystemExit) as error:  # handed on below, to the thread that asked
            outcome.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise Unreachable(f"no answer in {seconds:g} s")
    answer, error = outcome[0]
    if isinstance(error, requests.HTTPError):
        code = error.response.status_code
        said = f"{sentence_of(error.response) or error.response.reason} (HTTP {code})"
        raise (Unreachable(said) if code >= 500 or code == 429 else Refused(said, code)) from None
    if isinstance(error, requests.RequestException):
        raise Unreachable(type(error).__name__) from None
    if error is not None:
        raise error
    return answer


def sentence_of(response) -> str:
    """Kaggle's own words in a refusal, which lie nested in its body, where the client doesn't look; "" where there are none."""
    try:
        body = response.json()
    except ValueError:
        return ""
    inner = body.get("error", body) if isinstance(body, dict) else {}
    return str(inner.get("message", "")) if isinstance(inner, dict) else str(inner)


def download(address: str, path: Path, sha256: str | None) -> None:
    """Fetch one file, unless it is there with this SHA-256; it appears under its name whole, or not at all."""
    import requests

    if sha256 and path.exists() and digest(path) == sha256:
        return
    try:
        with requests.get(address, stream=True, timeout=60) as response:
            if response.status_code != 200:
                raise Unreachable(f"HTTP {response.status_code} for {path.name}")
            with atomic_write(path) as file:
                for part in response.iter_content(1 << 20):  # raises where the file ends too early
                    file.write(part)
    except requests.RequestException as error:
        raise Unreachable(f"{type(error).__name__} for {path.name}") from None
    if sha256 and digest(path) != sha256:
        path.unlink()
        raise Unreachable(f"{path.name} came damaged")


def plain_log(log: str) -> str:
    """The text of a log, which Kaggle keeps as JSON records."""
    try:
        return "".join(record["data"] for record in json.loads(log))
    except (ValueError, TypeError, KeyError):
        return log or ""
