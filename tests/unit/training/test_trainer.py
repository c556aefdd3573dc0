"""The loop: draws keyed by (seed, step), bit-exact resume, the average, the learning rate."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from runs import changed

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError
from ddpm_utils.models import load_model, save_model
from ddpm_utils.training.batches import draw_batch, epoch_order
from ddpm_utils.training.checkpoints import load_state, save_state
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer, learning_rate
from ddpm_utils.unet import UNetConfig

NETWORK = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, classes=10, dropout=0.1)
CONFIG = TrainConfig(network=NETWORK, task=Generation(timesteps=300), epochs=2, batch_size=128, warmup=4, lr=1e-3, ema_decay=0.99)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_images("digits")


def everything(trainer: Trainer) -> list[torch.Tensor]:
    """Weights, averages and both moments: all that training changes."""
    moments = [m for p in trainer.network.parameters() for m in trainer.optimizer.state[p].values()]
    return [*trainer.network.parameters(), *(s for a in trainer.averages for s in a.shadow), *moments]


def assert_bit_equal(a: Trainer, b: Trainer):
    assert a.step == b.step
    assert all(torch.equal(p, q) for p, q in zip(everything(a), everything(b), strict=True))


@pytest.fixture(scope="module")
def uncut(digits):
    """The trainer after a whole run of a config; each is trained once."""

    @cache
    def train(config: TrainConfig) -> Trainer:
        trainer = Trainer(GenerationTask(config), digits)
        list(trainer.run())
        return trainer

    return train


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adam", "prediction": "v", "lr_decay": "cosine"},
        {"ema_start": 9, "prediction": "x0", "weighting": "min-snr"},
        {"ema_sigmas": (0.05, 0.1), "ema_every": 3, "draws": "device"},
    ],
)
@pytest.mark.parametrize("cut", [1, 7, 14, 20])  # an epoch has 14 steps
def test_a_run_that_is_cut_and_resumed_is_bit_equal_to_one_that_was_not(digits, uncut, tmp_path, changes, cut):
    config = changed(CONFIG, **changes)
    whole = uncut(config)

    first = Trainer(GenerationTask(config), digits)
    list(first.run(until=cut))
    save_state(first, tmp_path / "state.pt")
    torch.randn(100)  # what else happens in a process must not matter
    second = Trainer(GenerationTask(config), digits)
    load_state(second, tmp_path / "state.pt")
    assert_bit_equal(first, second)
    list(second.run())
    assert second.step == 28
    assert_bit_equal(whole, second)


def test_same_seed_same_weights_and_another_seed_others(digits):
    runs = [Trainer(GenerationTask(replace(CONFIG, seed=seed)), digits) for seed in (0, 0, 1)]
    for trainer in runs:
        list(trainer.run(until=3))
    assert_bit_equal(runs[0], runs[1])
    assert not torch.equal(everything(runs[0])[0], everything(runs[2])[0])


def test_training_leaves_the_callers_random_numbers_alone(digits):
    torch.manual_seed(5)
    expected = torch.randn(4)
    torch.manual_seed(5)
    list(Trainer(GenerationTask(CONFIG), digits).run(until=2))
    assert torch.equal(torch.randn(4), expected)


def test_loss_falls_on_real_digits(digits):
    config = changed(CONFIG, epochs=6, prediction="v", lr=3e-3, network=replace(NETWORK, width=16, dropout=0.0))
    losses = [r.losses.mean().item() for r in Trainer(GenerationTask(config), digits).run()]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


def test_a_step_is_ho_s_algorithm_written_out(digits):
    """The first step against plain torch: the same batch, loss, clipping and AdamW update."""
    config = replace(CONFIG, network=replace(NETWORK, dropout=0.0), clip_norm=0.01)
    trainer = Trainer(GenerationTask(config), digits)
    reference = Trainer(GenerationTask(config), digits).network.train()
    result = trainer.train_step()
    batch = draw_batch(GenerationTask(config), digits, 0)
    ab = config.noise_schedule().alpha_bar[batch.t].float().view(-1, 1, 1, 1)
    x_t = ab.sqrt() * batch.x0 + (1 - ab).sqrt() * batch.eps
    loss = ((reference(x_t, batch.t, label=batch.label) - batch.eps) ** 2).mean()
    loss.backward()
    norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in reference.parameters()))
    assert abs(result.losses.mean().item() - loss.item()) < 1e-6
    assert abs(result.grad_norm.item() - norm) < 1e-5 * norm
    for p in reference.parameters():
        p.grad *= 0.01 / norm
    torch.optim.AdamW(reference.parameters(), lr=1e-3 / 4).step()
    for p, q in zip(trainer.network.parameters(), reference.parameters()):
        assert (p - q).abs().max() < 1e-6


# --- draws ---


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own():
    orders = [epoch_order(0, epoch, 1797) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(1797))
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], epoch_order(1, 0, 1797))


@pytest.mark.parametrize("T", [300, 1000])
def test_all_timesteps_are_trained(digits, T):
    config = changed(CONFIG, timesteps=T)
    t = torch.cat([draw_batch(GenerationTask(config), digits, step).t for step in range(100)])
    assert t.min() == 0
    assert t.max() == T - 1
    assert len(t.unique()) > 0.99 * T
    counts = torch.histc(t.float(), 10, 0, T)
    assert (counts / len(t) - 0.1).abs().max() < 0.015  # five standard deviations


def test_labels_are_dropped_for_each_image_at_their_rate(digits):
    dropped = torch.stack([draw_batch(GenerationTask(CONFIG), digits, step).label == 10 for step in range(100)]).double()
    assert abs(dropped.mean() - 0.1) < 0.014  # five standard deviations
    assert dropped.mean(1).max() < 0.4  # never a whole batch
    for rate in (0.0, 1.0):
        label = draw_batch(GenerationTask(changed(CONFIG, label_dropout=rate)), digits, 0).label
        assert ((label == 10).double().mean() == rate).item()


def test_half_of_the_images_are_mirrored_and_labels_stay_with_their_images():
    images = np.random.default_rng(0).integers(0, 256, (256, 8, 8, 1), dtype=np.uint8)
    data = ImageSet(images, np.arange(256) % 10, tuple("0123456789"))
    batch = draw_batch(GenerationTask(changed(CONFIG, batch_size=256, label_dropout=0.0)), data, 0)
    rows = epoch_order(0, 0, 256)
    plain = torch.from_numpy(images[rows]).permute(0, 3, 1, 2) / 127.5 - 1
    same = (batch.x0 - plain).abs().amax((1, 2, 3)) < 1e-6
    mirrored = (batch.x0 - plain.flip(3)).abs().amax((1, 2, 3)) < 1e-6
    assert (same ^ mirrored).all()
    assert 90 < same.sum() < 166  # five standard deviations round 128
    assert torch.equal(batch.label, torch.from_numpy(rows % 10))
    assert abs(batch.eps.mean()) < 0.05
    assert abs(batch.eps.std() - 1) < 0.05


def test_learning_rate_rises_then_stays_or_falls_as_a_cosine():
    config = replace(CONFIG, warmup=10, lr=1.0)
    assert [learning_rate(config, step, 110) for step in (0, 4, 9, 10, 109)] == [0.1, 0.5, 1.0, 1.0, 1.0]
    cosine = replace(config, lr_decay="cosine")
    assert learning_rate(cosine, 10, 110) == 1.0
    assert abs(learning_rate(cosine, 60, 110) - 0.5) < 1e-12
    assert learning_rate(cosine, 109, 110) < 1e-3
    assert learning_rate(replace(config, warmup=0), 0, 110) == 1.0


def test_samples_come_from_the_average(digits):
    trainer = Trainer(GenerationTask(CONFIG), digits)
    list(trainer.run(until=5))
    network = trainer.average_network()
    assert not network.training
    assert all(torch.equal(p, s) for p, s in zip(network.parameters(), trainer.averages[0].shadow))
    assert not torch.equal(next(network.parameters()), next(trainer.network.parameters()))


# --- files ---


def test_state_is_16_bytes_a_parameter_and_model_2(digits, tmp_path):
    config = replace(CONFIG, network=replace(NETWORK, width=32, groups=8))
    trainer = Trainer(GenerationTask(config), digits)
    list(trainer.run(until=1))
    n = sum(p.numel() for p in trainer.network.parameters())
    save_state(trainer, tmp_path / "state.pt")
    save_model(trainer.average_network(), config, digits.classes, tmp_path / "model.safetensors")
    assert (tmp_path / "state.pt").stat().st_size <= 16.2 * n
    assert (tmp_path / "model.safetensors").stat().st_size <= 2.1 * n
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "state.pt"]


def test_a_model_comes_back_with_its_run(digits, tmp_path):
    trainer = Trainer(GenerationTask(CONFIG), digits)
    save_model(trainer.average_network(), CONFIG, digits.classes, tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors")
    assert model.config == CONFIG
    assert model.classes == digits.classes
    for p, s in zip(model.network.parameters(), trainer.averages[0].shadow):
        assert torch.equal(p, s.half().float())


def test_a_state_of_another_run_or_other_images_is_refused(digits, tmp_path):
    trainer = Trainer(GenerationTask(CONFIG), digits)
    list(trainer.run(until=1))
    save_state(trainer, tmp_path / "state.pt")
    for changes, name in (({"lr": 2e-3}, "lr"), ({"seed": 1}, "seed"), ({"network": replace(NETWORK, width=16)}, "network.width")):
        with pytest.raises(InputError, match=f"another run: its {name} is"):
            load_state(Trainer(GenerationTask(replace(CONFIG, **changes)), digits), tmp_path / "state.pt")
    fewer = ImageSet(digits.images[:-1], digits.labels[:-1], digits.classes)
    with pytest.raises(InputError, match="other images"):
        load_state(Trainer(GenerationTask(CONFIG), fewer), tmp_path / "state.pt")
    load_state(Trainer(GenerationTask(replace(CONFIG, epochs=50)), digits), tmp_path / "state.pt")  # training longer is the same run
    save_state(Trainer(GenerationTask(replace(CONFIG, lr_decay="cosine")), digits), tmp_path / "cosine.pt")
    longer = Trainer(GenerationTask(replace(CONFIG, lr_decay="cosine", epochs=50)), digits)
    with pytest.raises(InputError, match="epochs"):
        load_state(longer, tmp_path / "cosine.pt")


def test_damaged_and_hostile_states_are_refused(digits, tmp_path):
    trainer, path = Trainer(GenerationTask(CONFIG), digits), tmp_path / "state.pt"
    save_state(trainer, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_state(trainer, path)
    for at in (len(whole) // 3, len(whole) // 2, 2 * len(whole) // 3):  # one flipped bit
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match="damaged"):
            load_state(trainer, path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        load_state(trainer, path)
    torch.save({"format": 99}, path)
    with pytest.raises(InputError, match=r"format 99.*newer"):
        load_state(trainer, path)

    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    torch.save({"format": 2, "config": Hostile()}, path)
    with pytest.raises(InputError, match="damaged or not a state"):
        load_state(trainer, path)
    assert not (tmp_path / "pwned").exists()
