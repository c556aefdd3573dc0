"""What a session may use: hours, epochs, disk; and the decision to stop before a limit is met.

Time is measured by the monotonic clock, so that a clock that is set or jumps during a run changes nothing.
"""

import shutil
import signal
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import folder_bytes
from ddpm_utils.training.options import Limits

PROCESS_STARTED = time.monotonic()  # imports, decoding and doctor count as well
STATE_BYTES_PER_PARAMETER = 16.2  # weights, one average, two moments; 4 more for each further average
MODEL_BYTES_PER_PARAMETER = 2.1  # float16
MARGIN = 1.1  # predicted times are taken this much longer
CLOSING = 0.02  # share of a session's hours left for its last files
SMALL_FILES = 20e6  # bytes allowed for log, images and status


def state_bytes(parameters: int, averages: int = 1) -> int:
    """Most bytes of one state file."""
    return round(parameters * (STATE_BYTES_PER_PARAMETER + 4 * (averages - 1)))


def disk_bytes(parameters: int, averages: int, keep: int, snapshots: int) -> int:
    """Most bytes that a run's folder ever holds: states, the model, its snapshots, and what is small."""
    states = max(2, keep) * state_bytes(parameters, averages)  # the one being written counts as one of them
    return states + round((2 + snapshots) * parameters * MODEL_BYTES_PER_PARAMETER + SMALL_FILES)


def check_disk(needed: int, limits: Limits, out: Path) -> None:
    """Refuse a run whose files can't fit, with the numbers, before it starts."""
    gb = needed / 1e9
    if limits.max_disk_gb is not None and gb > limits.max_disk_gb:
        raise InputError(
            f"the run's files will take up to {gb:.3g} GB, more than --max-disk-gb {limits.max_disk_gb:g}; "
            "lower --keep or --width, or raise --snapshot-every"
        )
    existing = next(p for p in (out, *out.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing).free + folder_bytes(out)
    if needed > free:
        raise InputError(
            f"the run's files will take up to {gb:.2f} GB and {str(existing)!r} has {free / 1e9:.2f} GB free; use another --out"
        )


@dataclass
class Stopper:
    """Decides when a session has to end, and why. `catching_signals` makes SIGTERM and SIGINT count as a wish to stop."""

    limits: Limits
    started: float = PROCESS_STARTED
    signalled: str | None = None
    epochs_done: int = 0
    step_seconds: deque = field(default_factory=lambda: deque(maxlen=50))  # the latest, with logging and sampling between them
    save_seconds: float = 0.0  # the longest so far
    _last: float | None = None

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Inside, SIGTERM and SIGINT ask for a clean stop; a second one of the kind ends the process at once."""

        def note(number, frame):
            self.signalled = signal.Signals(number).name
            signal.signal(number, signal.SIG_DFL)

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def hours(self) -> float:
        """Hours since the process started."""
        return (time.monotonic() - self.started) / 3600

    def step_done(self) -> None:
        """Tell that a training step is over: its time is the base of all predictions."""
        now = time.monotonic()
        if self._last is not None:  # the first step also prepares, and tells nothing about the next
            self.step_seconds.append(now - self._last)
        self._last = now

    def saved(self, seconds: float) -> None:
        """Tell how long a save took. That time is none of the next step's."""
        self.save_seconds = max(self.save_seconds, seconds)
        self._last = time.monotonic() if self._last is not None else None

    def why_stop_now(self) -> str | None:
        """A reason to stop after this step, or None."""
        if self.signalled:
            return f"received {self.signalled}"
        if self._over(max(self.step_seconds, default=0)):
            return f"the limit of {self.limits.max_hours:g} hours is near"
        return None

    def why_stop_after_epoch(self, steps_per_epoch: int, is_last: bool) -> str | None:
        """A reason not to begin another epoch, or None. Call it at the end of each, after the save."""
        self.epochs_done += 1
        if is_last:
            return None
        if self.limits.max_epochs is not None and self.epochs_done >= self.limits.max_epochs:
            return f"{self.epochs_done} epochs are done in this session"
        if self.step_seconds and self._over(steps_per_epoch * statistics.mean(self.step_seconds)):
            return f"the next epoch and its save would not fit into {self.limits.max_hours:g} hours"
        return None

    def _over(self, seconds: float) -> bool:
        """Whether that much more work and a save would pass the time limit."""
        if self.limits.max_hours is None:
            return False
        return self.hours + MARGIN * (seconds + self.save_seconds) / 3600 > (1 - CLOSING) * self.limits.max_hours
