"""What the four tasks have in common: one loop, exact resume, micro-batches, previews, results and their cost."""

import numpy as np
import pytest
import torch
from networks import as_if_trained
from retouchers import make_pairs, restoration

from ddpm_utils.classifier import load_classifier
from ddpm_utils.config import Classification, Generation, TrainConfig
from ddpm_utils.control.controlnet import load_control
from ddpm_utils.control.hinted_images import with_hints
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model, load_model
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.checkpoints import flatten, load_state, save_state
from ddpm_utils.training.flops import forward_flops
from ddpm_utils.training.tasks.classification import ClassificationTask, hold_out
from ddpm_utils.training.tasks.control import ControlTask, control_config
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.tasks.restoration import RestorationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet_config import UNetConfig

DIGITS = load_images("digits")
NETWORK = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, classes=10)
RUN = {"batch_size": 256, "epochs": 3, "warmup": 3, "lr": 2e-3, "ema_sigmas": (0.05, 0.1), "flip": True}
BASE = Model(as_if_trained(NETWORK), TrainConfig(network=NETWORK, task=Generation(timesteps=50, prediction="v")), DIGITS.classes, {})


def generation():
    return GenerationTask(TrainConfig(network=NETWORK, task=Generation(timesteps=50, label_dropout=0.3), **RUN)), DIGITS


def restoring():
    network = UNetConfig(image_size=32, channels=3, width=8, multipliers=(1, 2), blocks=1, attention=(), groups=4)
    network = UNetConfig(**{**vars(network), "middle_attention": False, "condition_channels": 3, "extra_channels": 1})
    return RestorationTask(TrainConfig(network=network, task=restoration("resshift"), **{**RUN, "batch_size": 4})), make_pairs(12)


def control():
    task = ControlTask(control_config(BASE, "edges", 0.3, **RUN), BASE, 1)
    return task, with_hints(DIGITS, lambda images: (images > 0).float())


def classification():
    network = UNetConfig(**{**vars(NETWORK), "attention": (), "middle_attention": False})
    learn, test = hold_out(DIGITS, 0.2, 0)
    return ClassificationTask(TrainConfig(network=network, task=Classification(timesteps=50, hold_out=0.2), **RUN), test), learn


MAKERS = {"generation": generation, "restoration": restoring, "control": control, "classification": classification}
LOAD = {"generation": load_model, "restoration": load_model, "control": load_control, "classification": load_classifier}


@pytest.fixture(params=MAKERS)
def name(request):
    return request.param


def everything(trainer):
    return torch.cat([flatten(list(trainer.network.parameters())), *(flatten(average.shadow) for average in trainer.averages)])


def test_a_run_of_any_task_that_is_cut_within_an_epoch_and_resumed_ends_in_the_same_bits(name, tmp_path):
    make = MAKERS[name]
    whole, first, second = (Trainer(*make()) for _ in range(3))
    list(whole.run(until=7))
    list(first.run(until=4))
    save_state(first, tmp_path / "state.pt")
    torch.randn(100)  # what else happens in a process must not matter
    load_state(second, tmp_path / "state.pt")
    list(second.run(until=7))
    assert second.step == 7
    assert torch.equal(everything(second), everything(whole))
    assert not torch.equal(everything(first), everything(whole))


def test_a_state_of_one_task_is_refused_by_another(tmp_path):
    save_state(Trainer(*generation()), tmp_path / "state.pt")
    with pytest.raises(InputError, match="its kind is 'generation', this run's is 'classification'"):
        load_state(Trainer(*classification()), tmp_path / "state.pt")


def test_micro_batches_add_up_to_the_same_gradient_in_any_task(name):
    whole, parts = (Trainer(*MAKERS[name](), Execution(accumulate=n)) for n in (1, 2))
    norms = [[step.grad_norm.item() for step in trainer.run(until=2)] for trainer in (whole, parts)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)  # float32, summed in another order


def test_recomputed_activations_change_nothing_in_any_task(name):
    plain, recomputed = (Trainer(*MAKERS[name](), Execution(checkpoint_blocks=on)) for on in (False, True))
    losses = [torch.stack([step.losses.mean() for step in trainer.run(until=3)]) for trainer in (plain, recomputed)]
    assert torch.equal(*losses)


def test_what_a_run_ends_with_is_its_average_with_the_run_inside(name, tmp_path):
    task, data = MAKERS[name]()
    trainer = Trainer(task, data)
    list(trainer.run(until=2))
    path = tmp_path / task.result
    task.save(trainer.average_network(), data, path)
    loaded = LOAD[name](path)
    network, run = (loaded, loaded.run) if name == "control" else (loaded.network, loaded.config)
    assert run == task.config
    expected = flatten(trainer.averages[0].shadow).half().float()
    assert torch.equal(flatten(list(network.parameters())), expected)


def test_every_task_shows_itself_and_gives_way_to_a_signal(name):
    task, data = MAKERS[name]()
    trainer = Trainer(task, data)
    shown = task.preview(trainer.average_network(), data, lambda: False)
    if name == "classification":
        assert shown.text.startswith(f"accuracy on {len(task.test)} images held out, by quarter of t")
        return
    images = shown.images
    assert (images.dtype, images.shape[1:]) == (np.uint8, data.images.shape[1:])
    assert len(images) % shown.columns == 0
    if name in ("generation", "control"):
        assert task.preview(trainer.average_network(), data, lambda: True) is None


def test_training_costs_three_forward_passes_of_a_u_net_and_a_control_less_than_its_base_and_itself():
    forward = forward_flops(NETWORK)
    assert generation()[0].training_flops() == 3 * forward
    assert 0 < classification()[0].training_flops() < 3 * forward  # no way up
    assert 2 * forward < control()[0].training_flops() < 6 * forward
