"""Why samples of a short run that predicts eps are grey: ours beside diffusers' loop, with the same weights and the same noise.

python tests/records/one_colour_record.py: about ten minutes of one core; prints a table.

64 images of one colour at 16 px, 400 steps of 16 images; then 16 samples by all 1000 steps of DDPM, drawn by our loop and by diffusers'.
"""

import numpy as np
import torch
from torch import Tensor

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.generate import start_noise
from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.sampling import ddpm, make_denoiser
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet_config import UNetConfig

COLOUR, N = (200, 100, 50), 16
THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2", "eps": "epsilon", "v": "v_prediction", "x0": "sample"}


def trained(prediction: str, schedule: str) -> tuple[torch.nn.Module, TrainConfig]:
    """An averaged network after 400 steps, and its run."""
    network = UNetConfig(image_size=16, width=32, multipliers=(1, 2), blocks=1, attention=(8,))
    task = Generation(prediction=prediction, schedule=schedule)
    config = TrainConfig(network=network, task=task, batch_size=16, epochs=100, warmup=20, flip=False)
    trainer = Trainer(GenerationTask(config), ImageSet(np.full((64, 16, 16, 3), COLOUR, np.uint8)))
    for _ in trainer.run():
        pass
    return trainer.average_network(), config


@torch.no_grad()
def drawn(network: torch.nn.Module, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Samples by our loop and by diffusers'."""
    import_torchvision()
    from diffusers import DDPMScheduler

    schedule, x_T = config.noise_schedule(), start_noise(config, N, 0)
    denoiser = make_denoiser(network, schedule, config.task.prediction, clip=True)
    for step in ddpm(denoiser, x_T, schedule, generator=torch.Generator().manual_seed(0)):
        ours = step.x
    kinds = {"beta_schedule": THEIRS[config.task.schedule], "prediction_type": THEIRS[config.task.prediction]}
    scheduler, theirs, generator = DDPMScheduler(1000, clip_sample=True, **kinds), x_T, torch.Generator().manual_seed(0)
    for t in scheduler.timesteps:
        theirs = scheduler.step(network(theirs, torch.full((N,), int(t))), int(t), theirs, generator=generator).prev_sample
    return ours, theirs


def in_words(x: Tensor) -> str:
    """Mean colour and spread within a channel."""
    values = ((x * 0.5 + 0.5) * 255).clamp(0, 255)
    mean, spread = values.mean((0, 2, 3)), values.std((0, 2, 3)).mean()
    return f"{', '.join(f'{v:.0f}' for v in mean)} ± {spread:.0f}"


def main() -> None:
    torch.set_num_threads(1)
    print("| predicts | schedule | our samples | diffusers' samples | largest difference |\n|---|---|---|---|---|")
    for prediction in ("eps", "v", "x0"):
        for schedule in ("cosine", "linear"):
            ours, theirs = drawn(*trained(prediction, schedule))
            differ = (ours - theirs).abs().max().item()
            print(f"| {prediction} | {schedule} | {in_words(ours)} | {in_words(theirs)} | {differ:.1g} |", flush=True)


if __name__ == "__main__":
    main()
