"""What a session tells: records for log.jsonl, a plain line for people, speed in images and FLOP a second."""

import json
import math
import time
import zlib
from pathlib import Path

import torch
from torch import nn

from ddpm_utils.diffusion import by_quarter
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import folder_bytes
from ddpm_utils.settings import fits, json_object
from ddpm_utils.training.soundness import Diverged
from ddpm_utils.training.trainer import StepResult, Trainer


class Reporter:
    """Collects what happened since the last report, and turns it into one record of the log."""

    def __init__(self, trainer: Trainer, out: Path, records: list[dict]):
        self.trainer, self.out, self.records = trainer, out, records
        self.flops_per_image = trainer.task.training_flops()
        self._start_interval()

    def _start_interval(self) -> None:
        self.results: list[StepResult] = []
        self.started = time.perf_counter()

    def add(self, result: StepResult) -> None:
        """Take note of a step, without looking at its values: that would make a GPU wait."""
        self.results.append(result)

    def check_finite(self) -> None:
        """Raise Diverged, naming the step, if any loss or gradient since the last report is NaN or infinite. Call it before every save."""
        bad = next((found for found in map(self.not_finite, self.results) if found), None)
        if self.trainer.execution.any_process(bad is not None):
            raise Diverged(bad or "the loss of another process is NaN or infinite")

    def not_finite(self, result: StepResult) -> str | None:
        """What of a step is NaN or infinite, in words. Where fp16 scales the loss, such gradients are usual, and their steps left out."""
        if not result.losses.isfinite().all():
            return f"the loss of step {result.step} is {result.losses.mean().item()}"
        if not self.trainer.scaler.is_enabled() and not result.grad_norm.isfinite():
            return f"the gradient of step {result.step} is of size {result.grad_norm.item()}"
        return None

    def record(self) -> dict:
        """Means since the last call over all processes, speed, and the time that the rest will take."""
        execution = self.trainer.execution
        losses = execution.gather(torch.cat([r.losses for r in self.results])).cpu()  # also waits for the device
        seconds = time.perf_counter() - self.started
        t = execution.gather(torch.cat([r.t for r in self.results]).to(execution.device)).cpu()
        last = self.results[-1]
        images_per_s = len(losses) / seconds
        record = {
            "step": last.step,
            "epoch": round(last.step / self.trainer.steps_per_epoch, 3),
            "loss": losses.mean().item(),
            "quarters": by_quarter(losses, t, self.trainer.config.timesteps),
            "lr": last.lr,
            "grad_norm": last.grad_norm.item() if math.isfinite(last.grad_norm.item()) else None,  # fp16 leaves such steps out
            "images_per_s": round(images_per_s, 1),
            "gflops_per_s": round(images_per_s * self.flops_per_image / 1e9, 1),
            "eta_s": round((self.trainer.total_steps - last.step) * seconds / len(self.results)),
            "disk_mb": round(folder_bytes(self.out) / 1e6, 1),
        }
        self.records.append(record)
        self._start_interval()
        return record


def plain_line(record: dict) -> str:
    """A record of the log as one line for people."""
    return (
        f"step {record['step']}  epoch {record['epoch']:.2f}  loss {record['loss']:.4f}  by quarter of t {quarters_in_words(record)}  "
        f"{record['images_per_s']:.0f} images/s  {record['gflops_per_s']:.0f} GFLOP/s  {record['eta_s']} s left  {record['disk_mb']:.0f} MB"
    )


def quarters_in_words(record: dict) -> str:
    """The losses of a record by quarter of t, from the least noise on."""
    return " ".join("-" if q is None else f"{q:.4f}" for q in record["quarters"])


def line_of(record: dict) -> str:
    """A record as a line of log.jsonl, with a checksum of the rest behind it."""
    return json.dumps({**record, "crc32": zlib.crc32(json.dumps(record).encode())})


def record_of(line: bytes, checked: bool) -> dict:
    """The record in a line of log.jsonl; empty for a damaged line. checked: it must have its checksum, which older versions didn't write."""
    try:
        record = json_object(line.decode(), "a line of the log")
    except (InputError, UnicodeDecodeError):
        return {}
    is_whole = not checked or record.pop("crc32", None) == zlib.crc32(json.dumps(record).encode())
    return record if is_whole and has_curve(record) else {}


def read_log(log: Path) -> list[dict]:
    """The records of a log.jsonl, in order; empty ones for damaged lines, and none for a file that isn't there."""
    content = log.read_bytes() if log.exists() else b""
    return [record_of(line, b'"crc32"' in content) for line in content.splitlines()]


def records_up_to(log: Path, step: int, every: int) -> tuple[list[dict], str]:
    """The log's records of steps up to the state, since later ones are trained, and written, again; and what it lacks, in words, or "".

    Nothing but the loss curve comes from them, so that a log stops no run. every: steps between two records.
    """
    found = read_log(log)
    records = [record for record in found if record and record["step"] <= step]
    *_, before, last = 0, 0, *(record["step"] for record in records)
    damaged, every = found.count({}), max(every, last - before)  # the run may have been logged less often so far
    lacks = [f"{damaged} of its lines are damaged and left out"] if damaged else []
    if last < step - step % every:
        lacks.append(f"the steps from {last + 1} to {step} aren't in it")
    return records, f"{log}: {' and '.join(lacks)}; the loss curve lacks them, the run doesn't" if lacks else ""


def has_curve(record: dict) -> bool:
    """Whether a record holds what the loss curve needs."""
    step, loss, quarters = (record.get(name) for name in ("step", "loss", "quarters"))
    return fits(step, int) and fits(loss, float) and math.isfinite(loss) and fits(quarters, list[float | None]) and len(quarters) == 4


def parameter_table(network: nn.Module, depth: int = 3) -> str:
    """Parameters by layer as text: one line for each module `depth` names deep, its count and share, and the total."""
    counts: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        layer = ".".join(name.split(".")[:-1][:depth])
        counts[layer] = counts.get(layer, 0) + parameter.numel()
    total = sum(counts.values())
    lines = [f"{layer:<28}{n:>13,}{n / total:>8.1%}" for layer, n in counts.items()]
    return "\n".join([f"{'layer':<28}{'parameters':>13}{'share':>8}", *lines, f"{'total':<28}{total:>13,}{1:>8.1%}"])
