"""Facts that notebook 04 relies on and no other test states: from the bound to the loss, link by link, and what an average is made of."""

import math

import numpy as np
import pytest
import torch

from ddpm_utils.diffusion import q_sample, to_eps, training_loss, vlb_term
from ddpm_utils.ema import EMA, power_decay, standard_decay
from ddpm_utils.schedules import NoiseSchedule


def draw(seed: int) -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wrong(x_t, t):
    return 0.9 * x_t.tanh()


@pytest.mark.parametrize(
    "s", [NoiseSchedule.linear(1000), NoiseSchedule.cosine(1000), NoiseSchedule.cosine(50)], ids=["linear", "cosine", "short"]
)
def test_a_term_of_the_bound_is_a_weighted_error_in_x0_and_in_eps(s):
    """Kingma et al. 2021, section 4: half the drop of the SNR; Ho, eq. 12: beta^2 / (2 sigma^2 alpha (1 - alpha_bar))."""
    x0, eps = draw(0), draw(1)
    for t in (1, 2, s.T // 2, s.T - 2):
        x_t = q_sample(s, x0, t, eps)
        nats = vlb_term(s, wrong, x0, t, eps) * math.log(2)
        error_x0 = ((x0 - wrong(x_t, t)) ** 2).mean((1, 2, 3))
        error_eps = ((eps - to_eps(s, x_t, t, wrong(x_t, t), "x0")) ** 2).mean((1, 2, 3))
        before, after = (s.alpha_bar[k] / (1 - s.alpha_bar[k]) for k in (t - 1, t))
        weight_eps = s.betas[t] ** 2 / (2 * s.posterior_variance[t] * s.alphas[t] * (1 - s.alpha_bar[t]))
        assert (0.5 * (before - after) * error_x0 / nats - 1).abs().max() < 1e-8
        assert (weight_eps * error_eps / nats - 1).abs().max() < 1e-8


def test_simple_loss_is_the_bound_with_its_weights_left_out():
    s, x0, eps = NoiseSchedule.linear(1000), draw(0), draw(1)
    for t in (1, 300, 998):
        weight = s.betas[t] ** 2 / (2 * s.posterior_variance[t] * s.alphas[t] * (1 - s.alpha_bar[t]))

        def says_eps(x_t, _, t=t):
            return to_eps(s, x_t, t, wrong(x_t, t), "x0")

        simple = training_loss(says_eps, s, x0, torch.full((4,), t), eps)
        assert (simple * weight / math.log(2) / vlb_term(s, wrong, x0, t, eps) - 1).abs().max() < 1e-8


@pytest.mark.parametrize("rule", [standard_decay(0.9), standard_decay(0.9, start=7), power_decay(0.1)])
def test_an_average_is_the_weighted_sum_of_all_weights(rule):
    """theta_bar = sum of w_k theta_k with w_k = (1 - d_k) d_{k+1} … d_K; the weights add up to 1."""
    steps, layer = 40, torch.nn.Linear(1, 1, bias=False)
    values = np.random.default_rng(0).normal(size=steps + 1)
    keep = np.array([0.0, *(rule(k) for k in range(1, steps + 1))])
    shares = np.array([(1 - keep[k]) * np.prod(keep[k + 1 :]) for k in range(steps + 1)])
    assert abs(shares.sum() - 1) < 1e-12
    torch.nn.init.constant_(layer.weight, values[0])
    ema = EMA(layer, rule)
    for k in range(1, steps + 1):
        torch.nn.init.constant_(layer.weight, values[k])
        ema.update(layer, k)
    assert abs(ema.shadow[0].item() - (shares * values).sum()) < 1e-5
