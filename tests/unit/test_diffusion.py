"""The forward process, the five predictions, the losses and the bound, against closed forms and diffusers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from ddpm_utils.diffusion import (
    LOSSES,
    PREDICTIONS,
    by_quarter,
    discretized_log_likelihood,
    gaussian_kl,
    loss_weights,
    model_variance,
    posterior_mean,
    prior_term,
    q_sample,
    target,
    to_eps,
    to_x0,
    training_loss,
    vlb_bits_per_dim,
    vlb_term,
)
from ddpm_utils.errors import InputError
from ddpm_utils.ideal import gaussian_denoiser
from ddpm_utils.schedules import NoiseSchedule

S = NoiseSchedule.cosine(1000)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_closed_form_equals_the_steps_one_after_the_other_with_shared_noise():
    s, x0 = NoiseSchedule.linear(1000), draw(3, 8, 8)
    x, sum_of_noises = x0, torch.zeros_like(x0)
    for t in range(300):
        noise = draw(3, 8, 8, seed=t + 1)
        x = s.alphas[t].sqrt() * x + s.betas[t].sqrt() * noise
        sum_of_noises = s.alphas[t].sqrt() * sum_of_noises + s.betas[t].sqrt() * noise
        if t in (0, 1, 149, 299):
            eps = sum_of_noises / (1 - s.alpha_bar[t]).sqrt()
            assert (q_sample(s, x0, t, eps) - x).abs().max() < 1e-12


def test_one_image_and_a_batch_agree_and_keep_dtype():
    x0, eps, t = draw(4, 3, 8, 8, dtype=torch.float32), draw(4, 3, 8, 8, seed=1, dtype=torch.float32), torch.tensor([0, 5, 500, 999])
    batch = q_sample(S, x0, t, eps)
    assert batch.dtype == torch.float32
    for i in range(4):
        assert torch.equal(batch[i], q_sample(S, x0[i], int(t[i]), eps[i]))


def test_q_sample_agrees_with_diffusers():
    x0, eps, t = draw(4, 3, 8, 8, dtype=torch.float32), draw(4, 3, 8, 8, seed=1, dtype=torch.float32), torch.tensor([0, 5, 500, 999])
    theirs = DDPMScheduler(1000).add_noise(x0, eps, t)
    assert (theirs - q_sample(NoiseSchedule.linear(1000), x0, t, eps)).abs().max() < 2e-5  # their tables are float32 products


@pytest.mark.parametrize("bad", [-1, 1000, torch.tensor([0, 1000]), torch.tensor([-1, 3]), torch.tensor([0.5, 1.0])])
def test_timesteps_outside_the_schedule_are_refused(bad):
    x = draw(2, 3, 4, 4)
    with pytest.raises(InputError, match="t must"):
        q_sample(S, x, bad, x)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_turns_back_into_x0_and_eps(prediction):
    x0, eps, t = draw(6, 3, 8, 8), draw(6, 3, 8, 8, seed=1), torch.tensor([0, 1, 10, 300, 700, 990])
    x_t = q_sample(S, x0, t, eps)
    output = target(S, x0, x_t, t, eps, prediction)
    # float64 rounding, divided by the weight of x_0 in x_t or in the posterior mean, which is small at high t
    assert (to_x0(S, x_t, t, output, prediction) - x0).abs().max() < 1e-9
    assert (to_eps(S, x_t, t, output, prediction) - eps).abs().max() < 1e-9


def test_flow_is_the_velocity_of_the_straight_path():
    """x_t on the schedule "flow", times the standard deviation that was divided out, moves by the target for each unit of s."""
    schedule = NoiseSchedule.flow(10)
    x0, eps = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    path = [q_sample(schedule, x0, t, eps) * math.hypot(1 - (t + 1) / 10, (t + 1) / 10) for t in range(9)]
    for t in range(8):
        assert ((path[t + 1] - path[t]) * 10 - target(schedule, x0, path[t], t, eps, "flow")).abs().max() < 1e-12


def test_at_the_first_step_the_posterior_mean_is_x0():
    x0, x_t = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    assert (posterior_mean(S, x0, x_t, 0) - x0).abs().max() < 1e-12


def test_posterior_is_bayes_rule():
    """q(x_{t-1} | x_t, x_0) from the product of two Gaussians on a grid, in one dimension."""
    s, t, x0, x_t = NoiseSchedule.linear(100, 1e-3, 0.1), 40, 0.7, -0.4
    grid = torch.linspace(-6, 6, 200001, dtype=torch.float64)
    log = -((x_t - s.alphas[t].sqrt() * grid) ** 2) / (2 * s.betas[t])
    log = log - (grid - s.alpha_bar[t - 1].sqrt() * x0) ** 2 / (2 * (1 - s.alpha_bar[t - 1]))
    p = log.softmax(0)
    mean = (p * grid).sum()
    variance = (p * (grid - mean) ** 2).sum()
    ours = posterior_mean(s, torch.tensor([x0], dtype=torch.float64), torch.tensor([x_t], dtype=torch.float64), t)
    assert abs(mean - ours) < 1e-9
    assert abs(variance - s.posterior_variance[t]) < 1e-9


def test_eps_is_refused_where_the_last_step_holds_no_signal():
    zero, x, t = S.with_zero_terminal_snr(), draw(1, 3, 4, 4), torch.tensor([5])
    for function in (to_x0, to_eps):
        with pytest.raises(InputError, match="zero-terminal-SNR"):
            function(zero, x, t, x, "eps")
    with pytest.raises(InputError, match="zero-terminal-SNR"):
        training_loss(lambda x, t: x, zero, x, t, x, "eps")
    v = target(zero, x, x, 999, x, "v")
    assert torch.equal(to_x0(zero, x, 999, v, "v"), -v)  # pure noise: all the signal is in v


def test_large_and_small_variance():
    assert torch.equal(model_variance(S, "large")[1:], S.betas[1:])
    assert torch.equal(model_variance(S, "small")[1:], S.posterior_variance[1:])
    assert model_variance(S, "large")[0] == model_variance(S, "small")[0] == S.posterior_variance[1]


# --- losses ---


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_that_knows_the_truth_has_no_loss(prediction, loss):
    x0, eps, t = draw(4, 3, 8, 8), draw(4, 3, 8, 8, seed=1), torch.tensor([0, 5, 500, 999])
    truth = target(S, x0, q_sample(S, x0, t, eps), t, eps, prediction)
    losses = training_loss(lambda x, t: truth, S, x0, t, eps, prediction, loss)
    assert losses.shape == (4,)
    assert (losses == 0).all()


def test_losses_are_their_definitions():
    x0, eps, t = draw(4, 3, 8, 8), draw(4, 3, 8, 8, seed=1), torch.tensor([0, 5, 500, 999])
    error = (0 - eps).flatten(1).abs()
    expected = {"l2": error**2, "l1": error, "huber": torch.where(error < 1, error**2 / 2, error - 0.5)}
    for loss, values in expected.items():
        ours = training_loss(lambda x, t: torch.zeros_like(x), S, x0, t, eps, "eps", loss)
        assert (ours - values.mean(1)).abs().max() < 1e-12


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weighs_the_error_in_x0_alike_for_every_prediction(prediction):
    """Hang et al., eq. 9: whatever is predicted, the loss is min(SNR, 5) times the squared error in x_0."""
    x0, eps, t = draw(5, 3, 8, 8), draw(5, 3, 8, 8, seed=1), torch.tensor([1, 5, 300, 700, 990])
    wrong = x0 + 0.1 * draw(5, 3, 8, 8, seed=2)
    x_t = q_sample(S, x0, t, eps)
    eps_of_wrong = (x_t - S.alpha_bar[t].sqrt().view(-1, 1, 1, 1) * wrong) / (1 - S.alpha_bar[t]).sqrt().view(-1, 1, 1, 1)
    output = target(S, wrong, x_t, t, eps_of_wrong, prediction)
    ours = training_loss(lambda x, t: output, S, x0, t, eps, prediction, weighting="min-snr")
    expected = S.snr[t].clamp(max=5) * ((wrong - x0) ** 2).flatten(1).mean(1)
    assert ((ours - expected).abs() / expected).max() < 1e-8


def test_plain_weights_are_one_and_unknown_names_are_refused():
    assert (loss_weights(S, "v", "plain") == 1).all()
    x, t = draw(1, 3, 4, 4), torch.tensor([5])
    for arguments in ({"loss": "l3"}, {"weighting": "max-snr"}, {"prediction": "noise"}):
        with pytest.raises(InputError, match="must be one of"):
            training_loss(lambda x, t: x, S, x, t, x, **arguments)


def test_loss_is_taken_in_float32_when_the_network_answers_in_half_precision():
    x0, t = torch.zeros(1, 1, 64, 64), torch.tensor([500])
    eps = torch.full_like(x0, 300.0)  # its square overflows float16
    losses = training_loss(lambda x, t: torch.zeros_like(x, dtype=torch.float16), S, x0, t, eps)
    assert losses.dtype == torch.float32
    assert losses.item() == 90000


def test_loss_by_quarter_of_t():
    losses, t = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([0, 24, 25, 99, 75])
    assert by_quarter(losses, t, 100) == [1.5, 3.0, None, 4.5]


# --- the bound ---


def test_gaussian_kl_is_torchs():
    a, b = torch.distributions.Normal(0.3, 0.5), torch.distributions.Normal(-0.2, 1.1)
    ours = gaussian_kl(*(torch.tensor(v) for v in (0.3, 0.25, -0.2, 1.21)))
    assert abs(ours - torch.distributions.kl_divergence(a, b)) < 1e-6


def test_the_bound_of_a_perfect_model_is_the_entropy_of_the_data():
    """For Gaussian data the optimal mean and variance are known, and the KL terms, the last step and the prior add up exactly.

    The terms are quadratic in x_0 and eps, so three Gauss-Hermite nodes in each take their expectation without error.
    """
    s, mu, s2 = NoiseSchedule.linear(50, 1e-3, 0.3), 0.3, 0.2
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = torch.tensor(np.outer(weights, weights).ravel() / weights.sum() ** 2)
    grid = torch.tensor(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2))
    x0 = (mu + s2**0.5 * grid[:, 0]).view(-1, 1, 1, 1)
    eps = grid[:, 1].view(-1, 1, 1, 1)
    variance_of_x0 = s2 * (1 - s.alpha_bar) / (s.alpha_bar * s2 + 1 - s.alpha_bar)  # given x_t
    optimal = s.posterior_variance + s.posterior_mean_coef_x0**2 * variance_of_x0
    denoiser = gaussian_denoiser(s, mu, s2)
    bits = sum((weights * vlb_term(s, denoiser, x0, t, eps, optimal)).sum() for t in range(1, s.T))
    last_step = 0.5 * math.log2(2 * math.pi * math.e * optimal[0])  # entropy of p(x_0 | x_1)
    ab = s.alpha_bar[-1]
    marginal = gaussian_kl(ab.sqrt() * mu, ab * s2 + 1 - ab, torch.zeros(1).double(), torch.ones(1).double()) / math.log(2)
    prior = (weights * prior_term(s, x0)).sum() - marginal  # what x_T still says about x_0
    entropy = 0.5 * math.log2(2 * math.pi * math.e * s2)
    assert abs(bits + last_step + prior - entropy) < 1e-10


def test_the_whole_bound_adds_up_its_terms():
    s = NoiseSchedule.linear(30, 1e-3, 0.3)
    x0, denoiser = draw(2, 1, 4, 4).clamp(-1, 1), gaussian_denoiser(s, 0.0, 1.0)
    whole = vlb_bits_per_dim(s, denoiser, x0, torch.Generator().manual_seed(3), "large")
    generator = torch.Generator().manual_seed(3)
    parts = [vlb_term(s, denoiser, x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype), "large") for t in range(30)]
    assert (whole - sum(parts) - prior_term(s, x0)).abs().max() < 1e-12


def test_the_likelihoods_of_all_256_values_add_up_to_one():
    values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean, std in [(0.0, 0.05), (0.93, 0.2), (-1.3, 1.0)]:
        total = discretized_log_likelihood(values, torch.tensor(mean), torch.tensor(std)).exp().sum()
        assert abs(total - 1) < 1e-9
