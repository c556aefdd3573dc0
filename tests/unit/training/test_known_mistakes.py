"""Mistakes in training, known from published implementations, that no other test would notice: see tests/records/mutants.md."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import changed

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.sources import load_images
from ddpm_utils.models import load_model
from ddpm_utils.schedules import SCHEDULES, NoiseSchedule
from ddpm_utils.training.batches import draw_batch
from ddpm_utils.training.options import SessionOptions
from ddpm_utils.training.session import train
from ddpm_utils.training.tasks import generation
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNetConfig

NETWORK = UNetConfig(image_size=4, channels=1, width=8, multipliers=(1,), blocks=1, attention=(), groups=4, classes=10)
CONFIG = TrainConfig(network=NETWORK, task=Generation(timesteps=100), epochs=1, batch_size=512, warmup=0, lr=1e-2, ema_decay=0.9)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_images("digits", 4)


def test_each_image_has_noise_of_its_own_at_every_step(digits):
    noises = torch.cat([draw_batch(GenerationTask(CONFIG), digits, step).eps.flatten(1) for step in range(3)])
    assert len(noises.unique(dim=0)) == 3 * 512


def test_an_epoch_shows_every_image():
    images = np.arange(64, dtype=np.uint8).reshape(64, 1, 1, 1).repeat(4, 1).repeat(4, 2)
    data = ImageSet(images, np.zeros(64, dtype=np.int64), ("a",))
    config = replace(CONFIG, batch_size=16)
    seen = torch.cat([draw_batch(GenerationTask(config), data, step).x0[:, 0, 0, 0] for step in range(4)])
    assert len(seen.unique()) == 64


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_uses_the_schedule_that_it_names(name):
    schedule = NoiseSchedule.named(name, 100)
    config = changed(CONFIG, schedule=name, prediction="v")
    assert torch.equal(config.noise_schedule().alpha_bar, schedule.alpha_bar)
    zero = changed(config, zero_terminal_snr=True).noise_schedule()
    assert torch.equal(zero.alpha_bar, schedule.with_zero_terminal_snr().alpha_bar)


def test_a_gradient_that_is_no_number_is_not_hidden(digits):
    trainer = Trainer(GenerationTask(CONFIG), digits)
    torch.nn.init.constant_(next(trainer.network.parameters()), float("nan"))
    assert trainer.train_step().grad_norm.isnan()


def test_the_optimizer_sees_gradients_of_at_most_the_norm_allowed(digits):
    """Adam's first step is the same whatever the gradient's scale, so the weights alone don't show it."""
    trainer, norms = Trainer(GenerationTask(replace(CONFIG, clip_norm=0.01)), digits), []

    def look(*_):
        norms.append(torch.cat([p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None]).norm().item())

    trainer.optimizer.register_step_pre_hook(look)
    assert trainer.train_step().grad_norm > 0.02  # before clipping
    assert abs(norms[0] - 0.01) < 1e-5


def test_a_step_trains_in_train_mode_and_leaves_no_gradient(digits):
    trainer, modes = Trainer(GenerationTask(CONFIG), digits), []
    trainer.network.register_forward_pre_hook(lambda network, _: modes.append(network.training))
    trainer.network.eval()
    trainer.train_step()
    assert modes == [True]
    assert all(p.grad is None or not p.grad.any() for p in trainer.network.parameters())


def test_the_first_step_moves_the_average_by_nine_elevenths(digits):
    trainer = Trainer(GenerationTask(CONFIG), digits)
    before = [p.detach().clone() for p in trainer.network.parameters()]
    trainer.train_step()
    for old, new, average in zip(before, trainer.network.parameters(), trainer.averages[0].shadow):
        assert (average - (old * 2 / 11 + new * 9 / 11)).abs().max() < 1e-6


def test_the_model_file_and_the_samples_of_a_session_come_from_the_average(digits, tmp_path, monkeypatch):
    alone, expected = Trainer(GenerationTask(CONFIG), digits), []
    for _ in alone.run():
        expected.append([s.clone() for s in alone.averages[0].shadow])
    drawn, real = [], generation.generate

    def watched(network, *arguments, **options):
        drawn.append([p.detach().clone() for p in network.parameters()])
        return real(network, *arguments, **options)

    monkeypatch.setattr(generation, "generate", watched)
    train(GenerationTask(CONFIG), digits, SessionOptions(out=tmp_path, sample_every=1))
    assert len(drawn) == len(expected) == 3
    for ours, theirs in zip(drawn, expected):
        assert all(torch.equal(p, q) for p, q in zip(ours, theirs))
    saved = load_model(tmp_path / "model.safetensors").network.parameters()
    assert all(torch.equal(p, q.half().float()) for p, q in zip(saved, expected[-1]))
