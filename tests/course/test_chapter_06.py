"""Facts that notebook 06 relies on and no other test states: what losses make of sparse edits, what sampling costs, the anchored chain."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from ddpm_utils.config import Restoration, TrainConfig
from ddpm_utils.models import Model
from ddpm_utils.restoration import formulations as forms
from ddpm_utils.restoration.formulations import RESIDUAL_SCALE, restoration_steps, shift_fractions, x_t_of
from ddpm_utils.unet import UNetConfig

KAPPA = 0.3


def anchored_config(timesteps=12):
    network = UNetConfig(16, 3, 8, (1, 2), 1, (), False, groups=4, condition_channels=3, extra_channels=1)
    return TrainConfig(network=network, task=Restoration(timesteps=timesteps, kappa=KAPPA))


# --- a sparse edit, and the number that a loss likes best ---


@pytest.mark.parametrize("p", [0.05, 0.3, 0.49, 0.51, 0.9])
@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_l1_likes_the_median_of_a_sparse_residual_and_l2_its_mean(p, weight):
    edit, n = 0.8, 1000
    residual = np.where(np.arange(n) < p * n, edit, 0.0)  # the share p of the pixels was changed by `edit`, all look alike
    counts = np.where(residual != 0, 1 + weight, 1.0)
    guesses = np.linspace(-0.2, 1, 2401)[:, None]  # every 0.0005
    best = {power: guesses[(counts * np.abs(residual - guesses) ** power).sum(1).argmin(), 0] for power in (1, 2)}
    share = p * (1 + weight) / (p * (1 + weight) + 1 - p)
    assert best[2] == pytest.approx(share * edit, abs=5e-4)
    assert best[1] == pytest.approx(edit if share > 0.5 else 0.0, abs=5e-4)


@pytest.mark.parametrize("n", [1, 2, 8])
def test_the_mean_of_n_exact_samples_has_1_plus_1_over_n_times_the_least_error(n):
    """y = x + noise with Gaussian x: the posterior is known, its mean has the least error, samples of it have more."""
    draws, generator = 400_000, torch.Generator().manual_seed(n)

    def noise(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = noise(draws)
    y = x + 0.5 * noise(draws)
    mean, variance = y / 1.25, 0.2  # Bayes: precision 1 + 1 / 0.25
    samples = mean + variance**0.5 * noise(n, draws)
    least = (mean - x).square().mean().item()
    assert least == pytest.approx(variance, rel=5 * (2 / draws) ** 0.5)
    assert (samples.mean(0) - x).square().mean().item() == pytest.approx((1 + 1 / n) * variance, rel=5 * (2 / draws) ** 0.5)


# --- the anchored chain ---


def test_small_steps_of_the_anchored_chain_add_up_to_its_closed_form():
    config = anchored_config(100)
    eta = shift_fractions(100, KAPPA)
    source, x0 = torch.tensor([[[[0.5]]]], dtype=torch.float64), torch.tensor([[[[-0.25]]]], dtype=torch.float64)
    mean, variance, before = x0, torch.zeros((), dtype=torch.float64), 0.0
    for t in range(100):
        step = eta[t] - before
        mean, variance, before = mean + step * (source - x0), variance + KAPPA**2 * step, eta[t]
        index = torch.tensor([t])
        still, moved = (x_t_of(config.task, source, x0, index, eps) for eps in (torch.zeros_like(x0), torch.ones_like(x0)))
        assert (still - mean).abs().item() < 1e-12
        assert ((moved - still).square() - variance).abs().item() < 1e-12


@pytest.mark.parametrize(("t", "s"), [(11, 10), (11, 5), (11, 2)])
def test_a_step_back_of_the_anchored_sampler_is_bayes_rule(t, s, monkeypatch):
    """q(x_s | x_t, x_0) on a fine grid, from its two factors; mean and spread of the sampler's step read off with noises 0 and 1."""
    config, eta = anchored_config(), shift_fractions(12, KAPPA)
    source, x0, start = 0.4, -0.1, 0.7  # of every pixel; start: the noise in x_t

    def perfect(x_t, t, condition):
        return torch.cat([(x0 - condition) / RESIDUAL_SCALE, torch.zeros_like(x_t[:, :1])], 1)

    def step_with(noise):
        values = iter([start, noise])
        monkeypatch.setattr(forms, "_noise_like", lambda x, generator: torch.full_like(x, next(values)))
        monkeypatch.setattr(forms, "timesteps", lambda T, n: [t, s])
        first = next(restoration_steps(Model(perfect, config, (), {}), torch.full((1, 3, 16, 16), source, dtype=torch.float64), 2))
        return first.x[0, 0, 0, 0].item()

    x_t = source + KAPPA * eta[t].sqrt() * start  # where the sampler begins
    grid = torch.linspace(-3, 3, 600_001, dtype=torch.float64)
    prior = Normal(x0 + eta[s] * (source - x0), KAPPA * eta[s].sqrt())
    likelihood = Normal(grid + (eta[t] - eta[s]) * (source - x0), KAPPA * (eta[t] - eta[s]).sqrt())
    log = prior.log_prob(grid) + likelihood.log_prob(x_t)
    weights = (log - log.max()).exp()
    mean = (weights * grid).sum() / weights.sum()
    deviation = ((weights * (grid - mean) ** 2).sum() / weights.sum()).sqrt()
    assert step_with(0.0) == pytest.approx(mean.item(), abs=1e-6)
    assert step_with(1.0) - step_with(0.0) == pytest.approx(deviation.item(), abs=1e-6)
