"""One account's kernels, and the rules for them: versions, sources, sessions at once, hours a week, what is kept and what is lost."""

import json
import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from slugify import slugify

from emulator.datasets import Datasets, unpack
from emulator.refusing import Denied, check_kernel, no_cpu, no_gpu
from emulator.sandbox import OWN_FILES, Kernel, Sandbox

ALIVE = ("QUEUED", "RUNNING")
SATURDAY = 5  # of datetime.weekday()


@dataclass
class Limits:
    """Kaggle's limits, with seconds for its hours."""

    session_seconds: float = 900
    week_seconds: float = 30 * 3600
    refresh_seconds: float | None = None  # the length of a week; None: until the next Saturday, 00:00 UTC, as at Kaggle
    working_bytes: int = 20_000_000_000
    sessions: int = 2
    cpu_sessions: int = 5
    source_bytes: int = 1_000_000


@dataclass
class Version:
    number: int
    request: dict  # of SaveKernel
    sandbox: Sandbox
    invalid_kernels: list[str]
    invalid_datasets: list[str]
    status: str = "QUEUED"
    message: str = ""
    output: Path | None = None  # of a version that is COMPLETE
    machine: str | None = None  # the accelerator that it got, whatever it asked for
    internet: bool = False
    thread: threading.Thread | None = field(default=None, repr=False)


class Account:
    """layout: "flat" mounts all sources as input/SLUG, "by owner" as input/datasets/OWNER/SLUG and input/notebooks/OWNER/SLUG.

    verified: whether the account's phone number is; without that there is neither a GPU nor internet, and not a word about it.
    faults: {version: what happens to it}, with any of seconds and working_bytes in place of the limits, and prefix, code that runs first.
    stand_in: a program that is executed in place of every kernel, with the kernel's file as its argument.
    """

    def __init__(self, root: Path, owner: str, limits: Limits, datasets: dict[str, Path], layout: str, stand_in: Path | None):
        self.root, self.owner, self.limits = Path(root), owner, limits
        self.datasets = Datasets(Path(root) / "datasets", owner, datasets)
        self.layout, self.stand_in, self.faults, self.verified = layout, stand_in, {}, True
        self.kernels: dict[str, list[Version]] = {}
        self.lock = threading.RLock()
        self.week_began = time.monotonic()

    # --- the methods of KernelsApiService ---

    def save_kernel(self, request: dict) -> dict:
        owner, slug = request["slug"].split("/")
        if owner != self.owner:
            raise Denied(403, "Permission 'kernels.update' was denied")
        with self.lock:
            if slug not in self.kernels and request.get("newTitle"):
                slug = slugify(request["newTitle"])  # of a new kernel the title decides, and the client warns where they differ
            if refusal := check_kernel(slug, request, self.kernels, self.limits) or self._why_no_session(request):
                return {"error": refusal}
            version = self._start(slug, request)
        return {
            "ref": f"/code/{owner}/{slug}",
            "url": f"https://www.kaggle.com/code/{owner}/{slug}",
            "versionNumber": version.number,
            "kernelId": 1,
            "invalidKernelSources": version.invalid_kernels,
            "invalidDatasetSources": version.invalid_datasets,
        }

    def get_kernel(self, request: dict) -> dict:
        version = self._version(request)
        slug = request["kernelSlug"]
        return {
            "metadata": {"ref": f"{self.owner}/{slug}", "slug": slug, "currentVersionNumber": len(self.kernels[slug])},
            "blob": {"source": version.request["text"], "language": "python", "kernelType": version.request["kernelType"], "slug": slug},
        }

    def get_kernel_session_status(self, request: dict) -> dict:
        version = self._version(request)
        return {"status": version.status} | ({"failureMessage": version.message} if version.message else {})

    def list_kernel_session_output(self, request: dict) -> dict:
        """The files of one page; none for a version that failed, or still runs."""
        version = self._version(request)
        names = sorted(str(p.relative_to(version.output)) for p in version.output.rglob("*") if p.is_file()) if version.output else []
        first, size = int(request.get("pageToken") or 0), request.get("pageSize") or 20
        page = names[first : first + size]
        where = f"http://localhost/output/{request['kernelSlug']}/{version.number}"
        answer = {"files": [{"fileName": name, "url": f"{where}/{name}"} for name in page], "log": json.dumps(version.sandbox.log)}
        return answer | ({"nextPageToken": str(first + size)} if first + size < len(names) else {})

    def get_accelerator_quota_statistics(self, request: dict) -> dict:
        with self.lock:
            quota = {
                "timeUsed": seconds(self.used),
                "timeReserved": seconds(self.reserved),
                "totalTimeAllowed": seconds(self.limits.week_seconds),
            }
            refresh = next_saturday(datetime.now(UTC))
            if self.limits.refresh_seconds is not None:
                refresh = datetime.now(UTC) + timedelta(seconds=self.week_began + self.limits.refresh_seconds - time.monotonic())
        return {"quotaRefreshTime": refresh.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z", "gpuQuota": quota}

    # --- rules ---

    def _why_no_session(self, request: dict) -> str | None:
        """Kaggle's own sentence for why this session may not start now. Without a verified phone number it is one on a CPU."""
        if request.get("enableGpu") and self.verified:
            return no_gpu(len(self.running), self.used, self.reserved, self.limits)
        return no_cpu(sum(v.status in ALIVE and v.machine is None for v in self._all()), self.limits)

    def _all(self) -> list[Version]:
        return [v for versions in self.kernels.values() for v in versions]

    @property
    def running(self) -> list[Version]:
        """GPU sessions that run now."""
        return [v for v in self._all() if v.status in ALIVE and v.machine]

    @property
    def used(self) -> float:
        """GPU seconds of this week."""
        while self.limits.refresh_seconds is not None and time.monotonic() >= self.week_began + self.limits.refresh_seconds:
            self.week_began += self.limits.refresh_seconds
        return sum(v.sandbox.seconds for v in self._all() if v.machine and v.sandbox.started >= self.week_began)

    @property
    def reserved(self) -> float:
        """What the running sessions may still use."""
        return sum(max(0, self._seconds(v.request) - v.sandbox.seconds) for v in self.running)

    def _seconds(self, request: dict) -> float:
        return min(self.limits.session_seconds, request.get("sessionTimeoutSeconds") or self.limits.session_seconds)

    def _version(self, request: dict) -> Version:
        """The newest version, or the one that the label v<N> names."""
        versions = self.kernels.get(request["kernelSlug"])
        if request["userName"] != self.owner or not versions:
            raise Denied(403, "Permission 'kernels.get' was denied")
        label = request.get("versionLabel") or f"v{len(versions)}"
        found = [v for v in versions if f"v{v.number}" == label]
        if not found:
            raise Denied(404, "Not found")
        return found[0]

    # --- sessions ---

    def _start(self, slug: str, request: dict) -> Version:
        versions = self.kernels.setdefault(slug, [])
        sandbox = Sandbox(self.root / slug / f"v{len(versions) + 1}")
        kernels, datasets = request.get("kernelDataSources") or [], request.get("datasetDataSources") or []
        outputs = {ref: self.latest_output(ref) for ref in kernels}
        folders = {ref: self.datasets.folder_of(ref) for ref in datasets}
        version = Version(
            len(versions) + 1,
            request,
            sandbox,
            [ref for ref in kernels if outputs[ref] is None],
            [ref for ref in datasets if folders[ref] is None],
        )
        for ref, folder in folders.items():
            if folder is not None:
                unpack(sandbox.mount(self._where("datasets", ref), folder))
        for ref, output in outputs.items():
            if output is not None:
                sandbox.mount(self._where("notebooks", ref), output)
                for name in OWN_FILES:
                    (sandbox.folder / "input" / self._where("notebooks", ref) / name).write_text("")
        if request.get("enableGpu") and self.verified:  # a machine that is retired or unknown is replaced without a word
            version.machine = "NvidiaTeslaT4"
        version.internet = bool(request.get("enableInternet") and self.verified)
        versions.append(version)
        version.thread = threading.Thread(target=self._run, args=(version,), daemon=True)
        version.thread.start()
        return version

    def _run(self, version: Version) -> None:
        version.status = "RUNNING"
        fault = self.faults.get(version.number, {})
        time_limit = fault.get("seconds", self._seconds(version.request))
        disk = fault.get("working_bytes", self.limits.working_bytes)
        kernel = Kernel(version.request["text"], version.request["kernelType"], fault.get("prefix", ""), self.stand_in)
        status, message = version.sandbox.run(kernel, time_limit, disk, internet=version.internet, gpus=2 if version.machine else 0)
        with self.lock:
            if status == "COMPLETE":
                version.output = version.sandbox.folder / "working"
            else:
                shutil.rmtree(version.sandbox.folder / "working")  # lost, as far as one may rely on it
            version.message, version.status = message, status

    def _where(self, kind: str, ref: str) -> str:
        return ref.split("/")[1] if self.layout == "flat" else f"{kind}/{ref}"

    def latest_output(self, ref: str) -> Path | None:
        """The output of the newest version that is COMPLETE: what is mounted."""
        done = [v for v in self.kernels.get(ref.split("/")[1], []) if v.output] if ref.split("/")[0] == self.owner else []
        return done[-1].output if done else None

    def cancel(self, slug: str) -> None:
        """As by the button on the web page."""
        self.kernels[slug][-1].sandbox.cancelled = True

    def wait(self) -> None:
        """Until nothing runs."""
        for versions in list(self.kernels.values()):
            for version in versions:
                version.thread.join()


def next_saturday(now: datetime) -> datetime:
    """When the hours of the week are given anew: the next Saturday, 00:00 UTC."""
    days = (SATURDAY - now.weekday()) % 7 or 7
    return (now + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)


def seconds(value: float) -> str:
    """A protobuf duration, to the millisecond."""
    return f"{value:.3f}s"
