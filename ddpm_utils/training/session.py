"""A training session: the loop of trainer.py with its files, its limits and its end.

Writes into the run's folder: run.json (which run it is), log.jsonl, state-*.pt, the task's result (the averaged weights), loss.png,
samples/, snapshots/, and status.json, which says how the session ended and what to run next. A session that stops early exits as cleanly
as one that is done.
"""

import shlex
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ddpm_utils.data.images import ImageSet
from ddpm_utils.errors import InputError, NotFinite, printable
from ddpm_utils.figures import loss_curve, sample_grid
from ddpm_utils.runtime.device import Execution
from ddpm_utils.runtime.files import atomic_path, atomic_write
from ddpm_utils.settings import with_checksum
from ddpm_utils.training.backup import mirror, name_run
from ddpm_utils.training.boards import Board
from ddpm_utils.training.checkpoints import (
    list_states,
    load_newest,
    load_state,
    offering_the_one_before,
    save_rotated,
    set_aside_newer,
)
from ddpm_utils.training.limits import Stopper, check_disk, disk_bytes
from ddpm_utils.training.log import Reporter, line_of, plain_line, records_up_to
from ddpm_utils.training.options import SessionOptions
from ddpm_utils.training.retry import flags_to_retry, with_flags
from ddpm_utils.training.run_folder import folder_of_its_own
from ddpm_utils.training.soundness import Diverged, why_not_good
from ddpm_utils.training.task import Task
from ddpm_utils.training.trainer import Trainer


def train(
    task: Task,
    data: ImageSet,
    options: SessionOptions,
    execution: Execution | None = None,
    start: dict[str, Tensor] | None = None,
) -> dict:
    """Train until the run is done or a limit is near. Returns what status.json says: {"status": "done" | "stopped" | "failed", …}.

    start: weights to begin with instead of random ones.
    """
    own = folder_of_its_own(options, task.result) if execution is None or execution.is_first else nullcontext()
    stopper = Stopper(options.limits)
    with own, stopper.catching_signals():  # before the trainer, where the others wait for the first
        return Session(Trainer(task, data, execution, start), options, stopper).run_to_end()


class Session:
    """One trainer with its folder. Only the first of several processes writes; all of them take the same decisions."""

    def __init__(self, trainer: Trainer, options: SessionOptions, stopper: Stopper):
        self.trainer, self.options, self.stopper, self.out = trainer, options, stopper, options.out
        self.first = trainer.execution.is_first
        self.good: Path | None = None  # the state that a crash now would be resumed from
        self.board: Board | None = None

    def run_to_end(self) -> dict:
        """Open the session, train until the run is done or a limit is near, and close it. Returns what status.json says."""
        try:
            self.open()
            reason = self.run()
        except Diverged as error:
            good = f"the last good state is {self.good}" if self.good else "no state before it was good"
            flags = shlex.join(word for flag in self.retry().items() for word in flag)
            return self.close("failed", f"{error}; {good}; try again with {flags}, or look at the images")
        except OSError as error:  # a full disk: a run that can go on once there is room
            with suppress(OSError):
                self.write_status("stopped", f"{error.filename or 'a file'} can't be read or written: {error.strerror or error}")
            raise
        return self.close("stopped" if reason else "done", reason or f"all {self.trainer.config.epochs} epochs are trained")

    def retry(self) -> dict[str, str]:
        """The flags with which a run that has failed is worth another try."""
        return flags_to_retry(self.trainer.config, self.options, self.good, self.trainer.task.can_start)

    def say(self, text: str) -> None:
        """Print, between the progress bar's updates, in the first process."""
        if self.first and text:
            tqdm.write(printable(text))

    def open(self) -> None:
        """Check the disk, take up the state if asked to, and prepare the folder."""
        trainer, options = self.trainer, self.options
        parameters = sum(p.numel() for p in trainer.network.parameters())
        snapshots = len(trainer.averages) * (trainer.config.epochs // options.snapshot_every) if options.snapshot_every else 0
        check_disk(disk_bytes(parameters, len(trainer.averages), options.limits.keep, snapshots), options.limits, self.out)
        limit = options.limits.max_hours
        if limit is not None and self.stopper.hours >= limit:
            raise InputError(f"starting alone took {self.stopper.hours:.4f} hours, the limit is {limit:g}; raise --max-hours")
        if options.resume is True and not list_states(self.out):
            self.say(f"the run in {self.out} ended before its first state; it begins anew")
        elif options.resume:
            self._resume()
        log = self.out / "log.jsonl"
        self.records, lacks = records_up_to(log, trainer.step, options.log_every)
        self.say(lacks)
        if self.first:
            for left_over in self.out.glob(".*.tmp"):  # of a process that was killed while it wrote
                left_over.unlink()
            name_run(self.out, self.options.copy_to, bool(self.options.resume))
            with atomic_write(log) as file:
                file.write("".join(line_of(record) + "\n" for record in self.records).encode())
            if options.log_to:
                self.board = Board(options.log_to, self.out, trainer.config, self.records)
        self.write_status("running", "the process was killed, if it runs no more")
        self.reporter = Reporter(trainer, self.out, self.records)

    def _resume(self) -> None:
        trainer, resume = self.trainer, self.options.resume
        if resume is True:
            self.good, before = load_newest(trainer, self.out)
        else:
            with offering_the_one_before(resume):
                self.good, before = resume, load_state(trainer, resume)
            if self.first and resume.parent.resolve() == self.out.resolve():
                for path in set_aside_newer(self.out, resume):
                    self.say(f"set aside {path}, which is newer than the state that you chose")
        self.say(f"resumed {self.good} at step {trainer.step} of {trainer.total_steps}")
        now = trainer.execution.as_saved()
        for name in (name for name in now if now[name] != before[name]):
            other = (
                "other noise and rounding" if (name, trainer.config.draws) == ("device", "device") else "the same noise, but other rounding"
            )
            self.say(f"{name} was {before[name]} and is {now[name]} now: the same images, {other}")

    def run(self) -> str | None:
        """The loop. Returns the reason for stopping early, or None if the run is done."""
        trainer, options, stopper = self.trainer, self.options, self.stopper
        bar = tqdm(total=trainer.total_steps, initial=trainer.step, desc="training", unit="step", disable=None if self.first else True)
        with bar:
            for result in trainer.run():
                bar.update()
                self.reporter.add(result)
                stopper.step_done()
                epoch_ends = result.step % trainer.steps_per_epoch == 0
                is_last = result.step == trainer.total_steps
                if result.step % options.log_every == 0 or is_last:
                    self.log()
                if options.sample_every and result.step % options.sample_every == 0 and self.first:
                    self.preview()
                reason = stopper.why_stop_now()
                if epoch_ends:
                    self.save()
                    self.snapshot(result.step // trainer.steps_per_epoch)
                    reason = stopper.why_stop_after_epoch(trainer.steps_per_epoch, is_last) or (None if is_last else reason)
                if trainer.execution.any_process(reason is not None):
                    if not epoch_ends:
                        self.save()
                    return reason or "another process has to stop"
        return None

    def log(self) -> None:
        """One record into the log, one line for people."""
        self.reporter.check_finite()
        record = self.reporter.record()
        if self.first:
            with open(self.out / "log.jsonl", "a") as lines:
                lines.write(line_of(record) + "\n")
        self.on_board(lambda board: board.show(record))
        self.say(plain_line(record))

    def on_board(self, do: Callable[[Board], None]) -> None:
        """Do something on the board, if there is one. Where that fails, it is said aloud, and the run goes on without it."""
        if self.board is None:
            return
        try:
            do(self.board)
        except Exception as error:  # of a program that is not ours, about its own files or its own network
            self.board = None
            self.say(
                f"WARNING: nothing more is shown by --log-to {self.options.log_to} ({error}); the run goes on, and log.jsonl has it all"
            )

    def save(self) -> None:
        """Write a state, if it is a good one: another must not push out those before it."""
        self.reporter.check_finite()
        why = why_not_good(self.trainer)
        if self.trainer.execution.any_process(why is not None):
            raise Diverged(why or "the weights of another process are not sound")
        started = time.monotonic()
        if self.first:
            self.good = save_rotated(self.trainer, self.out, self.options.limits.keep)
            self.copy()
        self.stopper.saved(time.monotonic() - started)

    def copy(self) -> None:
        """Bring the copy up to date, if there is one. Where that can't be, it is said aloud, and the run goes on."""
        if self.options.copy_to and self.first:
            try:
                mirror(self.out, self.options.copy_to)
            except (OSError, InputError) as error:
                why = getattr(error, "strerror", None) or error
                self.say(f"WARNING: the copy in {self.options.copy_to} is not up to date ({why}); the run goes on")

    def snapshot(self, epoch: int) -> None:
        """Write each average as a small model file, if this epoch is one of those chosen."""
        every = self.options.snapshot_every
        if not every or epoch % every or not self.first:
            return
        trainer = self.trainer
        for index, sigma in enumerate(trainer.config.ema_sigmas or (None,)):
            name = f"epoch-{epoch:05d}" + (f"-sigma-{sigma:.3f}" if sigma else "")
            about = {"step": trainer.step, "sigma": sigma}
            trainer.task.save(trainer.average_network(index), trainer.data, self.out / "snapshots" / f"{name}.safetensors", about)

    def preview(self) -> None:
        """Show what the averaged network can do by now, as the task does it. Gives way to a signal."""
        trainer = self.trainer
        try:
            shown = trainer.task.preview(trainer.average_network(), trainer.data, lambda: self.stopper.signalled is not None)
        except NotFinite as error:  # the loss will tell, and then the run ends
            self.say(f"no preview at step {trainer.step}: {error}")
            return
        if shown is None:
            return
        if shown.text:
            self.say(shown.text)
        if shown.images is not None:
            path = self.out / "samples" / f"step-{trainer.step:07d}.png"
            path.parent.mkdir(exist_ok=True)
            with atomic_path(path) as temporary:
                sample_grid(shown.images, columns=shown.columns).savefig(temporary)
            self.on_board(lambda board: board.show_images(shown.images, shown.columns, trainer.step))

    def write_status(self, status: str, reason: str) -> dict:
        """Write status.json; returns what it says."""
        trainer, command = self.trainer, self.options.command
        if status == "failed" and command:
            command = with_flags(command, self.retry())
        about = {
            "status": status,
            "reason": reason,
            "epoch": round(trainer.step / trainer.steps_per_epoch, 3),
            "epochs": trainer.config.epochs,
            "step": trainer.step,
            "steps": trainer.total_steps,
            "hours": round(self.stopper.hours, 5),
            "state": None if self.good is None else self.good.name,
            "next_command": None if status == "done" else command,
        }
        if self.first:
            with atomic_write(self.out / "status.json") as file:
                file.write(with_checksum(about).encode())
        return about

    def close(self, status: str, reason: str) -> dict:
        """Write the model, the loss curve and status.json, and say how the session ended."""
        if self.first:
            if status != "failed":
                trainer = self.trainer
                self.say(trainer.task.save(trainer.average_network(), trainer.data, self.out / trainer.task.result))
            if self.records:
                with atomic_path(self.out / "loss.png") as temporary:
                    loss_curve(self.records).savefig(temporary)
        about = self.write_status(status, reason)
        self.on_board(Board.close)
        self.copy()
        self.say(f"{status} at epoch {about['epoch']:g} of {about['epochs']}, step {about['step']} of {about['steps']}: {reason}")
        if about["next_command"]:
            self.say(f"to {'try again' if status == 'failed' else 'go on'}: {about['next_command']}")
        elif status == "done":
            self.say(self.trainer.task.remark(self.trainer.step, self.trainer.data))
        return about
