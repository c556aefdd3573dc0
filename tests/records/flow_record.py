"""Flow matching beside v-prediction at equal training: KID of digits by calls of the network, for two models that differ in nothing else.

python tests/records/flow_record.py [--out out/flow] [--epochs 8] [--n 300] [--record tests/records/flow.md]

Trains both with the recipe of the shipped digits, or takes those that lie in --out already; eight epochs take about five minutes each on
one idle core. Heun's method asks twice a step: it gets as many steps as these calls allow.
"""

import argparse
import tomllib
from pathlib import Path

import numpy as np

from ddpm_utils.__main__ import main as ddpm_utils
from ddpm_utils.classifier import load_classifier
from ddpm_utils.data.images import to_uint8
from ddpm_utils.data.sources import load_images
from ddpm_utils.evaluation.distribution_metrics import kid_by_label
from ddpm_utils.evaluation.features import classifier_features
from ddpm_utils.generate import generate, labels_in_rows, start_noise
from ddpm_utils.models import SHIPPED, load_model, shipped
from ddpm_utils.training.tasks.classification import hold_out

PAIRS = {"v": "cosine", "flow": "flow"}  # what is predicted, and the schedule that goes with it
SAMPLERS = {"DDPM": "ddpm", "DDIM": "ddim", "DPM-Solver++": "dpm", "Heun": "heun"}
CALLS = (4, 6, 10, 20)
HELD_OUT, JUDGE_SEED = 0.4, 1  # as in digits-judge.toml


def command(prediction: str, out: Path, epochs: int) -> list[str]:
    """The words of `train`: the shipped digits' recipe with another prediction and schedule, for so many epochs."""
    words = tomllib.loads((SHIPPED / "digits.toml").read_text())["command"].split()[3:]
    for flag, value in (("--prediction", prediction), ("--out", str(out / prediction)), ("--epochs", str(epochs))):
        words[words.index(flag) + 1] = value
    return [*words, "--schedule", PAIRS[prediction]]


def heun_steps(calls: int) -> int:
    """Two calls a step, but one in the last, and one in the first from a sigma of thousands, where both schedules begin."""
    return calls // 2 + 1


def record(out: Path, epochs: int, n: int) -> str:
    """The record as Markdown."""
    judge, labels = load_classifier(shipped("digits-judge")), labels_in_rows(n, 10).numpy()
    _, kept = hold_out(load_images("mnist5k"), HELD_OUT, JUDGE_SEED)
    rows = np.concatenate([np.flatnonzero(kept.labels == digit)[: n // 10] for digit in range(10)])
    real = classifier_features(judge, kept.images[rows])[0]
    lines = [*introduction(epochs, n), "", "| predicts | sampler | " + " | ".join(f"{calls} calls" for calls in CALLS) + " |"]
    lines.append("|---" * (2 + len(CALLS)) + "|")
    for prediction in PAIRS:
        model = load_model(out / prediction / "model.safetensors")
        for name, sampler in SAMPLERS.items():
            cells = []
            for calls in CALLS:
                steps = heun_steps(calls) if sampler == "heun" else calls
                x_T = start_noise(model.config, n, seed=0)
                *_, last = generate(model.network, model.config, x_T, labels_in_rows(n, 10), sampler, steps)
                distance = kid_by_label(real, labels, classifier_features(judge, to_uint8(last.x))[0], labels)
                cells.append(f"{distance.mean:.4f} ± {distance.error:.4f}")
            lines.append(f"| {prediction} | {name} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def introduction(epochs: int, n: int) -> list[str]:
    """What is measured, in lines."""
    return [
        "# Flow matching beside v-prediction",
        "",
        f"Written by `tests/records/flow_record.py`. Two U-Nets of the shipped digits' recipe, each trained for {epochs} of its epochs with the same",
        "seed, images, timesteps and noise: one predicts v on the cosine schedule, the other the velocity of the straight path. KID by label, with",
        f"features of `digits-judge`; n = {n} real and as many generated digits; its error is the spread between the ten digits. One short",
        "training each: another seed might move either network. Both are unfinished, and an unfinished network's errors add up over many calls.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/flow"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    for prediction in PAIRS:
        if not (args.out / prediction / "model.safetensors").exists() and ddpm_utils(command(prediction, args.out, args.epochs)):
            raise SystemExit(f"training for {prediction} failed")
    text = record(args.out, args.epochs, args.n)
    print(text)
    if args.record:
        args.record.write_text(text)


if __name__ == "__main__":
    main()
