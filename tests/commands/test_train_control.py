"""`train-control` as people type it, and a control that learns: from a base file to a control's, resumed, refused, followed."""

import json

import pytest
import torch
from networks import as_if_trained

from ddpm_utils.__main__ import main
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.control.controlnet import controlled, load_control
from ddpm_utils.control.hinted_images import with_hints
from ddpm_utils.data.images import to_float
from ddpm_utils.data.sources import load_images
from ddpm_utils.data.synthetic.cars import TYPES
from ddpm_utils.diffusion import training_loss
from ddpm_utils.models import Model, load_model, save_model, weights_digest
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.checkpoints import list_states, read_state
from ddpm_utils.training.tasks.control import ControlTask, control_config
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNetConfig


@pytest.fixture
def base_file(tmp_path):
    config = UNetConfig(image_size=16, width=16, multipliers=(1, 2), blocks=1, attention=(8,), groups=8, classes=len(TYPES))
    path = tmp_path / "base.safetensors"
    save_model(as_if_trained(config), TrainConfig(network=config, task=Generation(timesteps=50, prediction="v"), flip=True), TYPES, path)
    return path


def command(base, out, *more, hint="canny"):
    words = ["train-control", str(base), "--hint", hint, "--data-path", "toy-cars:24", "--out", str(out), "--batch-size", "8"]
    return main([*words, "--device", "cpu", "--precision", "fp32", "--warmup", "2", "--log-every", "2", "--sample-every", "0", *more])


def test_train_control_from_one_end_to_the_other(base_file, tmp_path, capsys):
    before = base_file.read_bytes()
    assert (
        command(base_file, tmp_path / "run", "--steps", "4", "--sample-every", "3", "--drop-hint", "0.2") == 0
    )  # 4 steps are 2 epochs of 3
    assert base_file.read_bytes() == before
    out = tmp_path / "run"
    status = json.loads((out / "status.json").read_text())
    assert (status["status"], status["step"]) == ("done", 6)
    assert len((out / "log.jsonl").read_text().splitlines()) == 3
    assert (out / "samples" / "step-0000003.png").exists()
    assert not (out / "model.safetensors").exists()
    base, control = load_model(base_file), load_control(out / "control.safetensors")
    assert control.hint == "canny"
    hint = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    x_t, t = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(4) * 10
    with torch.no_grad():
        assert not torch.equal(controlled(base.network, [(control, hint, 1.0)])(x_t, t), base.network(x_t, t))
    assert "hint_encoder" in capsys.readouterr().out


def test_a_resumed_control_ends_in_the_same_bits(base_file, tmp_path):
    """Three epochs at once, or one and then the rest; the third part of a run also has another length in its command."""
    assert command(base_file, tmp_path / "whole", "--epochs", "3", hint="segmentation") == 0
    assert command(base_file, tmp_path / "parts", "--epochs", "1", hint="segmentation") == 0
    assert command(base_file, tmp_path / "parts", "--epochs", "3", "--resume", hint="segmentation") == 0
    files = [(tmp_path / name / "control.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_a_control_trains_in_the_precision_asked_for_and_in_its_layout(base_file, tmp_path):
    for precision, layout in (("bf16", torch.contiguous_format), ("fp32", torch.channels_last)):
        assert command(base_file, tmp_path / precision, "--epochs", "1", "--precision", precision) == 0
        (state,) = list_states(tmp_path / precision)
        assert read_state(state)["execution"]["precision"] == precision
        base = load_model(base_file)
        data = with_hints(load_images("toy-cars:64", 16), "canny")
        Trainer(ControlTask(control_config(base, "canny", batch_size=8), base, 1), data, Execution(precision=precision))
        assert base.network.down[0].blocks[0].conv1.weight.is_contiguous(memory_format=layout)


def test_wrong_requests_are_told_in_a_sentence(base_file, tmp_path, capsys):
    def refused(*words, match, **options):
        assert command(*words, **options) == 2
        said = capsys.readouterr().err
        assert match in said
        assert said.count("\n") == 1

    out = tmp_path / "run"
    assert command(base_file, out, "--epochs", "1") == 0
    capsys.readouterr()
    refused(base_file, out, match="already holds a run")
    refused(base_file, out, "--resume", "--epochs", "2", hint="lines", match="its hint is 'canny', this run's is 'lines'")
    other = tmp_path / "other.safetensors"
    model = load_model(base_file)
    save_model(as_if_trained(model.config.network, seed=5), model.config, TYPES, other)
    refused(other, out, "--resume", "--epochs", "2", match="its base is")
    fresh = tmp_path / "fresh"
    refused(base_file, fresh, hint="cany", match="a hint must be one of canny, lines, scribble, segmentation, depth or a folder")
    refused(base_file, fresh, "--steps", "0", match="--steps must be at least 1")
    refused(base_file, fresh, "--lr", "0", match="lr must be above 0")
    refused(base_file, fresh, "--drop-hint", "1", match="hint_dropout must lie in [0, 1), got 1")
    refused(base_file, fresh, "--precision", "fp16", match="precision fp16 needs a CUDA GPU")
    refused("cars", fresh, match="no shipped model 'cars'; those shipped are clothes, digits, digits-early, toy-cars")
    save_model(model.network, model.config, tuple("abcdefg"), other)
    refused(other, fresh, match="the base was trained on the classes a, b, c")
    assert not fresh.exists()


def test_a_control_learns_to_follow_its_hint():
    """8-px digits with a hint that is the digit itself: after 60 steps the right hint explains the image better than another digit's does."""
    small = UNetConfig(image_size=8, channels=1, width=16, multipliers=(1, 2), blocks=1, attention=(), middle_attention=False, groups=8)
    base = Model(as_if_trained(small), TrainConfig(network=small, task=Generation(prediction="x0")), (), {})
    config = control_config(base, "itself", epochs=9, batch_size=32, lr=1e-3, warmup=5, ema_decay=0.9)
    data = load_images("digits", 8)
    digest = weights_digest(base.network)
    trainer = Trainer(ControlTask(config, base, 1), with_hints(data, lambda images: images / 2 + 0.5))
    for _ in trainer.run(until=60):
        pass
    control = trainer.average_network()
    generator = torch.Generator().manual_seed(0)
    x0 = to_float(data.images[:64])
    t, eps = torch.randint(200, config.timesteps, (64,), generator=generator), torch.randn(x0.shape, generator=generator)
    with torch.no_grad():
        right, shuffled = (
            training_loss(controlled(base.network, [(control, h, 1.0)]), config.noise_schedule(), x0, t, eps, "x0").mean().item()
            for h in (x0 / 2 + 0.5, x0.roll(1, 0) / 2 + 0.5)
        )
    assert right < 0.8 * shuffled
    assert weights_digest(base.network) == digest


def test_the_averages_of_a_control_are_rebuilt_from_its_snapshots(base_file, tmp_path, capsys):
    words = ("--epochs", "4", "--ema-sigmas", "0.05", "0.1", "--snapshot-every", "1")
    assert command(base_file, tmp_path / "run", *words) == 0
    assert main(["ema", str(tmp_path / "run"), "--sigma", "0.08"]) == 0
    rebuilt = load_control(tmp_path / "run" / "control-sigma-0.08.safetensors")
    assert (rebuilt.hint, rebuilt.run.ema_sigmas) == ("canny", (0.05, 0.1))
    assert all(weight.isfinite().all() for weight in rebuilt.parameters())


def test_a_control_keeps_to_its_limits_and_its_copy_is_a_run_to_go_on_with(base_file, tmp_path):
    drive, out = tmp_path / "drive", tmp_path / "run"
    assert command(base_file, tmp_path / "whole", "--epochs", "3") == 0
    assert command(base_file, out, "--epochs", "3", "--max-epochs", "1", "--keep", "1", "--copy-to", str(drive)) == 0
    assert json.loads((out / "status.json").read_text())["status"] == "stopped"
    assert command(base_file, tmp_path / "elsewhere", "--epochs", "3", "--copy-to", str(drive), "--resume") == 0
    assert (tmp_path / "elsewhere" / "control.safetensors").read_bytes() == (tmp_path / "whole" / "control.safetensors").read_bytes()
