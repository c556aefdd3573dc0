"""From a folder of JPEG files to trained steps: ours beside the loop of diffusers' unconditional example, the same network on the same machine.

That example decodes every file anew in every epoch, in the training process as it is called by default; ours decodes each once, before the
first step. Both keep an average of the weights. Steps take turns, so that both see the same noise of the machine.
"""

import os
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from contestants import timed
from PIL import Image

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.data.sources import load_images
from ddpm_utils.runtime.device import Execution
from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNet
from ddpm_utils.unet_config import UNetConfig

PIXELS, SIZE = 500, 64  # of the files, of what is trained on


def photographs(folder: Path, n: int) -> None:
    """n JPEG files of soft colours with grain, about as large as photographs of PIXELS a side."""
    random = np.random.default_rng(0)
    for k in range(n):
        soft = Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8)).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
        grain = random.integers(-12, 13, (PIXELS, PIXELS, 3))
        Image.fromarray((np.asarray(soft) + grain).clip(0, 255).astype(np.uint8)).save(folder / f"{k:05d}.jpg", quality=90)


def our_steps(folder: Path, config: UNetConfig, batch: int, execution: Execution) -> Iterator[None]:
    """Our training, a step at a time."""
    run = TrainConfig(network=config, task=Generation(), batch_size=batch, epochs=1000)
    for _ in Trainer(GenerationTask(run), load_images(folder, SIZE), execution).run():
        yield


def their_steps(folder: Path, config: UNetConfig, batch: int, execution: Execution) -> Iterator[None]:
    """The example's loop: torchvision's transforms, a DataLoader without workers, DDPMScheduler, AdamW, EMAModel, the loss read at each step."""
    transforms = import_torchvision().transforms
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel

    change = [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    change = transforms.Compose([*change, transforms.Normalize([0.5], [0.5])])
    files = sorted(folder.glob("*.jpg"))

    class Photographs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, k: int) -> torch.Tensor:
            return change(Image.open(files[k]).convert("RGB"))

    network = UNet(config).to_diffusers().to(execution.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    rate, scheduler = get_cosine_schedule_with_warmup(optimizer, 500, 10**6), DDPMScheduler(1000)
    average = EMAModel(network.parameters(), use_ema_warmup=True)
    loader = torch.utils.data.DataLoader(Photographs(), batch, shuffle=True, drop_last=True)
    while True:
        for clean in loader:
            clean = clean.to(execution.device)
            noise = torch.randn_like(clean)
            t = torch.randint(0, 1000, (len(clean),), device=clean.device)
            with execution.autocast():
                output = network(scheduler.add_noise(clean, noise, t), t).sample
            loss = F.mse_loss(output.float(), noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
            average.step(network.parameters())
            loss.item()
            yield


def lines(config: UNetConfig, execution: Execution, *, files: int, batch: int, rounds: int) -> list[str]:
    """Seconds to the first step, and images a second afterwards."""
    first, later = {}, {"ddpm_utils": [], "diffusers' example": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photographs"
        folder.mkdir()
        photographs(folder, files)
        os.environ["DDPM_CACHE"] = f"{name}/cache"  # an empty one
        steps = {"ddpm_utils": our_steps, "diffusers' example": their_steps}
        running = {who: of(folder, config, batch, execution) for who, of in steps.items()}
        for who, its in running.items():
            first[who] = timed(partial(next, its), execution.device)
        for _ in range(rounds):
            for who, its in running.items():
                later[who].append(timed(partial(next, its), execution.device))
    table = [
        f"| {files} JPEG files of {PIXELS} px, trained at {SIZE} px | seconds to the first step | images/s afterwards |",
        "|---|---:|---:|",
    ]
    for who in running:
        table.append(f"| {who} | {first[who]:.1f} | {batch / statistics.median(later[who]):.1f} |")
    return table
