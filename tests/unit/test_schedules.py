"""Every constant against published tables, closed forms and identities, in float64."""

import math

import pytest
import torch
from diffusers import DDPMScheduler

from ddpm_utils.errors import InputError
from ddpm_utils.schedules import MAX_BETA, SCHEDULES, NoiseSchedule

ALL = [NoiseSchedule.linear(1000), NoiseSchedule.linear(300)] + [NoiseSchedule.named(n, T) for n in SCHEDULES for T in (300, 1000)]
ALL += [s.with_zero_terminal_snr() for s in ALL[2:]] + [NoiseSchedule.cosine(2), NoiseSchedule.linear(2)]


def close(a, b, tolerance=1e-12):
    assert abs(float(a) - b) <= tolerance * max(1, abs(b)), (float(a), b)


@pytest.mark.parametrize(
    ("t", "beta", "alpha_bar", "variance", "x0", "xt"),
    [  # linear, T = 1000, written with the digits that were computed independently
        (0, 1e-4, 0.9999, 0, 1, 0),
        (1, 1.199199199199199e-4, 9.997800920720721e-1, 5.453187661302193e-5, 5.452914995103e-1, 4.547084989905e-1),
        (499, 1.004004004004004e-2, 7.858724288177824e-2, 1.003135541461369e-2, 3.070071114265e-3, 9.941066702102e-1),
        (999, 2.0e-2, 4.035829765375676e-5, 1.999998352656061e-2, 1.283514871722e-4, 9.899486782675e-1),
    ],
)
def test_linear_constants_are_those_of_the_table(t, beta, alpha_bar, variance, x0, xt):
    s = NoiseSchedule.linear(1000)
    close(s.betas[t], beta)
    close(s.alpha_bar[t], alpha_bar)
    close(s.posterior_variance[t], variance)
    close(s.posterior_mean_coef_x0[t], x0)
    close(s.posterior_mean_coef_xt[t], xt)


def test_cosine_constants_are_those_of_the_table():
    s = NoiseSchedule.cosine(1000)
    close(s.alpha_bar[0], 0.99995872, 5e-9)
    close(s.alpha_bar[499], 4.938435904406382e-1)
    close(s.alpha_bar[999], 2.428766907034857e-9)
    assert (s.betas == MAX_BETA).sum() == 1


@pytest.mark.parametrize(("name", "first"), [("linear", 259), ("cosine", 496)])
def test_signal_falls_below_noise_at_the_known_step(name, first):
    assert (NoiseSchedule.named(name, 1000).snr < 1).nonzero()[0].item() == first


def test_sigmoid_follows_jabris_curve_of_alpha_bar():
    T, start, end, tau = 300, -3.0, 3.0, 0.9
    s = NoiseSchedule.sigmoid(T, start, end, tau)

    def curve(u):
        return 1 / (1 + math.exp(-(u * (end - start) + start) / tau))

    for t in (0, 10, 150, 290, 298):  # the last step is clipped
        expected = (curve(1) - curve((t + 1) / T)) / (curve(1) - curve(0))
        close(s.alpha_bar[t], expected)


@pytest.mark.parametrize("s", ALL)
def test_posterior_identities(s):
    ab, prev = s.alpha_bar, s.alpha_bar_prev
    mean = s.posterior_mean_coef_x0 + s.posterior_mean_coef_xt * ab.sqrt()
    assert (mean - prev.sqrt()).abs().max() < max(1e-12, 2e-17 / (1 - ab[0]))  # 1 - ab is rounded; flow begins at 1e-6
    power = s.posterior_mean_coef_xt**2 * (1 - ab) + s.posterior_variance
    assert (power - (1 - prev)).abs().max() < 1e-12


@pytest.mark.parametrize("s", ALL)
def test_constants_are_float64_finite_and_ordered(s):
    for constant in (s.betas, s.alphas, s.alpha_bar, s.alpha_bar_prev, s.snr, s.posterior_variance, s.posterior_log_variance_clipped):
        assert constant.dtype == torch.float64
        assert constant.shape == (s.T,)
        assert constant.isfinite().all()
    assert (s.alpha_bar.diff() < 0).all()
    assert s.alpha_bar_prev[0] == 1
    assert s.posterior_variance[0] == 0
    assert s.posterior_log_variance_clipped[0] == s.posterior_variance[1].log()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [21, 300, 1000, 4000])
def test_a_named_schedule_ends_in_noise_at_any_length(name, T):
    assert NoiseSchedule.named(name, T).alpha_bar[-1] < 1e-4


def test_unscaled_linear_betas_leave_signal_at_300_steps():
    assert 0.04 < NoiseSchedule.linear(300).alpha_bar[-1] < 0.06


@pytest.mark.parametrize("name", SCHEDULES)
def test_zero_terminal_snr_keeps_the_first_step_and_ends_at_nothing(name):
    before = NoiseSchedule.named(name, 1000)
    after = before.with_zero_terminal_snr()
    assert after.alpha_bar[-1] == 0
    assert after.snr[-1] == 0
    assert after.has_zero_terminal_snr
    assert not before.has_zero_terminal_snr
    close(after.alpha_bar[0], before.alpha_bar[0].item())


@pytest.mark.parametrize("T", [2, 10, 1000])
def test_flow_is_the_straight_path_at_unit_variance(T):
    """x_t = ((1 - s) x_0 + s eps) / sqrt((1 - s)^2 + s^2): its two weights are those of the schedule, but in the last step, which is clipped."""
    schedule, s = NoiseSchedule.flow(T), torch.arange(1, T + 1).double() / T
    deviation = ((1 - s) ** 2 + s**2).sqrt()
    assert (schedule.alpha_bar.sqrt() - (1 - s) / deviation)[:-1].abs().max() < 1e-12
    assert ((1 - schedule.alpha_bar).sqrt() - s / deviation)[:-1].abs().max() < 1e-12
    assert schedule.betas[-1] == MAX_BETA


def test_zero_terminal_snr_agrees_with_diffusers():
    theirs = DDPMScheduler(1000, rescale_betas_zero_snr=True).alphas_cumprod.double()
    ours = NoiseSchedule.linear(1000).with_zero_terminal_snr().alpha_bar
    assert (theirs - ours).abs().max() < 2e-6  # theirs is a float32 cumulative product


@pytest.mark.parametrize(("kind", "betas"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_alpha_bar_agrees_with_diffusers(kind, betas):
    theirs = DDPMScheduler(1000, beta_schedule=betas).alphas_cumprod.double()
    assert (theirs - NoiseSchedule.named(kind, 1000).alpha_bar).abs().max() < 2e-6


def test_float64_is_needed():
    betas = NoiseSchedule.cosine(1000).betas
    single = (1 - betas.float()).cumprod(0).double()
    exact = NoiseSchedule.cosine(1000).alpha_bar
    assert ((single - exact).abs() / exact).max() > 1e-6


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: NoiseSchedule.linear(1), "T must be .* got 1"),
        (lambda: NoiseSchedule.cosine(-5), "got -5"),
        (lambda: NoiseSchedule.cosine(2.5), "got 2.5"),
        (lambda: NoiseSchedule.named("linear", 20), "T >= 21.*T=20"),
        (lambda: NoiseSchedule.named("quadratic", 100), "linear, cosine, sigmoid, flow, got 'quadratic'"),
        (lambda: NoiseSchedule.linear(10, beta_end=1.5), "from 0.0001 to 1.5"),
        (lambda: NoiseSchedule.sigmoid(10, start=3, end=-3), "start=3, end=-3"),
        (lambda: NoiseSchedule.sigmoid(10, tau=0), "tau=0"),
        (lambda: NoiseSchedule(torch.zeros(3, 3)), r"\(3, 3\)"),
        (lambda: NoiseSchedule(torch.tensor([0.1, float("nan")])), "nan"),
    ],
)
def test_bad_schedules_are_refused_in_one_sentence(build, words):
    with pytest.raises(InputError, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)
