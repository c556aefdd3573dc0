"""A run as its folder tells of it, whoever trains it: how far it is, how it ended, its records and its newest preview. Changes nothing."""

from pathlib import Path
from typing import NamedTuple

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import is_held
from ddpm_utils.settings import checked_object
from ddpm_utils.training.log import quarters_in_words, read_log
from ddpm_utils.training.run_folder import is_begun


class Watched(NamedTuple):
    """A run at one moment."""

    folder: Path
    state: str  # begun, running, killed, or as status.json says: done, stopped, failed
    about: dict  # status.json; empty before there is one
    records: list[dict]  # of log.jsonl
    preview: Path | None  # the newest image of samples/

    @property
    def goes_on(self) -> bool:
        """Whether more is to be expected."""
        return self.state in ("begun", "running")

    @property
    def step(self) -> int:
        """Steps that are known to be done."""
        return max(self.about.get("step", 0), self.records[-1]["step"] if self.records else 0)

    def sentences(self) -> list[str]:
        """How the run stands, for people."""
        about, last = self.about, self.records[-1] if self.records else {}
        if not about:
            return ["the run has begun, and hasn't told anything yet"]
        done = self.step / max(1, about["steps"])
        said = [f"{self.state}: step {self.step} of {about['steps']}, epoch {done * about['epochs']:.2f} of {about['epochs']} ({done:.0%})"]
        if self.state == "running":
            said.append(
                f"{in_time(last['eta_s'])} left" if "eta_s" in last else "there is no record yet, the first comes after --log-every steps"
            )
        elif self.state == "killed":
            said.append("the process that trained it runs no more, and couldn't say why")
        else:
            said.append(about["reason"])
        if not self.goes_on and about.get("next_command"):
            said.append(f"to {'try again' if self.state == 'failed' else 'go on'}: {about['next_command']}")
        if last:
            said.append(f"loss {last['loss']:.4f}, by quarter of t from the least noise on {quarters_in_words(last)}")
            speed = [f"{last[name]:.0f} {unit}" for name, unit in (("images_per_s", "images/s"), ("disk_mb", "MB")) if name in last]
            said += [", ".join(speed)] if speed else []
        return said


def look_at(folder: Path) -> Watched:
    """The run in a folder; InputError where there is none."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; name the --out of a run")
    if not is_begun(folder):
        raise InputError(f"{str(folder)!r} holds no run, it has neither run.json nor log.jsonl; name the --out of a run")
    held = is_held(folder)  # before its status is read: one that ends meanwhile has written it
    status = folder / "status.json"
    about = checked_object(status.read_bytes(), str(status), needed=False) if status.exists() else {}
    state = about.get("status", "begun")
    records = [record for record in read_log(folder / "log.jsonl") if record]
    previews = sorted((folder / "samples").glob("step-*.png"))
    gone = state in ("begun", "running") and not held
    return Watched(folder, "killed" if gone else state, about, records, previews[-1] if previews else None)


def in_time(seconds: float) -> str:
    """ "3 h 20 min", "5 min", "12 s"."""
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if hours:
        return f"{hours} h {round(seconds / 60 - 60 * hours)} min"
    return f"{minutes} min" if minutes > 1 else f"{round(seconds)} s"
