"""A training session: the loop of training.py with its files around it.

Writes into the run's folder: log.jsonl, state.pt, model.safetensors (the averaged weights), loss.png, samples/.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from ddpm_utils.checkpoints import load_state, save_model, save_state
from ddpm_utils.data import ImageSet, to_uint8
from ddpm_utils.diffusion import by_quarter
from ddpm_utils.errors import InputError
from ddpm_utils.figures import loss_curve, sample_grid
from ddpm_utils.generate import generate, labels_in_rows, start_noise
from ddpm_utils.sampling import sample
from ddpm_utils.training import StepResult, TrainConfig, Trainer
from ddpm_utils.unet import UNet


@dataclass(frozen=True)
class SessionOptions:
    """How a session runs and reports: nothing here changes the weights that it ends with."""

    out: Path
    resume: bool = False
    device: str = "cpu"
    log_every: int = 50  # steps
    sample_every: int = 1000  # steps; 0: never

    def __post_init__(self):
        if self.log_every < 1 or self.sample_every < 0:
            raise InputError(f"log_every must be at least 1 and sample_every at least 0, got {self.log_every} and {self.sample_every}")


def train(config: TrainConfig, data: ImageSet, options: SessionOptions) -> Trainer:
    """Train to the end, saving the state after every epoch. Returns the trainer."""
    out = options.out
    trainer = Trainer(config, data, options.device)
    state, log = out / "state.pt", out / "log.jsonl"
    if options.resume:
        load_state(trainer, state)
        print(f"resumed {state} at step {trainer.step} of {trainer.total_steps}")
    elif state.exists():
        raise InputError(f"{str(out)!r} already holds a run; pass --resume to go on with it, or another --out")
    out.mkdir(parents=True, exist_ok=True)
    records = _records_up_to(log, trainer.step)
    log.write_text("".join(json.dumps(r) + "\n" for r in records))

    reporter = Reporter(trainer, out, records)
    bar = tqdm(total=trainer.total_steps, initial=trainer.step, desc="training", unit="step", disable=None)
    with bar, open(log, "a") as lines:
        for result in trainer.run():
            bar.update()
            reporter.add(result)
            if result.step % options.log_every == 0 or result.step == trainer.total_steps:
                record = reporter.record()
                lines.write(json.dumps(record) + "\n")
                lines.flush()
                tqdm.write(plain_line(record))
            if result.step % trainer.steps_per_epoch == 0:
                save_state(trainer, state)
            if options.sample_every and result.step % options.sample_every == 0:
                save_samples(trainer.average_network(), config, out / "samples" / f"step-{result.step:07d}.png")
    save_model(trainer.average_network(), config, data.classes, out / "model.safetensors")
    loss_curve(records).savefig(out / "loss.png")
    return trainer


class Reporter:
    """Collects what happened since the last report, and turns it into one record of the log."""

    def __init__(self, trainer: Trainer, out: Path, records: list[dict]):
        self.trainer, self.out, self.records = trainer, out, records
        self.flops_per_image = 3 * forward_flops(trainer.network)  # backward costs twice the forward pass
        self._start_interval()

    def _start_interval(self):
        self.results: list[StepResult] = []
        self.started = time.perf_counter()

    def add(self, result: StepResult) -> None:
        self.results.append(result)

    def record(self) -> dict:
        """Means since the last call, speed, and the time that the rest will take."""
        losses = torch.cat([r.losses for r in self.results]).cpu()  # also waits for the device
        seconds = time.perf_counter() - self.started
        t = torch.cat([r.t for r in self.results])
        step, per_epoch = self.results[-1].step, self.trainer.steps_per_epoch
        images_per_s = len(losses) / seconds
        record = {
            "step": step,
            "epoch": round(step / per_epoch, 3),
            "loss": losses.mean().item(),
            "quarters": by_quarter(losses, t, self.trainer.config.timesteps),
            "lr": self.results[-1].lr,
            "grad_norm": self.results[-1].grad_norm.item(),
            "images_per_s": round(images_per_s, 1),
            "gflops_per_s": round(images_per_s * self.flops_per_image / 1e9, 1),
            "eta_s": round((self.trainer.total_steps - step) * seconds / len(self.results)),
            "disk_mb": round(sum(f.stat().st_size for f in self.out.rglob("*") if f.is_file()) / 1e6, 1),
        }
        self.records.append(record)
        self._start_interval()
        return record


def plain_line(record: dict) -> str:
    """A record of the log as one line for people."""
    quarters = " ".join("-" if q is None else f"{q:.4f}" for q in record["quarters"])
    return (
        f"step {record['step']}  epoch {record['epoch']:.2f}  loss {record['loss']:.4f}  by quarter of t {quarters}  "
        f"{record['images_per_s']:.0f} images/s  {record['gflops_per_s']:.0f} GFLOP/s  {record['eta_s']} s left  {record['disk_mb']:.0f} MB"
    )


def save_samples(network: UNet, config: TrainConfig, path: Path, n: int = 16, steps: int = 25) -> None:
    """A grid of n samples, always from the same noise, so that one can watch a run improve."""
    classes = config.network.classes
    label = None if classes is None else labels_in_rows(n, classes)
    x0 = sample(generate(network, config, start_noise(config, n, seed=0), label, steps=min(steps, config.timesteps)), steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    sample_grid(to_uint8(x0, config.mean, config.std), columns=8).savefig(path)


def forward_flops(network: UNet) -> int:
    """Floating-point operations of one forward pass over one image."""
    config, device = network.config, next(network.parameters()).device
    size = config.image_size
    x = torch.zeros(1, config.channels, size, size, device=device)
    condition = torch.zeros(1, config.condition_channels, size, size, device=device) if config.condition_channels else None
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x, torch.zeros(1, dtype=torch.int64, device=device), condition=condition)
    return counter.get_total_flops()


def _records_up_to(log: Path, step: int) -> list[dict]:
    """The log's records of steps that the state still knows: later ones are trained, and written, again."""
    if not log.exists():
        return []
    records = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return [r for r in records if r["step"] <= step]


def choose_device(name: str) -> str:
    """ "auto" takes CUDA, then Apple's MPS, then the CPU, and says so; a device that is asked for must be there."""
    cuda = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    available = [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if name == "auto":
        name = available[0]
    elif name not in available:
        raise InputError(f"device {name!r} is not available here; available: auto, {', '.join(available)}")
    detail = torch.cuda.get_device_name(name) if name.startswith("cuda") else f"{torch.get_num_threads()} threads" if name == "cpu" else ""
    print(f"device: {name}" + (f" ({detail})" if detail else ""))
    return name
