"""Time to quality: ours as `train` trains where nothing is said, beside diffusers' example of unconditional training with its own settings.

python tests/records/quality_record.py clothes --minutes 2 5 10 --record tests/records/quality.md

Each trains with one thread on the same photographs, without labels, and is measured after the same CPU minutes: KID against photographs that
training hasn't seen, of as many samples. Theirs: the network, optimizer, schedule, noise and average of
examples/unconditional_image_generation with --use_ema; once more with a quarter of its channels, since its own network is made for days of a GPU.
Samples of all by 20 steps of DPM-Solver++, of which each side has its own.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from recipe_record import BATCH, STEPS, add_photographs, config_of, photographs, sampled
from torch.nn.functional import mse_loss

from ddpm_utils.data.images import ImageSet, to_float, to_uint8
from ddpm_utils.evaluation.distribution_metrics import kid
from ddpm_utils.evaluation.features import efficientnet_features
from ddpm_utils.runtime.device import Execution
from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer

EPOCHS = 100  # both examples' own
WIDTHS = (128, 128, 256, 256, 512, 512)  # of their example's network
QUARTER = tuple(width // 4 for width in WIDTHS)
Samples = Callable[[int], np.ndarray]  # n -> (n, H, W, C) uint8


def ours(data: ImageSet, precision: str) -> Iterator[Samples]:
    """Yields after each step."""
    trainer = Trainer(GenerationTask(config_of({}, data)), data, Execution(torch.device("cpu"), precision))
    while True:
        trainer.train_step()
        yield lambda n: sampled(trainer, n)


def theirs(data: ImageSet, precision: str, widths: tuple[int, ...] = WIDTHS) -> Iterator[Samples]:
    """Yields after each step."""
    import_torchvision()  # which diffusers imports, and which may lack its operators
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel

    torch.manual_seed(0)
    down = ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D")
    up = ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4
    network = UNet2DModel(sample_size=data.size, layers_per_block=2, block_out_channels=widths, down_block_types=down, up_block_types=up)
    scheduler, batch = DDPMScheduler(1000, beta_schedule="linear"), 16
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rate = get_cosine_schedule_with_warmup(optimizer, 500, EPOCHS * (len(data) // batch))
    average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    execution, generator = Execution(torch.device("cpu"), precision), np.random.default_rng(0)

    def samples(n: int) -> np.ndarray:
        averaged = copy.deepcopy(network)
        average.copy_to(averaged.parameters())
        solver, parts = DPMSolverMultistepScheduler.from_config(scheduler.config), []
        for start in range(0, n, BATCH):
            x = torch.randn(min(BATCH, n - start), 3, data.size, data.size, generator=torch.Generator().manual_seed(start))
            solver.set_timesteps(STEPS)
            with torch.no_grad(), execution.autocast():
                for t in solver.timesteps:
                    x = solver.step(averaged(x, t).sample.float(), t, x).prev_sample
            parts.append(to_uint8(x))
        return np.concatenate(parts)

    while True:
        images = data.images[np.sort(generator.choice(len(data), batch, replace=False))]
        images = np.where(generator.random(batch)[:, None, None, None] < 0.5, images[:, :, ::-1], images)
        x0 = to_float(images)
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (batch,))
        with execution.autocast():
            predicted = network(scheduler.add_noise(x0, noise, t), t).sample
        mse_loss(predicted.float(), noise).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        yield samples


def curve(name: str, training: Iterator[Samples], minutes: list[float], n: int, real: np.ndarray) -> list[tuple[int, float, float]]:
    """(steps, CPU minutes, KID) at each of these minutes; measuring isn't counted."""
    found, used, steps = [], 0.0, 0
    for mark in minutes:
        started = time.process_time()
        while used + time.process_time() - started < 60 * mark:
            samples = next(training)
            steps += 1
        used += time.process_time() - started
        found.append((steps, used / 60, kid(real, efficientnet_features(samples(n))).mean))
        print(f"{name}: {steps} steps, {used / 60:.1f} CPU minutes, KID {found[-1][2]:.3f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_photographs(parser)
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 5, 10], help="of one CPU")
    parser.add_argument("--n", type=int, default=100, help="samples")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"), help="of both")
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, real = photographs(args)
    data = ImageSet(data.images)  # their example has no labels
    real = efficientnet_features(np.asarray(real.images))
    lines = ["| CPU minutes | " + " | ".join(f"{m:g}" for m in args.minutes) + " |", "|---" * (1 + len(args.minutes)) + "|"]
    kinds = {"ours": ours, "diffusers": theirs, "diffusers, a quarter of the channels": partial(theirs, widths=QUARTER)}
    for name, kind in kinds.items():
        found = curve(name, kind(data, args.precision), args.minutes, args.n, real)
        lines.append(f"| {name}: steps | " + " | ".join(f"{steps:,}" for steps, _, _ in found) + " |")
        lines.append(f"| {name}: KID | " + " | ".join(f"{value:.3f}" for _, _, value in found) + " |")
    lines.append(f"\nn = {len(real)} real and {args.n} generated, {data.size} px, {args.precision}, one thread.")
    print("\n".join(lines))
    if args.record:
        args.record.write_text(f"# Time to quality\n\n{__doc__.split(chr(10) * 2)[-1]}\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
