"""The log on boards that people look at, TensorBoard and Weights & Biases. log.jsonl stays the truth: nothing is read back from a board.

Each step is shown once, however often a run is killed and resumed: a note beside the board's files holds the last one, and steps that are trained
again, to the same numbers, are passed over. What log.jsonl holds and the board lacks is shown when a session begins.
"""

import importlib.util
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ddpm_utils.config import TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.figures import tile
from ddpm_utils.runtime.files import atomic_write
from ddpm_utils.training.backup import read_fields, run_id

NOTE = "shown.json"  # in the board's folder
QUARTERS = ("1 least noise", "2", "3", "4 most noise")
SHOWN = ("loss", "lr", "grad_norm", "images_per_s", "gflops_per_s")


class Writer(Protocol):
    """What a board can do."""

    def show(self, values: dict[str, float], step: int) -> None:
        """Numbers by their names."""

    def show_image(self, name: str, image: np.ndarray, step: int) -> None:
        """image: (H, W, 3) uint8."""

    def close(self) -> None:
        """Nothing more will come."""


class Board:
    """A run on a board, from the step on that was never shown there."""

    def __init__(self, name: str, out: Path, config: TrainConfig, records: Iterable[dict] = ()):
        """name: of choices.BOARDS. records: those that log.jsonl holds. InputError where the board can't begin."""
        self.note = out / name / NOTE
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self.seen = read_fields(self.note).get("step", 0)
        self.writer: Writer = WRITERS[name](out, config)
        for record in records:
            self.show(record)

    def show(self, record: dict) -> None:
        """A record of the log: the loss, by quarter of t, the rate of learning, speed."""
        if (step := record["step"]) <= self.seen:
            return
        with atomic_write(self.note) as file:  # before it is shown: a kill in between leaves one out, and none twice
            file.write(json.dumps({"step": step}).encode())
        values = {name: record.get(name) for name in SHOWN}
        values |= {f"loss by quarter of t/{name}": loss for name, loss in zip(QUARTERS, record["quarters"])}
        self.writer.show({name: value for name, value in values.items() if value is not None}, step)

    def show_images(self, images: np.ndarray, columns: int, step: int) -> None:
        """A grid of samples; images: (N, H, W, C) uint8, in rows of `columns`."""
        if step > self.seen:
            self.writer.show_image("samples", tile(images, columns), step)

    def close(self) -> None:
        """Nothing more will come in this session."""
        self.writer.close()


class TensorBoard:
    """Event files in the run's folder; `tensorboard --logdir` shows them."""

    def __init__(self, out: Path, config: TrainConfig):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(out / "tensorboard"))
        self.writer.add_text("config", f"```json\n{json.dumps(json.loads(config.to_json()), indent=1)}\n```")

    def show(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()  # its own pace is two minutes, which a kill would take away

    def show_image(self, name: str, image: np.ndarray, step: int) -> None:
        self.writer.add_image(name, image, step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """A run of Weights & Biases, the same one in each session; WANDB_MODE=offline keeps it in the run's folder for `wandb sync`."""

    def __init__(self, out: Path, config: TrainConfig):
        import wandb

        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "ddpm_utils"),
                name=os.environ.get("WANDB_NAME", out.resolve().name),
                id=run_id(out),
                resume="allow",
                dir=str(out),
                config=json.loads(config.to_json()),
                settings=wandb.Settings(console="off"),  # the terminal is the user's
            )
        except wandb.errors.Error as error:
            raise InputError(f"--log-to wandb can't begin ({error}); run `wandb login`, or set WANDB_MODE=offline") from error

    def show(self, values: dict[str, float], step: int) -> None:
        self.run.log(values, step=step)

    def show_image(self, name: str, image: np.ndarray, step: int) -> None:
        import wandb

        self.run.log({name: wandb.Image(image)}, step=step)

    def close(self) -> None:
        self.run.finish()


WRITERS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": Wandb}


def check_board(name: str) -> None:
    """InputError where the board's package isn't installed. A folder of its name in the working folder, as wandb makes one, is no package."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise InputError(f"--log-to {name} needs the package {name}, which is not installed; run `pip install {name}`")
