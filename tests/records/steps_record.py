"""How many sampling steps are enough: KID of each sampler by its number of steps, for one trained model.

python tests/records/steps_record.py MODEL PHOTOGRAPHS [--n 280] [--steps 5 10 20 50 250 1000]

The same noise and labels everywhere; no guidance. All samplers approach the same distribution, so that what more steps would bring is seen in a
line; what the network can't draw is in all of them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from recipe_record import add_photographs, photographs
from tqdm import tqdm

from ddpm_utils.choices import SAMPLERS
from ddpm_utils.data.images import to_uint8
from ddpm_utils.evaluation.distribution_metrics import kid
from ddpm_utils.evaluation.features import efficientnet_features
from ddpm_utils.generate import generate, labels_in_rows, start_noise
from ddpm_utils.models import Model, find_weights, load_model
from ddpm_utils.runtime.device import Execution

BATCH = 70


@torch.no_grad()
def drawn(model: Model, n: int, sampler: str, steps: int, precision: str) -> np.ndarray:
    """n samples (n, H, W, C), labels evenly."""
    config, parts = model.config, []
    x_T, classes = start_noise(config, n, 0), config.network.classes
    label = labels_in_rows(n, classes) if classes else None
    execution = Execution(torch.device("cpu"), precision)
    for start in tqdm(range(0, n, BATCH), desc=f"{sampler} {steps}", leave=False, disable=None):
        part = slice(start, start + BATCH)
        with execution.autocast():
            for step in generate(model.network, config, x_T[part], None if label is None else label[part], sampler, steps, seed=(0, start)):
                x0 = step.x
        parts.append(to_uint8(x0, config.mean, config.std))
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    add_photographs(parser)
    parser.add_argument("--n", type=int, default=280, help="samples")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 50, 250, 1000])
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(find_weights(args.model, "generator"))
    args.img_size = model.config.network.image_size
    real = efficientnet_features(np.asarray(photographs(args)[1].images))
    lines = ["| sampler | " + " | ".join(map(str, args.steps)) + " |", "|---" * (1 + len(args.steps)) + "|"]
    for sampler in SAMPLERS:
        values = [kid(real, efficientnet_features(drawn(model, args.n, sampler, steps, args.precision))).mean for steps in args.steps]
        lines.append(f"| {sampler} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
        print(lines[-1], flush=True)
    lines.append(f"\nKID by steps, n = {len(real)} real and {args.n} generated.")
    print("\n".join(lines))
    if args.record:
        args.record.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
