"""What a chain of sessions knows (chain.json), how it is to run, and what a session's output says of itself (status.json)."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_utils.errors import InputError
from ddpm_utils.settings import check_value, json_object


@dataclass
class State:
    """What a chain knows. Written as chain.json."""

    kernel: str  # OWNER/SLUG
    chain: str
    version: int = 0  # the newest that is dealt with
    running: int | None = None
    pushing: bool = False  # and its answer was not heard yet
    good: int | None = None  # the newest version whose output can be gone on from
    failures: int = 0  # one after the other
    sessions: list[dict] = field(default_factory=list)

    @property
    def seconds_per_epoch(self) -> float | None:
        """Measured over all sessions that count, with their starts; None before the first has ended."""
        ended = [s for s in self.sessions if s.get("epoch") and "total_hours" in s]
        return 3600 * ended[-1]["total_hours"] / ended[-1]["epoch"] if ended else None

    @classmethod
    def read(cls, path: Path) -> "State | None":
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{str(path)!r} is not the state of a chain; restore it, or use another --out") from error


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a chain runs. build: arguments of build.build_job that are the same in each session."""

    job: str
    epochs: int
    out: Path
    build: dict
    hours: float  # a session's own limit
    margin: float  # hours between that and the limit that Kaggle is told
    poll: float = 60  # seconds
    max_failures: int = 3
    fetch_checkpoints: bool = False
    wait_for_quota: bool = False
    replace: bool = False  # begin anew on a kernel that holds another chain


STATUS = {  # what decides of what a session leaves, with its types
    **{"chain": str, "status": str, "reason": str, "files": dict, "state": str | None, "model": str | None},
    **{"epoch": float, "epochs": int, "step": int, "hours": float, "total_hours": float, "peak_disk_gb": float},
}


def checked_status(text: bytes) -> dict:
    """What a session's status.json says; InputError for one that is damaged or lacks something."""
    about = json_object(text, "its status.json")
    if about.get("chain") is not None:  # else a stranger's, which is told by that
        for name, hint in STATUS.items():
            check_value(f"{name!r} in its status.json", about.get(name), {}, hint)
        for name, file in about["files"].items():
            check_value(f"the file {name!r} in its status.json", file, {}, dict)
    return about


def wanted(files: dict, done: bool, checkpoints: bool) -> list[str]:
    """The files to fetch: the report always, all but the states when the run is done, and everything if checkpoints are asked for."""
    return [n for n in files if checkpoints or n == "report.html" or (done and not Path(n).match("state-*.pt"))]
