"""The four forms: their networks' inputs and targets, the anchored chain's law, and the gate."""

import itertools

import numpy as np
import pytest
import torch
from retouchers import restoration

from ddpm_utils.choices import FORMS
from ddpm_utils.config import Restoration, TrainConfig
from ddpm_utils.data.images import ImageSet, to_float
from ddpm_utils.data.pairs import PairSet, change_mask
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model
from ddpm_utils.restoration.formulations import (
    GATE,
    RESIDUAL_SCALE,
    check_restorer,
    closed_mask,
    gate,
    pad_to_multiple,
    restoration_loss,
    restoration_steps,
    restore,
    shift_fractions,
    target_of,
    x_t_of,
)
from ddpm_utils.training.batches import draw_batch
from ddpm_utils.training.tasks.generation import GenerationTask
from ddpm_utils.training.tasks.restoration import RestorationTask
from ddpm_utils.training.trainer import Trainer
from ddpm_utils.unet import UNet, UNetConfig

SAMPLED = [form for form in FORMS if form != "regression"]


def config_for(form, prediction="eps", **changes):
    network = UNetConfig(16, 3, 8, (1, 2), 1, (), False, groups=4, condition_channels=3, extra_channels=1, patch=changes.pop("patch", 1))
    run = {name: changes.pop(name) for name in ("lr", "epochs", "seed") if name in changes}
    return TrainConfig(network=network, task=restoration(form, prediction, **changes), batch_size=4, warmup=0, **run)


def pairs(n=12, size=16):
    rng = np.random.default_rng(0)
    targets = np.repeat(np.repeat(rng.integers(60, 200, (n, 4, 4, 3)), size // 4, 1), size // 4, 2).astype(np.uint8)
    sources = targets.copy()
    sources[:, 4:10, 5:12] -= 30
    return PairSet(targets, sources=sources, masks=np.stack([change_mask(a, b) for a, b in zip(sources, targets)]))


class Oracle(torch.nn.Module):
    """Predicts what a perfect network would, by the closed form of each target, and that the middle of the image changes."""

    def __init__(self, config, target):
        super().__init__()
        self.config, self.target, self.asked = config, target, []
        self.dummy = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x_t, t, condition):
        self.asked.append(int(t[0]))
        form, schedule = self.config.task.form, self.config.task.prediction and self.config.noise_schedule()
        residual = (self.target - condition) / RESIDUAL_SCALE
        if form in ("regression", "resshift"):
            output = residual
        else:
            ab = schedule.alpha_bar[t].to(x_t).reshape(-1, 1, 1, 1)
            x0 = self.target if form == "palette" else residual
            eps = (x_t - ab.sqrt() * x0) / (1 - ab).sqrt()
            output = ab.sqrt() * eps - (1 - ab).sqrt() * x0  # v, which stays exact where eps would be divided by almost 0
        logit = torch.full_like(x_t[:, :1], -20.0)
        logit[..., 3:11, 4:13] = 20.0  # the changed rectangle and one pixel around it
        return torch.cat([output, logit], 1)


def batch_and_oracle(form):
    data = pairs(4)
    source, target = to_float(data.sources), to_float(data.images)
    config = config_for(form, prediction="v")
    return Model(Oracle(config, target), config, (), {}), source, target, data


def test_eta_rises_geometrically_from_almost_the_target_to_almost_the_source():
    eta = shift_fractions(15, kappa=2.0)
    assert eta.dtype == torch.float64
    assert eta[0].sqrt().item() == pytest.approx(0.04 / 2.0, abs=1e-12)  # ResShift, section 2.2: kappa sqrt(eta_1) = 0.04
    assert eta[-1].item() == pytest.approx(0.999, abs=1e-12)
    b0 = (0.999 / eta[0]) ** (1 / (2 * 14))  # its eq. 9 and 10, as printed
    for t in range(15):
        assert eta[t].sqrt().item() == pytest.approx((eta[0].sqrt() * b0 ** ((t / 14) ** 0.3 * 14)).item(), rel=1e-12)


def test_anchored_chain_has_the_law_of_resshift():
    """Mean and variance of x_t over many draws, and of x_s drawn through x_t, against eq. 2."""
    config = config_for("resshift")
    eta = shift_fractions(100, config.task.kappa)
    n = 200_000
    source, x0 = torch.full((n, 1, 1, 1), 0.5), torch.full((n, 1, 1, 1), -0.25)
    eps = torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    x_t = x_t_of(config.task, source, x0, torch.full((n,), 60), eps).double()
    assert x_t.mean().item() == pytest.approx(-0.25 + eta[60].item() * 0.75, abs=5 * 0.3 / n**0.5)
    assert x_t.var().item() == pytest.approx(0.09 * eta[60].item(), rel=5 * (2 / n) ** 0.5)
    kept = eta[20] / eta[60]  # the step that restoration_steps takes, repeated here from eq. 6
    noise = torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x_s = kept * x_t + (1 - kept) * x0 + config.task.kappa * (eta[20] * (1 - kept)).sqrt() * noise
    assert x_s.mean().item() == pytest.approx(-0.25 + eta[20].item() * 0.75, abs=5 * 0.3 / n**0.5)
    assert x_s.var().item() == pytest.approx(0.09 * eta[20].item(), rel=5 * (2 / n) ** 0.5)


def test_anchored_sampler_keeps_that_law_at_every_step():
    """With a perfect network, what remains of source and noise after each step follows eq. 2 again."""
    config = config_for("resshift")
    source, target = torch.full((64, 3, 16, 16), 0.3), torch.full((64, 3, 16, 16), 0.1)
    model = Model(Oracle(config, target), config, (), {})
    etas = shift_fractions(100, config.task.kappa)
    n = source.numel()
    walked = list(restoration_steps(model, source, steps=5, seed=3))
    assert [step.t for step in walked] == [99, 79, 59, 39, 19]
    for step, after in itertools.pairwise(walked):
        eta = etas[after.t].item()
        assert step.x.mean().item() == pytest.approx(0.1 + eta * 0.2, abs=5 * 0.3 / n**0.5)
        assert step.x.std().item() == pytest.approx(0.3 * eta**0.5, rel=5 * (0.5 / n) ** 0.5)


@pytest.mark.parametrize("form", FORMS)
def test_a_perfect_network_restores_the_target_exactly_where_its_mask_says_so(form):
    model, source, target, _ = batch_and_oracle(form)
    for steps in (1,) if form == "regression" else (1, 4, 10):
        restored = restore(model, source, steps=steps)
        residual = restored.residual
        assert (source + residual - target).abs().max() < 2e-5  # float32, over up to 10 steps
        outside = torch.ones_like(residual, dtype=torch.bool)
        outside[..., 3:11, 4:13] = False
        assert (residual[outside] == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_loss_of_a_perfect_network_is_zero_and_of_a_silent_one_is_not(form):
    model, source, target, data = batch_and_oracle(form)
    mask = torch.from_numpy(data.masks)[:, None].float()
    t = torch.tensor([0, 30, 60, 99])
    eps = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))

    def silent(x_t, t, condition):
        return torch.zeros(len(x_t), 4, 16, 16)

    assert restoration_loss(model.network, model.config.task, source, target, mask, t=t, eps=eps).max() < 1e-6
    assert restoration_loss(silent, model.config.task, source, target, mask, t=t, eps=eps).min() > 0.1


def test_retouched_pixels_weigh_more_by_mask_weight():
    """The loss of an error inside the mask is 1 + mask_weight times that of the same error outside."""
    config = config_for("regression", mask_weight=7.0)
    source = target = torch.zeros(1, 3, 16, 16)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1  # with its one pixel more: columns 0 to 8

    def wrong_at(column):
        def network(x_t, t, condition):
            output = torch.cat([torch.zeros_like(x_t), torch.where(closed_mask(mask) > 0, 60.0, -60.0)], 1)
            output[:, :3, :, column] = 1
            return output

        return restoration_loss(network, config.task, source, target, mask, t=torch.zeros(1, dtype=torch.int64), eps=source).item()

    assert wrong_at(2) == pytest.approx(8 * wrong_at(12), rel=1e-6)


@pytest.mark.parametrize("form", ["palette", "residual"])
def test_pure_noise_forms_see_the_forward_process_of_chapter_02(form):
    config = config_for(form)
    source, x0 = torch.full((2, 3, 4, 4), 0.2), torch.full((2, 3, 4, 4), 0.1)
    eps = torch.ones(2, 3, 4, 4)
    t = torch.tensor([0, 99])
    x_t = x_t_of(config.task, source, x0, t, eps)
    clean = 0.1 if form == "palette" else -0.1 / RESIDUAL_SCALE
    ab = config.noise_schedule().alpha_bar[t]
    expected = ab.sqrt() * clean + (1 - ab).sqrt()
    assert (x_t[:, 0, 0, 0].double() - expected).abs().max() < 1e-6
    assert torch.equal(target_of(config.task, source, x0, x_t, t, eps), eps)


@pytest.mark.parametrize("form", FORMS)
def test_only_regression_is_not_conditioned_on_t(form):
    """The timesteps that reach the network while it is trained: those drawn, but one and the same for regression."""
    given = []

    def network(x_t, t, condition):
        given.append(t)
        return torch.zeros(len(x_t), 4, *x_t.shape[2:])

    t, eps = torch.tensor([3, 70]), torch.zeros(2, 3, 16, 16)
    restoration_loss(network, config_for(form).task, eps, eps, eps[:, :1], t=t, eps=eps)
    assert torch.equal(given[0], torch.zeros_like(t) if form == "regression" else t)


def test_the_closed_mask_closes_gaps_and_is_one_pixel_wider():
    mask = torch.zeros(1, 1, 24, 24)
    mask[..., 4:8, 4:8] = 1
    mask[..., 4:8, 14:18] = 1  # a gap of 6 pixels
    mask[..., 20:, 20:] = 1  # at the border
    region = closed_mask(mask)
    expected = torch.zeros_like(mask)
    expected[..., 3:9, 3:19] = 1
    expected[..., 19:, 19:] = 1
    assert torch.equal(region, expected)
    assert torch.equal(closed_mask(torch.zeros_like(mask)), torch.zeros_like(mask))


def test_gate_is_exactly_closed_below_and_exactly_open_above():
    low, high = GATE
    m = torch.tensor([0.0, low, low - 1e-6, (low + high) / 2, high + 1e-6, 1.0])
    g = gate(m)
    assert g[:3].tolist() == [0, 0, 0]
    assert g[3].item() == pytest.approx(0.5, abs=1e-6)
    assert g[4:].tolist() == [1, 1]


@pytest.mark.parametrize("form", SAMPLED)
def test_samples_differ_by_seed_repeat_by_seed_and_their_mean_is_the_residual(form):
    config = config_for(form, prediction="v")
    torch.manual_seed(0)
    network = UNet(config.network).eval()
    torch.nn.init.normal_(network.output_conv.weight, std=0.2)
    torch.nn.init.constant_(network.output_conv.bias[3:], 9.0)  # the mask's logit: open everywhere
    model = Model(network, config, (), {})
    source = to_float(pairs(2).sources)
    one, other = (restore(model, source, steps=4, seed=seed) for seed in (0, 1))
    assert torch.equal(one.residual, restore(model, source, steps=4, seed=0).residual)
    assert (one.residual - other.residual).abs().max() > 1e-4
    both = restore(model, source, steps=4, samples=2, seed=0)
    assert (both.residual - (one.residual + other.residual) / 2).abs().max() < 1e-6
    assert both.spread.max() > 0
    assert one.spread.max() == 0
    half_range = (one.residual - other.residual).abs().mean(1, keepdim=True) / 2
    assert (both.spread - half_range).abs().max() < 1e-6


def test_any_size_is_padded_and_cropped():
    config = config_for("resshift", patch=2)
    model = Model(UNet(config.network).eval(), config, (), {})
    restored = restore(model, torch.rand(1, 3, 13, 22), steps=2)
    assert restored.residual.shape == (1, 3, 13, 22)
    assert restored.mask.shape == (1, 1, 13, 22)
    assert pad_to_multiple(torch.rand(1, 3, 13, 22), 4).shape == (1, 3, 16, 24)
    assert pad_to_multiple(torch.rand(1, 3, 1, 1), 8).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("patch", [1, 2])
def test_every_form_learns_a_dark_patch(form, patch):
    """80 steps on pairs whose difference is one dark rectangle: the loss falls below that of predicting nothing."""
    config = config_for(form, prediction="v", lr=3e-3, epochs=30, patch=patch)
    trainer = Trainer(RestorationTask(config), pairs())
    losses = [step.losses.mean().item() for step in trainer.run(80)]
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:10])


def test_batches_mirror_source_target_and_mask_together():
    config = config_for("resshift", seed=1)
    data = pairs()
    batch = draw_batch(RestorationTask(config), data, 0)
    assert batch.source.shape == batch.x0.shape == (4, 3, 16, 16)
    differs = ((batch.source - batch.x0).abs().amax(1, keepdim=True) > 4.5 / 127.5).float()
    assert torch.equal(differs, batch.mask)
    columns = {int(m.any(-2).nonzero()[0, -1]) for m in batch.mask.bool()}
    assert columns == {4, 5}  # mirrored ones begin at 16 - 12, the others at 5


def test_share_of_pairs_that_train_the_first_step():
    """With share 1 every t is T - 1; with 0 they are uniform; the noise and the pairs stay the same."""
    data, all_first, none = pairs(), config_for("resshift", first_step_share=1.0), config_for("resshift", first_step_share=0.0)
    some = config_for("resshift", first_step_share=0.5)
    ts = []
    for step in range(100):
        batch = draw_batch(RestorationTask(none), data, step)
        assert torch.equal(batch.eps, draw_batch(RestorationTask(all_first), data, step).eps)
        assert (draw_batch(RestorationTask(all_first), data, step).t == 99).all()
        ts.append(draw_batch(RestorationTask(some), data, step).t)
        assert ((ts[-1] == batch.t) | (ts[-1] == 99)).all()
    share = (torch.cat(ts) == 99).float().mean().item()
    assert abs(share - 0.505) < 4 * (0.25 / 400) ** 0.5


def test_mismatches_of_form_data_and_network_are_refused_in_a_sentence():
    single = ImageSet(pairs().images)
    with pytest.raises(InputError, match="needs pairs of images"):
        Trainer(RestorationTask(config_for("resshift")), single)
    plain = TrainConfig(network=UNetConfig(16, 3, 8, (1, 2), 1, (), groups=4), batch_size=4)
    with pytest.raises(InputError, match="pass --form resshift"):
        Trainer(GenerationTask(plain), pairs())
    with pytest.raises(InputError, match="form must be one of"):
        Restoration(form="magic")
    with pytest.raises(InputError, match="condition_channels=3"):
        TrainConfig(task=Restoration())
    with pytest.raises(InputError, match="the form 'palette' has no kappa, only resshift has"):
        Restoration(form="palette", kappa=0.3)
    with pytest.raises(InputError, match="the form 'resshift' has no schedule, only palette and residual have"):
        Restoration(form="resshift", schedule="linear")
    with pytest.raises(InputError, match="kappa must be above 0"):
        config_for("resshift", kappa=0)
    with pytest.raises(InputError, match="generates images from noise"):
        check_restorer(Model(UNet(plain.network), plain, (), {}))
    model = Model(UNet(config_for("resshift").network), config_for("resshift"), (), {})
    with pytest.raises(InputError, match="samples must be at least 1"):
        restore(model, torch.zeros(1, 3, 16, 16), samples=0)
    with pytest.raises(InputError, match="steps must lie in 1"):
        restore(model, torch.zeros(1, 3, 16, 16), steps=101)
