"""Classifier-free guidance against the exact score of a Gaussian mixture, and on its way from a network to images."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ddpm_utils.config import TrainConfig
from ddpm_utils.diffusion import to_eps, to_x0
from ddpm_utils.errors import InputError
from ddpm_utils.generate import generate, trained_denoiser
from ddpm_utils.guidance import classifier_free
from ddpm_utils.ideal import gaussian_denoiser, mixture_denoiser, mixture_posterior
from ddpm_utils.sampling import ddim, ddpm, dpm_solver
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import UNetConfig

S = NoiseSchedule.cosine(200)
MEANS = torch.tensor([[-0.7, 0.2], [0.9, 0.5], [0.1, -0.8]], dtype=torch.float64).view(3, 1, 1, 2)
VARIANCES = torch.tensor([0.05, 0.2, 0.1], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
CLASS = 1
CONDITIONAL = gaussian_denoiser(S, MEANS[CLASS], VARIANCES[CLASS])
UNCONDITIONAL = mixture_denoiser(S, MEANS, VARIANCES, WEIGHTS)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def log_densities(x, t):
    """log p(x_t), and log p(x_t | class), up to a constant: (B,) each."""
    ab = S.alpha_bar[t]
    spread = ab * VARIANCES + 1 - ab
    distance = ((x.flatten(1)[:, None] - ab.sqrt() * MEANS.flatten(1)) ** 2).sum(-1)
    each = WEIGHTS.log() - spread.log() - distance / (2 * spread)
    return each.logsumexp(1), each[:, CLASS]


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("t", [0, 60, 150, 199])
def test_guidance_is_the_score_of_the_sharpened_density(scale, t):
    """x0_hat = (x + (1 - ab) grad log(p(x)^(1 - s) p(x | y)^s)) / sqrt(ab), the gradient by autograd."""
    x = (1.5 * draw(16, 1, 1, 2)).requires_grad_()
    whole, of_class = log_densities(x, t)
    (score,) = torch.autograd.grad(((1 - scale) * whole + scale * of_class).sum(), x)
    ab = S.alpha_bar[t]
    expected = (x + (1 - ab) * score) / ab.sqrt()
    ours = classifier_free(CONDITIONAL, UNCONDITIONAL, scale)(x.detach(), torch.full((16,), t))
    assert (ours - expected).abs().max() < 1e-10


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_it_is_guidance_by_the_perfect_classifier(scale):
    """eps - s sqrt(1 - ab) grad log p(y | x_t), from the unconditional eps (Dhariwal & Nichol, algorithm 2)."""
    x, t = draw(16, 1, 1, 2).requires_grad_(), torch.full((16,), 90)
    log_p = mixture_posterior(S, MEANS, VARIANCES, WEIGHTS.log(), x, t)[:, CLASS].log().sum()
    (gradient,) = torch.autograd.grad(log_p, x)
    x = x.detach()
    expected = to_eps(S, x, t, UNCONDITIONAL(x, t), "x0") - scale * (1 - S.alpha_bar[90]).sqrt() * gradient
    ours = to_eps(S, x, t, classifier_free(CONDITIONAL, UNCONDITIONAL, scale)(x, t), "x0")
    assert (ours - expected).abs().max() < 1e-11


def test_scale_one_is_bitwise_the_conditional_and_zero_the_unconditional_model():
    x, t = draw(64, 1, 1, 2, dtype=torch.float32), torch.arange(64)
    assert torch.equal(classifier_free(CONDITIONAL, UNCONDITIONAL, 1)(x, t), CONDITIONAL(x, t))
    assert torch.equal(classifier_free(CONDITIONAL, UNCONDITIONAL, 0)(x, t), UNCONDITIONAL(x, t))
    u, c = UNCONDITIONAL(x, t), CONDITIONAL(x, t)
    assert not torch.equal(u + 1.0 * (c - u), c)  # which is why the two scales are told apart


def test_it_is_linear_in_the_scale():
    x, t = draw(8, 1, 1, 2), torch.full((8,), 100)
    at = {s: classifier_free(CONDITIONAL, UNCONDITIONAL, s)(x, t) for s in (0, 1, 2, 7)}
    for s in (2, 7):
        assert (at[s] - at[0] - s * (at[1] - at[0])).abs().max() < 1e-12


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_refused(scale):
    with pytest.raises(InputError, match="scale must be a finite number"):
        classifier_free(CONDITIONAL, UNCONDITIONAL, scale)


# --- from a network to images ---


class Fixed(nn.Module):
    """A "network" with smooth answers that depend on the label, large enough that clipping shows."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.7))

    def forward(self, x, t, label=None):
        wave = torch.sin(3 * x + t.view(-1, 1, 1, 1) / 50)
        return self.gain * (wave if label is None else wave + 0.4 * label.view(-1, 1, 1, 1))


NETWORK = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1,), blocks=1, attention=(), groups=4, classes=10)
CONFIG = TrainConfig(network=NETWORK, timesteps=100, schedule="cosine", prediction="v", batch_size=4, epochs=1)
LABEL = torch.tensor([1, 4, 9])


def by_hand(config, label, scale):
    """trained_denoiser written out: mix what the network says with and without the label, then turn it into x_0, then clip."""
    schedule = NoiseSchedule.named(config.schedule, config.timesteps)

    def denoiser(x, t):
        u = to_x0(schedule, x, t, Fixed()(x, t), config.prediction)
        c = u if label is None else to_x0(schedule, x, t, Fixed()(x, t, label), config.prediction)
        x0_hat = u + scale * (c - u)
        return x0_hat.clamp(-1, 1) if config.mean == (0.5,) else x0_hat

    return denoiser


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, prediction="eps", schedule="sigmoid"), replace(CONFIG, mean=(0.3,), std=(0.2,))]
)
@pytest.mark.parametrize(("label", "scale"), [(None, 1.0), (LABEL, 1.0), (LABEL, 0.0), (LABEL, 3.0)])
@torch.no_grad()
def test_a_trained_network_is_mixed_unclipped_and_clipped_once_if_its_images_were(config, label, scale):
    x, t = draw(3, 1, 8, 8, dtype=torch.float32), torch.tensor([2, 40, 80])
    ours = trained_denoiser(Fixed(), config, label, scale)(x, t)
    expected = by_hand(config, label, scale)(x, t)
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm"])
@torch.no_grad()
def test_generating_runs_the_sampler_on_the_schedule_that_was_trained_with(sampler):
    x_T = draw(3, 1, 8, 8, dtype=torch.float32)
    schedule = NoiseSchedule.cosine(100)
    ours = list(generate(Fixed(), CONFIG, x_T, LABEL, sampler, steps=10, guidance=2.0, seed=(5, 0)))
    again = list(generate(Fixed(), CONFIG, x_T, LABEL, sampler, steps=10, guidance=2.0, seed=(5, 0)))
    assert torch.equal(ours[-1].x, again[-1].x)
    run = {"ddim": ddim, "ddpm": ddpm, "dpm": dpm_solver}[sampler]
    expected = next(iter(run(by_hand(CONFIG, LABEL, 2.0), x_T, schedule, steps=10)))
    assert ours[0].t == expected.t
    assert (ours[0].x0_hat - expected.x0_hat).abs().max() < 1e-4
    if sampler != "ddpm":  # its noise comes from a generator of its own
        assert (ours[0].x - expected.x).abs().max() < 1e-4
    else:
        noise = 1 - schedule.alpha_bar[89]  # an upper limit of one step's variance
        assert (ours[0].x - expected.x).abs().max() < 8 * noise.sqrt()
