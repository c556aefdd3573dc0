"""How many sampling steps are enough: KID of each sampler by its number of steps, for one trained model.

python tests/records/steps_record.py MODEL PHOTOGRAPHS [--n 280] [--steps 5 10 20 50 250 1000]

The same noise and labels everywhere; no guidance. All samplers approach the same distribution, so that what more steps would bring is seen in a
line; what the network can't draw is in all of them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from recipe_record import SEED, add_photographs, drawn, photographs

from ddpm_utils.choices import SAMPLERS
from ddpm_utils.evaluation.distribution_metrics import kid
from ddpm_utils.evaluation.features import efficientnet_features
from ddpm_utils.generate import labels_in_rows, start_noise
from ddpm_utils.models import find_weights, load_model
from ddpm_utils.runtime.device import Execution


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
    config, execution = model.config, Execution(torch.device("cpu"), args.precision)
    x_T, classes = start_noise(config, args.n, SEED), config.network.classes
    label = labels_in_rows(args.n, classes) if classes else None
    for sampler in SAMPLERS:
        images = (drawn(model.network, config, x_T, label, execution, sampler=sampler, steps=steps) for steps in args.steps)
        values = [kid(real, efficientnet_features(one)).mean for one in images]
        lines.append(f"| {sampler} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
        print(lines[-1], flush=True)
    lines.append(f"\nKID by steps, n = {len(real)} real and {args.n} generated.")
    print("\n".join(lines))
    if args.record:
        args.record.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
