"""Every way in which Kaggle, or a session there, says no: how to meet it, and what run.py then does.

test_refusals.py walks the cases, kaggle_record.py lists what a user reads.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from emulator import Emulator, Limits, tiny

TEXT = "CHAIN = ''\nJOB = {'resume': False, 'epochs': 1, 'train': {}}"


@dataclass(frozen=True)
class Case:
    """name: what is wrong. says: parts of what a user reads, Kaggle's or the session's own sentence and what to do. sessions: begun for it."""

    name: str
    says: tuple[str, ...]
    code: int = 1
    sessions: int = 1
    prepare: Callable[[Emulator], None] = lambda kaggle: None
    flags: tuple[str, ...] = ()
    options: dict = field(default_factory=dict)  # of the Emulator


def sessions_say(cause: str, reason: str, *versions: int) -> Callable[[Emulator], None]:
    """Let these sessions (the first, if none is said) refuse for this cause."""
    line = json.dumps({"cause": cause, "reason": reason})

    def prepare(kaggle: Emulator) -> None:
        kaggle.account.faults = {n: {"prefix": f"print('refused: ' + {line!r}); raise SystemExit(1)"} for n in versions or (1,)}

    return prepare


def other_kernel(**request) -> Callable[[Emulator], None]:
    """Let the account have another kernel."""
    return lambda kaggle: (kaggle.account.save_kernel({"kernelType": "script", "text": TEXT} | request), kaggle.account.wait())


def without_phone(kaggle: Emulator) -> None:
    kaggle.account.verified = False


def wrong_key(kaggle: Emulator) -> None:
    kaggle.accepted = "another"


CASES = (
    Case("credentials that are not valid", ("Unauthenticated (HTTP 401)", "make a new token"), sessions=0, prepare=wrong_key),
    Case(
        "a source that is too large",
        ("The kernel source must be less than 1 megabytes in size. (HTTP 400)", "build it again"),
        sessions=0,
        options={"limits": Limits(source_bytes=1000)},
    ),
    Case(
        "a title that another kernel has",
        ('The requested title "tiny-job" is already in use by a notebook.', "(HTTP 409)", 'another name into "id" and "title"'),
        sessions=0,
        prepare=lambda kaggle: (
            other_kernel(slug="alice/older-job")(kaggle),
            kaggle.account.kernels["older-job"][0].request.update(newTitle="tiny-job"),
        ),
    ),
    Case(
        "a notebook under the same name",
        ("Notebook type cannot be changed", "delete the kernel on Kaggle"),
        sessions=0,
        prepare=other_kernel(slug="alice/tiny-job", kernelType="notebook", text="{}"),
        flags=("--replace",),
    ),
    Case(
        "GPU hours that are used up",
        ("the GPU hours of this week are spent; there are new ones at", "run the same command again then"),
        code=3,
        sessions=0,
        options={"limits": Limits(week_seconds=0.001)},
    ),
    Case(
        "a phone number that isn't verified",
        ("this session has no GPU", "verify your phone number at kaggle.com/settings"),
        prepare=without_phone,
        flags=("--set", "device=cuda"),
    ),
    Case(
        "a data set that can't be attached",
        (f"Kaggle left out the data set {tiny.DATASET}", "accept its terms or correct the name"),
        options={"datasets": {}},
    ),
    Case(
        "a data set of other files", ("no folder holds x", "open the data set's page"), prepare=sessions_say("no data", "no folder holds x")
    ),
    Case(
        "a kernel without the package",
        ("it is in none", "or build the kernel with build.py"),
        prepare=sessions_say("no package", "it is in none"),
    ),
    Case(
        "a checkpoint of another chain", ("it is of chain y", "--replace"), prepare=sessions_say("foreign checkpoint", "it is of chain y")
    ),
    Case("a checkpoint that is damaged", ("it is cut off", "--replace"), prepare=sessions_say("damaged checkpoint", "it is cut off")),
    Case(
        "images or settings that training refuses", ("batch size 4", "with --set"), prepare=sessions_say("input", "batch size 4 is larger")
    ),
    Case(
        "hours that end before training",
        ("raise max_hours; with --set",),
        prepare=sessions_say("no time", "starting took long; raise max_hours"),
    ),
    Case(
        "a machine with a fault", ("failed (1 of 3)", "it can't add"), code=0, sessions=2, prepare=sessions_say("machine", "it can't add")
    ),
    Case(
        "an earlier output that isn't mounted",
        ("failed (1 of 3)",),
        code=0,
        sessions=2,
        prepare=sessions_say("no checkpoint", "found none"),
    ),
    Case("Kaggle gives no answer", ("no answer from Kaggle", "asking again"), code=0, prepare=lambda kaggle: setattr(kaggle, "outage", 2)),
)
