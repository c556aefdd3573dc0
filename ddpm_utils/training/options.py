"""How a training session runs and reports. Nothing here changes the weights that a run ends with. Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path

from ddpm_utils.choices import BOARDS, PRECISIONS
from ddpm_utils.settings import check_settings, setting


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a session may use; None: no limit of that kind."""

    max_hours: float | None = setting(None, "since the process started", within="(0, inf)")
    max_epochs: int | None = setting(None, "trained in this session", within="(0, inf)")
    max_disk_gb: float | None = setting(None, "of everything in --out, at any moment", within="(0, inf)")
    keep: int = setting(2, "full states to keep", within="(0, inf)")

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """Where a session writes, how often it reports, and when it has to end."""

    out: Path = setting(Path("out/train"), "folder for everything that the run writes")
    resume: bool | Path = False  # True: from the newest state in `out`; a path: from that state
    limits: Limits = field(default_factory=Limits)
    log_every: int = setting(50, "steps between two lines of the log", within="[1, inf)")
    sample_every: int = setting(1000, "steps between two previews of the averaged network, 0: none", within="[0, inf)")
    snapshot_every: int = setting(0, "epochs between two small files of averaged weights, 0: none", within="[0, inf)")
    log_to: str | None = setting(None, "show the log there, too: losses, rates, previews", choices=BOARDS)
    command: str = ""  # what to run to go on, for status.json
    copy_to: Path | None = setting(None, "second folder for all of it, such as one on Google Drive; --resume finds it there too")

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What a session computes on. "auto" is decided when the session begins."""

    device: str = setting("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: str = setting("auto", "auto goes by the device", choices=("auto", *PRECISIONS))
    accumulate: int = setting(1, "micro-batches a step: less memory, same result", within="[1, inf)")
    checkpoint_blocks: bool = setting(False, "recompute activations: less memory, a third more time")
    compile: bool = setting(False, "use torch.compile: minutes at the start; not on a P100")

    def __post_init__(self):
        check_settings(self)
