"""Precision, memory and processes: how a run is computed must not change what is trained."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from two_processes import in_two_processes

from ddpm_utils.__main__ import main
from ddpm_utils.config import TrainConfig
from ddpm_utils.data.images import ImageSet
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.device import Execution, choose_device, precision_of
from ddpm_utils.runtime.doctor import supports
from ddpm_utils.training.batches import draw_batch
from ddpm_utils.training.checkpoints import list_states, load_state, save_state
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNetConfig

NETWORK = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=8, classes=10)
CONFIG = TrainConfig(network=NETWORK, epochs=2, batch_size=128, warmup=4, lr=1e-3)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def trained(digits, steps=6, **execution) -> Trainer:
    trainer = Trainer(GenerationTask(CONFIG), digits, Execution(**execution))
    list(trainer.run(until=steps))
    return trainer


def furthest(a: Trainer, b: Trainer) -> float:
    return max((p - q).abs().max().item() for p, q in zip(a.network.parameters(), b.network.parameters()))


def test_accumulation_gives_the_same_gradient(digits):
    whole, parts = (Trainer(GenerationTask(CONFIG), digits, Execution(accumulate=n)) for n in (1, 4))
    batch = draw_batch(GenerationTask(CONFIG), digits, 0)
    for trainer in (whole, parts):
        for k, part in enumerate(trainer._micro_batches(batch)):
            trainer._backward(part, k, last=True)
    for p, q in zip(whole.network.parameters(), parts.network.parameters()):
        assert (p.grad - q.grad).abs().max() < 1e-6  # float32 sums in another order
    assert furthest(trained(digits), trained(digits, accumulate=4)) < 1e-3  # where Adam divides by tiny gradients, rounding is amplified


def test_checkpointed_blocks_give_the_same_bits_with_dropout_too(digits):
    config = replace(CONFIG, network=replace(NETWORK, dropout=0.2))
    runs = [Trainer(GenerationTask(config), digits, Execution(checkpoint_blocks=on)) for on in (False, True)]
    for trainer in runs:
        list(trainer.run(until=4))
    assert furthest(*runs) == 0


@pytest.mark.parametrize(("precision", "layout"), [("fp32", torch.channels_last), ("bf16", torch.contiguous_format)])
def test_the_network_computes_in_the_layout_that_is_fast_whatever_the_data_brings(precision, layout):
    """Pictures are decoded as (H, W, C); a network keeps the layout of its input, and in bf16 on CPUs that one takes twice as long."""
    data = ImageSet(np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8))
    trainer = Trainer(
        GenerationTask(replace(CONFIG, batch_size=8, network=replace(NETWORK, channels=3, classes=None))),
        data,
        Execution(precision=precision),
    )
    seen = []
    for module in trainer.network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    trainer.train_step()
    maps = [x for x in seen if x.dim() == 4 and x.shape[2] > 1]
    assert len(maps) > 5
    assert all(x.is_contiguous(memory_format=layout) for x in maps)


def test_bfloat16_autocast_keeps_weights_averages_and_losses_in_float32(digits):
    trainer = Trainer(GenerationTask(CONFIG), digits, Execution(precision="bf16"))
    seen = []
    trainer.network.input_conv.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    losses = [r.losses for r in trainer.run(until=6)]
    assert set(seen) == {(torch.float32, torch.bfloat16)}  # x_t was noised in float32
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert {p.dtype for p in trainer.network.parameters()} == {s.dtype for s in trainer.averages[0].shadow} == {torch.float32}
    exact = [r.losses for r in Trainer(GenerationTask(CONFIG), digits).run(until=6)]
    assert all((a - b).abs().max() < 0.02 for a, b in zip(losses, exact))


def test_bfloat16_runs_resume_bit_equal(digits, tmp_path):
    whole = trained(digits, 8, precision="bf16")
    first = trained(digits, 5, precision="bf16")
    save_state(first, tmp_path / "s.pt")
    second = Trainer(GenerationTask(CONFIG), digits, Execution(precision="bf16"))
    load_state(second, tmp_path / "s.pt")
    list(second.run(until=8))
    assert furthest(whole, second) == 0


def test_gradient_scaling_is_saved_with_the_state(digits, tmp_path):
    trainer = trained(digits, 1)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**7)
    for _ in range(2):
        trainer.train_step()
    trainer.scaler.update(2.0**5)
    save_state(trainer, tmp_path / "s.pt")
    other = Trainer(GenerationTask(CONFIG), digits)
    other.scaler = torch.amp.GradScaler("cpu")
    load_state(other, tmp_path / "s.pt")
    assert other.scaler.get_scale() == 2.0**5
    assert other.scaler.state_dict() == trainer.scaler.state_dict()


def test_a_step_that_scaling_skips_moves_nothing_and_training_goes_on(digits, tmp_path):
    trainer = trained(digits, 1)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = [p.clone() for p in trainer.network.parameters()]
    overflow = next(trainer.network.parameters()).register_hook(lambda g: torch.full_like(g, torch.inf))  # as in float16
    trainer.train_step()
    overflow.remove()
    assert all(torch.equal(p, q) for p, q in zip(trainer.network.parameters(), before))
    assert trainer.scaler.get_scale() == 2.0**9
    save_state(trainer, tmp_path / "s.pt")
    other = Trainer(GenerationTask(CONFIG), digits)
    load_state(other, tmp_path / "s.pt")
    first = next(iter(other.network.parameters()))
    assert other.step == 2
    assert other.optimizer.state[first]["step"] == 1


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((6, 0), "fp32"), ((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")],
)
def test_precision_goes_by_compute_capability(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision_of("cuda:0")[0] == precision


def test_a_gpu_without_kernels_in_this_torch_is_recognised():
    recent = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
    older = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_90"]
    assert not supports((6, 0), recent)  # the P100 whose torch says is_available()
    assert supports((6, 0), older)
    assert supports((6, 1), older)
    assert supports((7, 5), recent)
    assert supports((8, 9), recent)
    assert supports((12, 1), recent)
    assert supports((13, 0), recent)  # by compute_120
    assert not supports((7, 0), recent)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Execution(precision="fp8"), "got 'fp8'"),
        (lambda: Execution(precision="fp16"), "fp16 needs a CUDA GPU"),
        (lambda: Execution(accumulate=0), "got 0"),
        (lambda: choose_device("cuda:77"), "'cuda:77' is not available"),
    ],
)
def test_bad_settings_are_refused(build, words):
    with pytest.raises(InputError, match=words):
        build()


def test_a_batch_that_can_not_be_shared_out_is_refused(digits):
    with pytest.raises(InputError, match=r"multiple of 3.*got 128"):
        Trainer(GenerationTask(CONFIG), digits, Execution(accumulate=3))


# --- two processes ---

FLAGS = [
    "train",
    "--data-path",
    "digits",
    "--width",
    "8",
    "--multipliers",
    "1",
    "2",
    "--blocks",
    "1",
    "--batch-size",
    "256",
    "--precision",
    "fp32",
]
FLAGS += ["--epochs", "4", "--log-every", "1", "--dropout", "0.1"]


def losses(out) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_two_processes_train_the_same_batches_and_resume_bit_equal(tmp_path, capsys):
    """One run by torchrun, for what it says and how it exits; the others in forked processes, which end without a thread of gloo."""
    whole, cut, moved, alone = (tmp_path / name for name in ("whole", "cut", "moved", "alone"))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ddpm_utils"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*start, *FLAGS, "--out", str(whole)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("one of 2 processes") == 1  # only the first speaks
    in_two_processes([*FLAGS, "--out", str(cut), "--max-epochs", "2"])
    shutil.copytree(cut, moved)
    in_two_processes([*FLAGS, "--out", str(cut), "--resume"])
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert losses(whole) == losses(cut)

    # in one process: the same images, timesteps and noise, but other dropout and rounding
    assert main([*FLAGS, "--out", str(alone)]) == 0
    assert abs(losses(alone)[0] - losses(whole)[0]) < 1e-5  # the first prediction is 0, with or without dropout
    assert max(abs(a - b) for a, b in zip(losses(alone), losses(whole))) < 0.05

    # and a run of two may go on alone, which is said aloud
    capsys.readouterr()
    assert main([*FLAGS, "--out", str(moved), "--resume"]) == 0
    assert "processes was 2 and is 1 now" in capsys.readouterr().out
    assert list_states(moved)[-1].name == list_states(whole)[-1].name
