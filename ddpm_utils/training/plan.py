"""How a long run is cut into sessions: hours of a session, hours of a week, gigabytes of disk."""

import math
from dataclasses import dataclass

from ddpm_utils.errors import InputError
from ddpm_utils.training.limits import MARGIN, disk_bytes


@dataclass(frozen=True)
class Machine:
    """A kind of machine that Kaggle lends or lent."""

    name: str
    gpus: int
    precision: str
    note: str


MACHINES = {
    "t4x2": Machine("GPU T4 x2", 2, "fp16", "what Kaggle lends by default; both GPUs are used under torchrun"),
    "p100": Machine("P100", 1, "fp32", "retired by Kaggle in September 2026: a push that asks for it runs on T4 x2"),
}


@dataclass(frozen=True)
class PlannedSession:
    """One session of a plan. Epochs are counted from 1, both ends included; weeks too."""

    number: int
    first_epoch: int
    last_epoch: int
    hours: float
    week: int
    states: int
    disk_gb: float


def plan_sessions(
    *,
    epochs: int,
    seconds_per_epoch: float,
    session_hours: float = 12.0,
    weekly_hours: float = 30.0,
    disk_gb: float = 20.0,
    parameters: float = 60e6,
    keep: int = 2,
    averages: int = 1,
    snapshot_every: int = 0,
    overhead_minutes: float = 10.0,
) -> list[PlannedSession]:
    """The sessions of a run, each as long as its limits allow, in weeks that begin full.

    overhead_minutes: start, decoding and the last save of each session. Raises InputError, with the numbers, for what can't fit.
    """
    values = {"epochs": epochs, "seconds_per_epoch": seconds_per_epoch, "session_hours": session_hours, "weekly_hours": weekly_hours}
    values |= {"disk_gb": disk_gb, "params": parameters, "keep": keep}
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0, got {value}")
    epoch_hours, overhead = MARGIN * seconds_per_epoch / 3600, overhead_minutes / 60
    for name, hours in (("session", session_hours), ("week", weekly_hours)):
        if epoch_hours + overhead > hours:
            raise InputError(
                f"one epoch takes {epoch_hours:.2f} h with its margin, and {overhead:.2f} h go to start and end: more than a {name} of {hours:g} h"
            )
    sessions, epoch, week, left = [], 0, 1, weekly_hours
    while epoch < epochs:
        fitting = int((min(session_hours, left) - overhead) / epoch_hours)
        if fitting < 1:
            week, left = week + 1, weekly_hours
            continue
        last = min(epochs, epoch + fitting)
        snapshots = averages * (last // snapshot_every) if snapshot_every else 0
        gb = disk_bytes(int(parameters), averages, keep, snapshots) / 1e9
        if gb > disk_gb:
            raise InputError(
                f"by epoch {last} the files take {gb:.1f} GB, more than the disk of {disk_gb:g} GB; keep fewer states or snapshots"
            )
        hours = (last - epoch) * epoch_hours + overhead
        sessions.append(
            PlannedSession(
                number=len(sessions) + 1, first_epoch=epoch + 1, last_epoch=last, hours=hours, week=week, states=min(keep, last), disk_gb=gb
            )
        )
        epoch, left = last, left - hours
    return sessions
