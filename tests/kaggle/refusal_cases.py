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


SAID = {  # what sessions that refuse to train say, by its cause: kernel.py's sentences, and one of `train`
    "machine": "the look at the machine failed with exit code 139: Segmentation fault",
    "no data": "no folder in '/kaggle/input' holds cars_train; check the job's data set (sources: bob/tiny-pictures)",
    "no package": "ddpm_utils is in none of the data sets in '/kaggle/input'; attach the one that `build.py dataset` writes",
    "no checkpoint": "there is no checkpoint of chain 'tiny-job-1' in '/kaggle/input' to go on from, found no session of any chain; "
    "push with the kernel's own latest output as a source, or begin anew without resuming",
    "foreign checkpoint": "there is no checkpoint of chain 'job-1' in '/kaggle/input' to go on from, found 'cars-2' in '/kaggle/input/cars'; "
    "push with the kernel's own latest output as a source, or begin anew without resuming",
    "damaged checkpoint": "'/kaggle/input/job/run/state-00000040.pt' is missing or damaged: it isn't what session 1 wrote; mount its whole output",
    "input": "batch size 4 is larger than the data set of 3 images",
    "no time": "starting took 11.2 hours, the session may take 11; raise max_hours",
}


def sessions_say(cause: str, *versions: int) -> Callable[[Emulator], None]:
    """Let these sessions (the first, if none is said) refuse for this cause."""
    line = json.dumps({"cause": cause, "reason": SAID[cause]})

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
    *(
        Case(name, (SAID[cause], *says), prepare=sessions_say(cause))
        for name, cause, says in (
            ("a data set of other files", "no data", ("open the data set's page",)),
            ("a kernel without the package", "no package", ("or build the kernel with build.py",)),
            ("a checkpoint of another chain", "foreign checkpoint", ("--replace",)),
            ("a checkpoint that is damaged", "damaged checkpoint", ("--replace",)),
            ("images or settings that training refuses", "input", ("with --set",)),
            ("hours that end before training", "no time", ("; with --set",)),
        )
    ),
    Case("a machine with a fault", ("failed (1 of 3): the look",), code=0, sessions=2, prepare=sessions_say("machine")),
    Case(
        "an earlier output that isn't mounted", ("failed (1 of 3): there is no",), code=0, sessions=2, prepare=sessions_say("no checkpoint")
    ),
    Case("Kaggle gives no answer", ("no answer from Kaggle", "asking again"), code=0, prepare=lambda kaggle: setattr(kaggle, "outage", 2)),
)
