"""ControlNet: it starts as the base itself, learns through it, leaves it alone, and belongs to it."""

import numpy as np
import pytest
import torch
from networks import as_if_trained, stirred

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.control.controlnet import ControlNet, controlled, load_control, save_control
from ddpm_utils.errors import InputError
from ddpm_utils.guidance import classifier_free
from ddpm_utils.models import Model, load_model, save_model, shipped, weights_digest
from ddpm_utils.sampling import ddim, ddpm, dpm_solver, make_denoiser, sample
from ddpm_utils.training.tasks.control import ControlTask, control_config, hints_as_images
from ddpm_utils.unet import UNetConfig

SMALL = UNetConfig(image_size=16, width=16, multipliers=(1, 2), blocks=1, attention=(8,), groups=8, classes=3)


def inputs(config=SMALL, B=4, channels=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    size = config.image_size
    x_t, hint = torch.randn(B, config.channels, size, size, generator=generator), torch.rand(B, channels, size, size, generator=generator)
    return x_t, torch.arange(B) * 100, hint, torch.arange(B) % 3


def as_model(network):
    return Model(network, TrainConfig(network=network.config), (), {})


# --- at the start, and at strength 0 ---


@pytest.mark.parametrize("patch", [1, 2])
def test_a_new_control_is_the_base_itself(patch):
    config = UNetConfig(image_size=16, width=16, multipliers=(1, 2), blocks=2, attention=(8,), groups=8, classes=3, patch=patch)
    base = as_if_trained(config)
    x_t, t, hint, label = inputs(config, channels=3)
    network_ = controlled(base, [(ControlNet.on(base, 3), hint, 1.0)])
    with torch.no_grad():
        assert torch.equal(network_(x_t, t, label), base(x_t, t, label))
        assert torch.equal(network_(x_t, t), base(x_t, t))


def test_strength_zero_is_the_base_itself_and_more_is_more():
    base = as_if_trained(SMALL)
    x_t, t, hint, label = inputs()
    control = stirred(ControlNet.on(base, 1))
    with torch.no_grad():
        plain = base(x_t, t, label)
        outputs = [controlled(base, [(control, hint, strength)])(x_t, t, label) for strength in (0.0, 0.1, 0.5, 1.0)]
    assert torch.equal(outputs[0], plain)
    distances = [(output - plain).norm().item() for output in outputs]
    assert distances == sorted(set(distances))


def test_the_copy_sees_the_hint_only_through_zeros_at_first():
    """The encoder's features are the base's own whatever the hint, until the last layer of the hint encoder has moved."""
    base = as_if_trained(SMALL)
    x_t, t, hint, label = inputs()
    control = ControlNet.on(base, 1)
    with torch.no_grad():
        for conv in (*control.zero_convs, control.zero_middle):
            conv.weight.copy_(torch.eye(conv.in_channels)[..., None, None])
        h, skips = base.encode(x_t, base.embed(t, label))
        additions, middle = control(x_t, t, hint, label)
    assert len(additions) == len(skips)
    assert [s.shape[1] for s in skips] == list(SMALL.skip_channels)
    for addition, skip in zip([*additions, middle], [*skips, base.middle(h, base.embed(t, label))]):
        torch.testing.assert_close(addition, skip, rtol=1e-4, atol=1e-5)  # a convolution over more channels sums in another order


# --- several controls, one hint for many ---


def test_controls_add_up():
    base = as_if_trained(SMALL)
    x_t, t, hint, label = inputs()
    other_hint = inputs(channels=2, seed=5)[2]
    a, b = stirred(ControlNet.on(base, 1), 3), stirred(ControlNet.on(base, 2), 4)
    with torch.no_grad():
        both = controlled(base, [(a, hint, 0.7), (b, other_hint, 1.2)])(x_t, t, label)
        emb = base.embed(t, label)
        h, skips = base.encode(x_t, emb)
        (sa, ma), (sb, mb) = a(x_t, t, hint, label), b(x_t, t, other_hint, label)
        by_hand = base.decode(base.middle(h, emb) + 0.7 * ma + 1.2 * mb, [s + 0.7 * u + 1.2 * v for s, u, v in zip(skips, sa, sb)], emb)
        swapped = controlled(base, [(b, other_hint, 1.2), (a, hint, 0.7)])(x_t, t, label)
        twice = controlled(base, [(a, hint, 0.5), (a, hint, 0.5)])(x_t, t, label)
        once = controlled(base, [(a, hint, 1.0)])(x_t, t, label)
    torch.testing.assert_close(both, by_hand)
    torch.testing.assert_close(both, swapped, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both, once, atol=1e-2)


def test_one_hint_serves_a_batch_and_a_doubled_batch():
    base = as_if_trained(SMALL)
    x_t, t, hint, label = inputs()
    control = stirred(ControlNet.on(base, 1))
    with torch.no_grad():
        one = controlled(base, [(control, hint[:1], 1.0)])(x_t, t, label)
        torch.testing.assert_close(one, controlled(base, [(control, hint[:1].expand(4, -1, -1, -1), 1.0)])(x_t, t, label))
        doubled = controlled(base, [(control, hint, 1.0)])(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([label, label]))
        torch.testing.assert_close(doubled[4:], controlled(base, [(control, hint, 1.0)])(x_t, t, label), rtol=1e-4, atol=1e-5)
    for wrong in (hint[:3], hint[:, :, :8], hint.expand(-1, 2, -1, -1), hint[0]):
        with pytest.raises(InputError, match=r"the hint 'canny' must have the shape \(4, 1, 16, 16\)"):
            controlled(base, [(ControlNet.on(base, 1, "canny"), wrong, 1.0)])(x_t, t, label)


def test_every_sampler_and_guidance_works_with_a_controlled_network():
    base = as_if_trained(SMALL)
    _, _, hint, label = inputs()
    config = TrainConfig(network=SMALL, task=Generation(timesteps=20, prediction="v"))
    schedule = config.noise_schedule()
    network_ = controlled(base, [(stirred(ControlNet.on(base, 1)), hint, 1.0)])
    x_T = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = classifier_free(make_denoiser(base, schedule, "v", label=label), make_denoiser(base, schedule, "v"), 2.0)
    denoiser = classifier_free(make_denoiser(network_, schedule, "v", label=label), make_denoiser(network_, schedule, "v"), 2.0)
    for sampler in (ddim, dpm_solver, ddpm):
        x0 = [sample(sampler(d, x_T, schedule, steps=4, **noise(sampler))) for d in (plain, denoiser)]
        assert x0[1].isfinite().all()
        assert not torch.allclose(*x0, atol=1e-2)


def noise(sampler):
    return {"generator": torch.Generator().manual_seed(0)} if sampler is ddpm else {}


# --- learning ---


def test_zeros_give_way_one_after_the_other_and_the_base_never_moves():
    """Step 1 reaches the zero convolutions, step 2 the copy and the hint's last layer, step 3 every parameter."""
    base = as_if_trained(SMALL)
    before = {name: w.clone() for name, w in base.state_dict().items()}
    control = ControlNet.on(base, 1)
    task = ControlTask(control_config(as_model(base), "canny"), as_model(base), 1)
    optimizer = torch.optim.Adam(control.parameters(), lr=1e-3)
    x_t, t, hint, label = inputs()
    learning = []
    for _ in range(3):
        optimizer.zero_grad()
        (task.predict(control, x_t, t, hint, label) - x_t).square().mean().backward()
        learning.append({name for name, p in control.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0})
        optimizer.step()
    names = {name for name, _ in control.named_parameters()}
    zeros = {name for name in names if name.startswith("zero_")}
    encoder = {name for name in names if name.startswith("hint_encoder.")}
    assert learning[0] == zeros
    assert learning[1] == names - encoder
    assert learning[2] == names
    assert control.copy.input_conv.weight[:, SMALL.channels :].abs().sum() > 0  # the last layer of the hint encoder
    assert all(torch.equal(w, before[name]) for name, w in base.state_dict().items())
    assert not any(p.requires_grad for p in base.parameters())


# --- files and bases ---


def test_a_control_file_holds_the_control_alone_and_knows_its_base(tmp_path):
    base = as_if_trained(SMALL)
    control = stirred(ControlNet.on(base, 1, "canny"))
    save_control(control, tmp_path / "c.safetensors")
    loaded = load_control(tmp_path / "c.safetensors")
    assert (loaded.hint, loaded.hint_channels, loaded.config, loaded.base_digest) == ("canny", 1, SMALL, weights_digest(base))
    assert all(torch.equal(w, control.state_dict()[name].half().float()) for name, w in loaded.state_dict().items())
    size = sum(p.numel() for p in control.parameters())
    assert (tmp_path / "c.safetensors").stat().st_size < 2.2 * size + 20_000
    x_t, t, hint, label = inputs()
    with torch.no_grad():
        exact, rounded = (controlled(base, [(c, hint, 1.0)])(x_t, t, label) for c in (control, loaded))
    assert (exact - rounded).norm() < 0.02 * exact.norm()


def test_a_base_of_other_weights_is_refused(tmp_path):
    base, other = as_if_trained(SMALL), as_if_trained(SMALL, seed=9)
    hint = inputs()[2]
    control = ControlNet.on(base, 1, "canny")
    with pytest.raises(InputError, match="the control 'canny' was trained on another base"):
        controlled(other, [(control, hint, 1.0)])
    with pytest.raises(InputError, match="for another base"):
        ControlTask(control_config(as_model(base), "canny"), as_model(other), 1)
    model = tmp_path / "base.safetensors"
    save_model(base, TrainConfig(network=SMALL), ("a", "b", "c"), model)
    reread = load_model(model).network  # float16 in between: still the same base
    controlled(reread, [(control, hint, 1.0)])
    with torch.no_grad():
        next(reread.parameters()).view(-1)[0] += 0.01
    with pytest.raises(InputError, match="trained on another base"):
        controlled(reread, [(control, hint, 1.0)])


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no control"):
        load_control(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="not a control of this project"):
        load_control(shipped("digits"))
    (tmp_path / "half.safetensors").write_bytes(shipped("digits").read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        load_control(tmp_path / "half.safetensors")
    with pytest.raises(InputError, match="at least 1 channel, got 0"):
        ControlNet(SMALL, 0)


def test_hints_are_shown_as_pictures():
    grey, parts, colour = (
        np.full((2, 4, 4, 1), 9, np.uint8),
        np.zeros((2, 4, 4, 5), np.uint8),
        np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3),
    )
    parts[..., 4] = 255
    assert (hints_as_images(grey, 3) == 9).all()
    assert hints_as_images(parts, 3).shape == (2, 4, 4, 3)
    assert (hints_as_images(parts, 3) == 255).all()
    assert np.array_equal(hints_as_images(colour, 3), colour)
    assert hints_as_images(colour, 1).shape == (2, 4, 4, 1)
