"""A chain: session after session on one kernel, each going on from the last one's output, until the run is done.

What is known lies in chain.json, written before and after each push, so that a chain that is killed at any moment goes on where it was:
versions are numbered by Kaggle, and a version that is newer than the last known one is the push whose answer was not heard.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import build
import refusals
from chain_state import Options, State, checked_status, wanted
from client import Kernel, Pushed, Quota, Refused, Unreachable, download
from outcomes import CAUSES

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import atomic_write

PATIENCE = 30  # requests without an answer, one after the other, before a chain gives up
LEAST = 0.05  # of a session's usual hours: with less than that left of the week, a session isn't worth its start
TIMEOUT = "max allowed execution duration"  # Kaggle's words for a session that met its time limit
ENDED = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")


class Stopped(Exception):
    """The chain can't go on by itself, for the reason that is said."""


class WeekSpent(Exception):
    """The GPU hours of this week are spent; the message says when there are new ones."""


class Chain:
    """The chain of one kernel, followed from this machine."""

    def __init__(self, kernel: Kernel, chain: str, options: Options, say: Callable[[str], None] = print):
        self.kernel, self.options, self.say = kernel, options, say
        self.path = options.out / "chain.json"
        self.state = State.read(self.path) or State(kernel.ref, chain)
        old = self.state
        if (old.kernel, old.chain) != (kernel.ref, chain):
            if not options.replace:
                raise InputError(
                    f"{str(options.out)!r} follows the chain {old.chain} on {old.kernel}, these settings make {chain} on {kernel.ref}; "
                    "use another --out, or --replace to begin anew here"
                )
            self.path.rename(self.path.with_name(f"{old.chain}.json"))
            self.state = State(kernel.ref, chain)

    def run(self) -> None:
        """Push, wait and collect until the run is done. Raises Stopped or WeekSpent where it can't go on."""
        while not self.done:
            if self.state.running is None:
                self._take_up()
            if self.state.running is None:
                self._begin_session()
            if self.state.running is not None:
                self._wait()
        self.say(f"done: the model is {self.options.out / 'model.safetensors'}")

    @property
    def done(self) -> bool:
        """Whether all epochs that are asked for now are trained."""
        return any(s["status"] == "done" and s["epoch"] >= self.options.epochs for s in self.state.sessions)

    # --- what the server knows and we don't ---

    def _take_up(self) -> None:
        """Compare with the server: a push whose answer was lost, a chain begun elsewhere, another chain on this kernel."""
        state = self.state
        newest, chain = self._patiently(self.kernel.newest)
        if newest < state.version:
            raise Stopped(
                f"{state.kernel} has {newest} versions, there were {state.version}: was it deleted? Use another --out to begin anew"
            )
        if newest > state.version and self.options.replace and not (state.version or state.pushing):
            self._begin_after(newest)
        elif newest > state.version and chain == state.chain:
            self._adopt(newest)
        elif newest > state.version:
            raise Stopped(
                f"version {newest} of {state.kernel} belongs to {chain or 'something else'}, not to the chain {state.chain}; "
                "two chains on one kernel would lose each other's output: rename the job, or pass --replace to begin anew with this one"
            )
        state.pushing = False
        self._write()

    def _begin_after(self, newest: int) -> None:
        """Leave the versions so far to the chain that they are of."""
        if self._patiently(lambda: self.kernel.status(newest))[0] not in ENDED:
            raise Stopped(f"version {newest} of {self.state.kernel} still runs; cancel it on Kaggle, or wait for its end, before --replace")
        self.state.version = newest

    def _adopt(self, newest: int) -> None:
        """Follow a version that this state doesn't know: its push was not answered, or came from another place."""
        state = self.state
        self.say(f"version {newest} of this chain was pushed {'unheard' if state.pushing else 'from elsewhere'}: following it")
        for version in range(newest - 1, state.version, -1):  # earlier ones hold what a failed one can be followed by
            if state.good is None and self._patiently(lambda v=version: self.kernel.status(v))[0] == "COMPLETE":
                state.good = version
        state.running, state.version = newest, newest - 1

    # --- one session ---

    def _begin_session(self) -> None:
        """Push one session, or wait for what keeps Kaggle from starting it."""
        hours = self._hours_now()
        if hours is None:
            return
        state, out = self.state, self.options.out / "kernel"
        limits = {"max_hours": hours, "session_hours": hours + self.options.margin}
        settings = self.options.build | {"overrides": self.options.build["overrides"] | limits}
        folder = build.build_job(self.options.job, self.kernel.owner, out, resume=state.good is not None, **settings)
        state.pushing = True
        self._write()
        try:
            pushed = self.kernel.push(folder, round(3600 * limits["session_hours"]))
        except Unreachable as error:
            self.say(f"the push was not answered ({error}): looking whether it went through")
            return time.sleep(self.options.poll)
        except Refused as error:
            state.pushing = False
            self._write()
            return self._refused(error)
        self._pushed(pushed, hours)

    def _pushed(self, pushed: Pushed, hours: float) -> None:
        """Note a version that was made, and look at what Kaggle left out of it."""
        state = self.state
        expected, state.running, state.pushing = state.version + 1, pushed.version, False
        state.version = pushed.version - 1
        self._write()
        self.say(f"pushed version {pushed.version}, of at most {hours:.3g} hours: https://www.kaggle.com/code/{state.kernel}")
        if pushed.left_out_datasets:
            raise Stopped(
                f"Kaggle left out the data set {', '.join(pushed.left_out_datasets)}, so that version {pushed.version} will fail: its name is wrong, "
                "or it isn't yours to read; open its page on Kaggle, accept its terms or correct the name, and run the same command again"
            )
        if pushed.left_out_kernels:
            self.say(f"Kaggle left out {', '.join(pushed.left_out_kernels)}: without its earlier output this session will fail")
        if pushed.version != expected:
            raise Stopped(f"version {expected} was expected: another run.py pushes to this kernel too; stop one, and run the other again")

    def _refused(self, error: Refused) -> None:
        """Wait where that helps."""
        way = refusals.of_push(error)
        if way.again:
            self.say(f"refused: {error} Trying again in {2 * self.options.poll:g} s")
            time.sleep(2 * self.options.poll)
        elif way.spent:
            self._week_spent(self._patiently(self.kernel.quota))
        else:
            raise Stopped(f"Kaggle refused the push: {refusals.explained(error)}")

    def _hours_now(self) -> float | None:
        """Hours for a session that begins now; None after waiting for the next week."""
        quota = self._patiently(self.kernel.quota)
        if quota is None:
            return self.options.hours
        left = quota.total - quota.used
        if left < LEAST * self.options.hours:
            return self._week_spent(quota)
        self.say(f"GPU hours of this week: {quota.used:.2f} of {quota.total:.2f} used, {quota.reserved:.2f} reserved")
        return min(self.options.hours, round(left, 5))

    def _week_spent(self, quota: Quota | None) -> None:
        if quota is None:
            raise WeekSpent(
                "the GPU hours of this week are spent; there are new ones on Saturday at 00:00 UTC: run the same command again then"
            )
        said = f"the GPU hours of this week are spent; there are new ones at {quota.refresh:%Y-%m-%d %H:%M} UTC"
        if not self.options.wait_for_quota:
            raise WeekSpent(f"{said}: run the same command again then")
        self.say(f"{said}: waiting")
        time.sleep(max(0.0, (quota.refresh - datetime.now(UTC)).total_seconds()) + self.options.poll)

    def _wait(self) -> None:
        """Follow the version that runs to its end, and draw the consequences."""
        version, last = self.state.running, None
        while True:
            status, reason = self._patiently(lambda: self.kernel.status(version))
            if status != last:
                self.say(f"version {version}: {status}{f' ({reason})' if reason else ''}")
                last = status
            if status in ENDED:
                break
            time.sleep(self.options.poll)
        if status == "COMPLETE":
            self._collect(version)
        elif status == "ERROR" or TIMEOUT in reason:
            self._failed(version, reason or "the kernel ended with an error")
        else:
            self._end(version, {"status": "cancelled"})
            raise Stopped(
                f"version {version} was cancelled on Kaggle, its output is lost; run the same command to go on from the one before it"
            )

    def _collect(self, version: int) -> None:
        """Fetch what a version that is COMPLETE left, and decide by its status.json."""
        files, _ = self._patiently(lambda: self.kernel.output(version))
        folder = self.options.out / f"version-{version:03d}"
        if "status.json" not in files:
            return self._failed(version, "its output holds no status.json")
        self._patiently(lambda: download(files["status.json"], folder / "status.json", None))
        try:
            about = checked_status((folder / "status.json").read_bytes())
        except InputError as error:
            return self._failed(version, str(error))
        if about.get("chain") != self.state.chain:
            return self._failed(version, f"its output is of another chain, {about.get('chain')}")
        status, cause, steps = (
            about["status"],
            self._cause(version, about),
            [s["step"] for s in self.state.sessions if s["status"] == "stopped"],
        )
        if status == "stopped" and steps and about["step"] <= steps[-1]:
            return self._failed(version, f"it came no further than step {steps[-1]}: {about['reason']}")
        for name in wanted(files, status == "done", self.options.fetch_checkpoints):
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                return self._failed(version, f"its output holds {name!r}, which leads out of its folder")
            expected = about["files"].get(name, {}).get("sha256")
            self._patiently(lambda name=name, expected=expected: download(files[name], folder / name, expected))
        self.say(f"version {version}: {status} at epoch {about['epoch']:g} of {about['epochs']}: {about['reason']}")
        self.state.good = version if about["state"] else None
        if cause == "died":
            return self._failed(version, about["reason"])
        if status == "done" and about["model"] not in files:
            return self._failed(version, f"its status.json names a model {about['model']!r} that is none of its files")
        if status == "done":
            with atomic_write(self.options.out / "model.safetensors") as file:
                file.write((folder / about["model"]).read_bytes())
        self.state.failures = 0
        self._end(version, {name: about[name] for name in ("status", "reason", "epoch", "step", "hours", "total_hours", "peak_disk_gb")})
        if status == "stopped":
            self._forecast(about)
        if status == "failed":
            untold = (
                ""
                if cause
                else "; its status.json, of an older kernel, doesn't tell whether another try helps: run the same command for one"
            )
            raise Stopped(f"training failed: {about['reason']}{untold}")

    def _forecast(self, about: dict) -> None:
        """Say what is left, by what was measured so far: from here on the plan's estimate is replaced."""
        seconds, left = self.state.seconds_per_epoch, about["epochs"] - about["epoch"]
        if seconds:
            hours = seconds * left / 3600
            count = math.ceil(hours / self.options.hours)
            self.say(
                f"measured: {seconds:.3g} s an epoch, starts included; the {left:g} that are left take about {hours:.2g} hours, "
                f"in {count} session{'s' if count > 1 else ''}"
            )

    def _cause(self, version: int, about: dict) -> str | None:
        """Why the session ended, a word of CAUSES; None for a failure that an older kernel left without one."""
        status = about["status"]
        cause = about.get("cause", None if status == "failed" else status)
        if cause is not None and cause not in CAUSES:
            raise Stopped(
                f"version {version} names the cause {cause!r}, which is none of {', '.join(CAUSES)}: this run.py is older than the kernel; update it"
            )
        return cause

    def _failed(self, version: int, reason: str) -> None:
        """Count a session that failed; too many, one after the other, end the chain, and so does one that another would follow for sure."""
        _, log = self._patiently(lambda: self.kernel.output(version))
        if refusal := refusals.in_log(log):
            reason, way = refusal
            if not way.again:
                self._end(version, {"status": "failed", "reason": reason})
                raise Stopped(f"version {version} refused to begin: {reason}; {way.do}")
        tail = "\n".join(f"  | {line}" for line in log.strip().splitlines()[-15:])
        self.state.failures += 1
        self.say(f"version {version} failed ({self.state.failures} of {self.options.max_failures}): {reason}\n{tail}")
        too_many = self.state.failures >= self.options.max_failures
        failures, self.state.failures = self.state.failures, 0 if too_many else self.state.failures
        self._end(version, {"status": "failed", "reason": reason})
        if too_many:
            raise Stopped(f"{failures} sessions failed one after the other, the last one said:\n{tail}")

    def _end(self, version: int, session: dict) -> None:
        self.state.sessions.append({"version": version, **session})
        self.state.version, self.state.running = version, None
        self._write()

    def _patiently(self, call: Callable):
        """The answer to `call`, asked again where Kaggle or the network gives none."""
        for attempt in range(PATIENCE):
            try:
                return call()
            except Unreachable as error:
                self.say(f"no answer from Kaggle ({error}); asking again in {self.options.poll:g} s ({attempt + 1} of {PATIENCE})")
                time.sleep(self.options.poll)
        raise Stopped("Kaggle doesn't answer; what runs there goes on: run the same command later")

    def _write(self) -> None:
        with atomic_write(self.path) as file:
            file.write(json.dumps(asdict(self.state), indent=2).encode())
