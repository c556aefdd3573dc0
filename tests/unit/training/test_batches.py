"""Batches that a thread draws ahead are the batches: a step's values and errors come at that step, whatever was asked for before."""

from dataclasses import replace
from threading import get_ident

import numpy as np
import pytest
import torch

from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.batches import Ahead, draw_batch
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNetConfig

NETWORK = UNetConfig(image_size=8, channels=3, width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=8, dropout=0.1)
CONFIG = TrainConfig(network=NETWORK, epochs=3, batch_size=8, warmup=4, lr=1e-3)


IMAGES = ImageSet(np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), np.uint8))


def trainer(draws: str = "host", **execution) -> Trainer:
    return Trainer(GenerationTask(replace(CONFIG, draws=draws)), IMAGES, Execution(**execution))


def test_the_next_step_is_drawn_by_another_thread_before_it_is_asked_for():
    drawn = []

    def draw(step: int) -> int:
        drawn.append((step, get_ident()))
        return step * step

    ahead = Ahead(draw)
    assert [ahead(step) for step in (0, 1, 2, 7, 8, 3)] == [0, 1, 4, 49, 64, 9]  # also after a resume, forwards or back
    ahead.thread.shutdown()
    assert [step for step, _ in drawn] == [0, 1, 2, 3, 7, 8, 9, 3, 4]
    assert {thread for _, thread in drawn}.isdisjoint({get_ident()})


def test_an_error_comes_at_its_step():
    def draw(step: int) -> int:
        if step == 2:
            raise OSError("the disk is gone")
        return step

    ahead = Ahead(draw)
    assert [ahead(0), ahead(1)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        ahead(2)


def test_training_on_batches_drawn_ahead_ends_in_the_same_bits():
    plain, ahead = trainer(accumulate=2), trainer(accumulate=2)
    ahead.parts_of = Ahead(ahead._drawn)
    for one in (plain, ahead):
        list(one.run(until=5))
    assert all(torch.equal(p, q) for p, q in zip(plain.network.parameters(), ahead.network.parameters()))


def test_the_device_draws_the_noise_alone_and_as_a_function_of_seed_and_step():
    def drawn(step: int, **changes):
        return draw_batch(GenerationTask(replace(CONFIG, **changes)), IMAGES, step)

    host, device, again = drawn(5), drawn(5, draws="device"), drawn(5, draws="device")
    assert torch.equal(host.x0, device.x0)
    assert torch.equal(host.t, device.t)
    assert torch.equal(device.eps, again.eps)
    others = [host.eps, drawn(6, draws="device").eps, drawn(5, draws="device", seed=1).eps]
    for eps in others:  # independent: a correlation of 1536 pairs of normal numbers has a standard deviation of 0.026
        assert abs(torch.corrcoef(torch.stack([device.eps.flatten(), eps.flatten()]))[0, 1]) < 0.1


def test_several_processes_take_their_slices_of_what_the_device_draws():
    """Each draws the whole batch, so that how many there are makes no difference."""
    (whole,), parts = trainer("device")._drawn(3), trainer("device", accumulate=2)._drawn(3)
    assert torch.equal(whole.eps, torch.cat([part.eps for part in parts]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="what waits for a GPU shows on a GPU")
@pytest.mark.parametrize("draws", ["host", "device"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_never_waits_for_the_gpu(precision, draws):
    one = trainer(device="cuda", precision=precision, draws=draws)
    one.train_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = [one.train_step() for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(result.losses.isfinite().all() for result in results)
