"""Which settings draw the best pictures of real photographs at a fixed budget of CPU time: one run, one row.

python tests/records/recipe_record.py clothes --settings '{"prediction": "x0"}' --seconds 600 --rows ROWS.jsonl
python tests/records/recipe_record.py --rows ROWS.jsonl --record tests/records/recipe.md

The first trains with one thread for so many CPU seconds, measures samples against photographs that training hasn't seen, and adds a row. The
second writes all rows into the record's table. Settings are fields of TrainConfig, Generation and UNetConfig; what isn't named is as in `train`.
"""

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddpm_utils.commands.arguments import groups_of
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.data.images import ImageSet, to_uint8
from ddpm_utils.data.reading import Reading
from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.distribution_metrics import coverage, kid
from ddpm_utils.evaluation.features import efficientnet_features
from ddpm_utils.figures import sample_grid
from ddpm_utils.generate import generate, start_noise
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.preset import preset
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

SAMPLES, BATCH, STEPS = 280, 70, 20  # images, of DPM-Solver++
SEED = 0
BEGIN, END = "<!-- rows -->", "<!-- end of rows -->"  # in the record, around the table
ENDLESS = 10**5  # epochs: the budget ends the run


def photographs(args: argparse.Namespace) -> tuple[ImageSet, ImageSet]:
    """What to train on and what to compare with: the test split, or the folder of --test-path. Both whole, squashed to a square."""
    reading = Reading(fit="squash")
    other = {"source": args.test_path} if args.test_path else {"source": args.data_path, "split": "test"}
    return load_images(args.data_path, args.img_size, reading=reading), load_images(size=args.img_size, reading=reading, **other)


def add_photographs(parser: argparse.ArgumentParser, **options) -> None:
    """The flags that `photographs` reads."""
    parser.add_argument("data_path", help="photographs to train on: a folder, or a name such as clothes", **options)
    parser.add_argument("--test-path", help="photographs to compare with (default: the test split)")
    parser.add_argument("--img-size", type=int, default=64)


def config_of(settings: dict, data: ImageSet) -> TrainConfig:
    """The run with these settings, by the names of their fields, over those that `train` takes for such images."""
    known = {**preset(data.size, len(data)), **settings}
    unknown = known.keys() - {field.name for cls in (TrainConfig, Generation, UNetConfig) for field in fields(cls)}
    if unknown:
        raise SystemExit(f"unknown setting {sorted(unknown)[0]!r}")
    network, task, run = (
        {k: v for k, v in known.items() if k in {f.name for f in fields(cls)}} for cls in (UNetConfig, Generation, TrainConfig)
    )
    width = network.get("width", UNetConfig.width)
    shape = {"image_size": data.size, "channels": data.channels, "classes": len(data.classes) or None, "groups": groups_of(width)}
    return TrainConfig(network=UNetConfig(**network, **shape), task=Generation(**task), **run, epochs=ENDLESS)


def trained(config: TrainConfig, data: ImageSet, seconds: float, precision: str) -> tuple[Trainer, float]:
    """A trainer that used so many seconds of one CPU, and the seconds."""
    trainer = Trainer(GenerationTask(config), data, Execution(torch.device("cpu"), precision))
    started = time.process_time()
    while (used := time.process_time() - started) < seconds:
        trainer.train_step()
    return trainer, used


def sampled(trainer: Trainer, n: int) -> np.ndarray:
    """Samples (n, H, W, C) of the averaged network, labels as often as in the training images."""
    config, data = trainer.config, trainer.data
    label = torch.from_numpy(np.sort(data.labels)[np.arange(n) * len(data) // n]) if config.network.classes else None
    return drawn(trainer.average_network(), config, start_noise(config, n, SEED), label, trainer.execution)


@torch.no_grad()
def drawn(
    network: UNet, config: TrainConfig, x_T: Tensor, label: Tensor | None, execution: Execution, *, sampler: str = "dpm", steps: int = STEPS
) -> np.ndarray:
    """Samples (n, H, W, C) from the noise x_T (n, C, H, W), a batch at a time, without guidance."""
    parts = []
    for start in range(0, len(x_T), BATCH):
        part = slice(start, start + BATCH)
        with execution.autocast():
            for step in generate(network, config, x_T[part], None if label is None else label[part], sampler, steps, seed=(SEED, start)):
                x0 = step.x
        parts.append(to_uint8(x0, config.mean, config.std))
    return np.concatenate(parts)


def measured(args: argparse.Namespace) -> dict:
    """One row."""
    settings = json.loads(args.settings)
    data, real = photographs(args)
    trainer, used = trained(config_of(settings, data), data, args.seconds, args.precision)
    images = sampled(trainer, SAMPLES)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        sample_grid(images[:: SAMPLES // 70][:70], columns=10).savefig(args.pictures / f"{args.name}.png")
    a, b = efficientnet_features(np.asarray(real.images)), efficientnet_features(images)
    seen = trainer.step * trainer.config.batch_size
    return {
        "data": args.name.split(":")[0],
        "px": data.size,
        "settings": settings,
        "precision": args.precision,
        "cpu_minutes": round(used / 60, 1),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "steps": trainer.step,
        "images": seen,
        "rate": round(seen / used),
        "kid": round(kid(a, b).mean, 4),
        "coverage": round(coverage(a, b).coverage, 3),
        "n": [len(a), len(b)],
    }


def as_table(rows: list[dict]) -> str:
    """All rows in markdown, those of one data set and budget together, the best first."""
    ordered = sorted(rows, key=lambda row: (row["data"], row["px"], row["cpu_minutes"] // 2, row["kid"]))
    lines = [
        "| data | px | CPU minutes | settings beside the preset | parameters | images seen | KID | coverage | n real, generated |",
        "|" + "---|" * 9,
    ]
    for row in ordered:
        settings = ", ".join(f"{k} {v}" for k, v in row["settings"].items()) or "(the preset)"
        cells = (row["data"], row["px"], f"{row['cpu_minutes']:g}", settings, f"{row['parameters'] / 1e6:.2f} M", f"{row['images']:,}")
        lines.append("| " + " | ".join(map(str, (*cells, row["kid"], row["coverage"], f"{row['n'][0]}, {row['n'][1]}"))) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_photographs(parser, nargs="?")
    parser.add_argument("--name", default="photographs", help="of the data set, and behind a colon of the run")
    parser.add_argument("--settings", default="{}", help="JSON, beside the preset")
    parser.add_argument("--seconds", type=float, default=600, help="of one CPU")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--pictures", type=Path, help="folder for a grid of samples")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--record", type=Path, help="write the table into this record")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.data_path:
        row = measured(args)
        with open(args.rows, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row))
    if args.record:
        before, after = args.record.read_text().split(BEGIN)[0], args.record.read_text().split(END)[1]
        table = as_table([json.loads(line) for line in args.rows.read_text().splitlines()])
        args.record.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()
