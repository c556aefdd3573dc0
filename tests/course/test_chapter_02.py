"""Facts that notebook 02 relies on and no other test states: the forward law, the bound's last term, the ideal denoiser."""

import math

import torch
from torch.distributions import Normal, kl_divergence

from ddpm_utils.diffusion import prior_term, q_sample
from ddpm_utils.ideal import dataset_denoiser
from ddpm_utils.schedules import NoiseSchedule

S = NoiseSchedule.linear(1000)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_steps_carry_mean_and_covariance_as_the_closed_form_does():
    mean, covariance = torch.tensor([0.8, -0.3], dtype=torch.float64), torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=torch.float64)
    m, c, identity = mean, covariance, torch.eye(2, dtype=torch.float64)
    for t in range(S.T):
        m, c = (1 - S.betas[t]).sqrt() * m, (1 - S.betas[t]) * c + S.betas[t] * identity
        if t in (0, 1, 259, 999):
            zero = torch.zeros(2, dtype=torch.float64)
            from_x0 = torch.stack([q_sample(S, e, t, zero) for e in identity])  # q_sample is linear in both
            from_eps = torch.stack([q_sample(S, zero, t, e) for e in identity])
            assert (from_x0 @ mean - m).abs().max() < 1e-12
            assert (from_x0 @ covariance @ from_x0.T + from_eps @ from_eps.T - c).abs().max() < 1e-12


def test_the_last_term_of_the_bound_is_the_divergence_from_pure_noise():
    for s in (S, NoiseSchedule.linear(300)):
        x0, ab = draw(3, 1, 4, 4).clamp(-1, 1), s.alpha_bar[-1]
        expected = kl_divergence(Normal(ab.sqrt() * x0, (1 - ab).sqrt()), Normal(0.0, 1.0)).flatten(1).mean(1) / math.log(2)
        assert (prior_term(s, x0) - expected).abs().max() < 1e-10
        formula = 0.5 * (ab * (x0**2 - 1) - torch.log(1 - ab)).flatten(1).mean(1) / math.log(2)
        assert (formula - expected).abs().max() < 1e-10


def test_the_ideal_denoiser_is_bayes_rule_over_its_data():
    data, t = draw(7, 1, 2, 3), torch.tensor([0, 100, 500, 999])
    x_t = q_sample(S, data[:4], t, draw(4, 1, 2, 3, seed=1))
    for x, step, ours in zip(x_t, t, dataset_denoiser(S, data)(x_t, t)):
        ab = S.alpha_bar[step]
        log = Normal(ab.sqrt() * data, (1 - ab).sqrt()).log_prob(x).sum((1, 2, 3))  # of x_t given each picture
        weights = (log - log.max()).exp() / (log - log.max()).exp().sum()
        assert (ours - sum(w * picture for w, picture in zip(weights, data))).abs().max() < 1e-9
