"""One account's kernels, and the rules for them: versions, sources, sessions at once, hours a week, what is kept and what is lost."""

import json
import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from emulator.sandbox import OWN_FILES, Sandbox

ALIVE = ("QUEUED", "RUNNING")


class Denied(Exception):
    """A request that is answered with an HTTP status of 400 or more, and a message."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Limits:
    """Kaggle's limits, with seconds for its hours."""

    session_seconds: float = 900
    week_seconds: float = 30 * 3600
    refresh_seconds: float = 7 * 24 * 3600  # until the hours of the week are given anew
    working_bytes: int = 20_000_000_000
    sessions: int = 2


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
    machine: str | None = None  # what it ran on
    thread: threading.Thread | None = field(default=None, repr=False)


class Account:
    """layout: "flat" mounts all sources as input/SLUG, "by owner" as input/datasets/OWNER/SLUG and input/notebooks/OWNER/SLUG.

    faults: {version: what happens to it}, with any of seconds and working_bytes in place of the limits, and prefix, code that runs first.
    stand_in: a program that is executed in place of every kernel, with the kernel's file as its argument.
    """

    def __init__(self, root: Path, owner: str, limits: Limits, datasets: dict[str, Path], layout: str, stand_in: Path | None):
        self.root, self.owner, self.limits, self.datasets = Path(root), owner, limits, datasets
        self.layout, self.stand_in, self.faults = layout, stand_in, {}
        self.kernels: dict[str, list[Version]] = {}
        self.lock = threading.RLock()
        self.week_began = time.monotonic()

    # --- the methods of KernelsApiService ---

    def save_kernel(self, request: dict) -> dict:
        owner, slug = request["slug"].split("/")
        if owner != self.owner:
            raise Denied(403, "Permission 'kernels.update' was denied")
        with self.lock:
            versions = self.kernels.get(slug, [])
            if len(slug) < 5:
                return {"error": "Notebook slug must be at least five characters"}
            if versions and versions[0].request["kernelType"] != request["kernelType"]:
                return {"error": "Notebook type cannot be changed"}
            refusal = self._why_no_gpu() if request.get("enableGpu") else None
            if refusal:
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
            refresh = datetime.now(UTC) + timedelta(seconds=self.week_began + self.limits.refresh_seconds - time.monotonic())
        return {"quotaRefreshTime": refresh.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z", "gpuQuota": quota}

    # --- rules ---

    def _why_no_gpu(self) -> str | None:
        """Kaggle's own sentence for why no GPU session may start now."""
        if len(self.running) >= self.limits.sessions:
            return f"Maximum batch GPU session count of {self.limits.sessions} reached."
        hours = self.limits.week_seconds / 3600
        if self.used >= self.limits.week_seconds:
            return f"Maximum weekly GPU quota of {hours:.2f} hours reached."
        if self.used + self.reserved >= self.limits.week_seconds:
            return (
                f"Session cannot start because currently running sessions are projected to exceed maximum weekly GPU quota of {hours:g}. "
                "Cancelling running sessions may allow starting new sessions."
            )
        return None

    @property
    def running(self) -> list[Version]:
        """GPU sessions that run now."""
        return [v for versions in self.kernels.values() for v in versions if v.status in ALIVE and v.request.get("enableGpu")]

    @property
    def used(self) -> float:
        """GPU seconds of this week."""
        while time.monotonic() >= self.week_began + self.limits.refresh_seconds:
            self.week_began += self.limits.refresh_seconds
        versions = [v for versions in self.kernels.values() for v in versions if v.request.get("enableGpu")]
        return sum(v.sandbox.seconds for v in versions if v.sandbox.started >= self.week_began)

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
        version = Version(
            len(versions) + 1,
            request,
            sandbox,
            [ref for ref in kernels if outputs[ref] is None],
            [ref for ref in datasets if ref not in self.datasets],
        )
        for ref in datasets:
            if ref in self.datasets:
                sandbox.mount(self._where("datasets", ref), self.datasets[ref])
        for ref, output in outputs.items():
            if output is not None:
                sandbox.mount(self._where("notebooks", ref), output)
                for name in OWN_FILES:
                    (sandbox.folder / "input" / self._where("notebooks", ref) / name).write_text("")
        if request.get("enableGpu"):  # a machine that is retired or unknown is replaced without a word
            version.machine = "NvidiaTeslaT4"
        versions.append(version)
        version.thread = threading.Thread(target=self._run, args=(version,), daemon=True)
        version.thread.start()
        return version

    def _run(self, version: Version) -> None:
        version.status = "RUNNING"
        fault = self.faults.get(version.number, {})
        time_limit = fault.get("seconds", self._seconds(version.request))
        disk = fault.get("working_bytes", self.limits.working_bytes)
        status, message = version.sandbox.run(version.request["text"], fault.get("prefix", ""), self.stand_in, time_limit, disk)
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


def seconds(value: float) -> str:
    """A protobuf duration, to the millisecond."""
    return f"{value:.3f}s"
