"""Samplers against the exact law of their output on Gaussian data, against each other, and against diffusers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from ddpm_utils import sampling
from ddpm_utils.choices import PREDICTIONS
from ddpm_utils.diffusion import target, to_eps
from ddpm_utils.errors import InputError
from ddpm_utils.ideal import dataset_denoiser, gaussian_denoiser, mixture_denoiser
from ddpm_utils.sampling import (
    SPACINGS,
    ddim,
    ddim_invert,
    ddpm,
    dpm_solver,
    dynamic_threshold,
    heun,
    make_denoiser,
    sample,
    static_threshold,
    timesteps,
)
from ddpm_utils.schedules import NoiseSchedule

S = NoiseSchedule.cosine(200)
MU, VAR = 0.4, 0.3
GAUSSIAN = gaussian_denoiser(S, MU, VAR)


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def last(steps):
    return list(steps)[-1].x


# --- the law of the output: each step is affine in x and the noise, so it can be followed by hand in numpy ---


def posterior_of_x0(ab):
    """x0_hat = a + b x at signal power ab, for data N(MU, VAR), by the regression of x_0 on x_t."""
    slope = math.sqrt(ab) * VAR / (ab * VAR + 1 - ab)
    return MU - slope * math.sqrt(ab) * MU, slope


def follow(rule, visited, x, noises, schedule=S):
    """Apply rule(ab, ab_prev) -> weights of (x0_hat, x, noise) step by step, in float64 numpy."""
    ab = np.append(schedule.alpha_bar.numpy(), 1.0)  # index -1: clean
    for t, after, z in zip(visited, [*visited[1:], -1], noises):
        w_x0, w_x, w_noise = rule(ab[t], ab[after])
        a, b = posterior_of_x0(ab[t])
        x = w_x0 * (a + b * x) + w_x * x + w_noise * z
    return x


def ddpm_rule(variance):
    def rule(ab, prev):
        beta = 1 - ab / prev
        small = beta * (1 - prev) / (1 - ab)
        w_noise = 0.0 if prev == 1 else math.sqrt(beta if variance == "large" else small)
        return math.sqrt(prev) * beta / (1 - ab), math.sqrt(ab / prev) * (1 - prev) / (1 - ab), w_noise

    return rule


def ddim_rule(eta):
    def rule(ab, prev):
        sigma = eta * math.sqrt((1 - prev) / (1 - ab) * (1 - ab / prev))
        towards = math.sqrt(max(0, 1 - prev - sigma**2)) / math.sqrt(1 - ab)
        return math.sqrt(prev) - towards * math.sqrt(ab), towards, sigma

    return rule


CASES = [(ddpm, {"variance": v, "steps": n}, ddpm_rule(v)) for v in ("small", "large") for n in (None, 50, 17)]
CASES += [(ddim, {"eta": eta, "steps": n, "spacing": s}, ddim_rule(eta)) for eta in (0.0, 0.5, 1.0) for n in (50, 17) for s in SPACINGS]


@pytest.mark.parametrize(("sampler", "options", "rule"), CASES)
def test_sampler_follows_its_exact_law_on_gaussian_data(sampler, options, rule):
    visited = timesteps(S.T, options["steps"], options.get("spacing", "trailing"))
    drawn = torch.Generator().manual_seed(7)
    noises = [torch.randn(2, 1, 1, 1, generator=drawn, dtype=torch.float64).flatten().numpy() for _ in visited]
    x_T = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    ours = last(sampler(GAUSSIAN, x_T, S, generator=torch.Generator().manual_seed(7), **options)).flatten().numpy()
    expected = follow(rule, visited, np.array([0.0, 1.0]), noises)
    assert np.abs(ours - expected).max() < 1e-9


def test_ddpm_with_small_steps_ends_in_the_data_s_own_mean_and_variance():
    """Mean and variance of the output, propagated without Monte Carlo. With T = 1000 the law is that of the data to about 1 %."""
    s = NoiseSchedule.cosine(1000)
    mean, variance = 0.0, 1.0
    ab = np.append(s.alpha_bar.numpy(), 1.0)
    for t in range(999, -1, -1):
        w_x0, w_x, w_noise = ddpm_rule("large")(ab[t], ab[t - 1])
        a, b = posterior_of_x0(ab[t])
        mean, variance = w_x0 * a + (w_x0 * b + w_x) * mean, (w_x0 * b + w_x) ** 2 * variance + w_noise**2
    x = last(ddpm(gaussian_denoiser(s, MU, VAR), noise(4000, 1, 1, 1), s, "large", generator=torch.Generator().manual_seed(1)))
    assert abs(mean - MU) < 1e-3
    assert abs(variance - VAR) < 0.01 * VAR
    assert abs(x.mean().item() - mean) < 4 * math.sqrt(VAR / 4000)  # four standard errors
    assert abs(x.var().item() - variance) < 4 * VAR * math.sqrt(2 / 4000)


def test_deterministic_samplers_converge_to_the_exact_flow():
    """The probability flow carries x_T to MU + sqrt(VAR) x_T for data N(MU, VAR) from pure noise: error ~ 1/steps, or 1/steps^2 for order 2."""
    s = NoiseSchedule.cosine(4000).with_zero_terminal_snr()
    x_T, denoiser = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64).view(3, 1, 1, 1), gaussian_denoiser(s, MU, VAR)
    exact = MU + math.sqrt(VAR) * x_T

    def error(sampler, n):
        return (last(sampler(denoiser, x_T, s, steps=n)) - exact).abs().max().item()

    assert error(ddim, 200) < 0.6 * error(ddim, 100)
    assert error(dpm_solver, 100) < 0.5 * error(ddim, 100)
    assert error(dpm_solver, 4000) < 2e-3


def test_ddim_with_eta_one_is_ddpm():
    x_T = noise(4, 3, 8, 8)
    for n in (200, 50, 17):
        a = list(ddim(GAUSSIAN, x_T, S, n, eta=1.0, generator=torch.Generator().manual_seed(3)))
        b = list(ddpm(GAUSSIAN, x_T, S, "small", n, generator=torch.Generator().manual_seed(3)))
        for p, q in zip(a, b):
            assert p.t == q.t
            assert (p.x - q.x).abs().max() < 1e-11


def test_ddim_with_eta_one_is_ddpm_also_when_x0_is_clipped():
    x_T, denoiser = 3 * noise(4, 3, 8, 8), static_threshold(gaussian_denoiser(S, MU, 2.0))
    a = last(ddim(denoiser, x_T, S, 50, eta=1.0, generator=torch.Generator().manual_seed(3)))
    b = last(ddpm(denoiser, x_T, S, "small", 50, generator=torch.Generator().manual_seed(3)))
    assert (a - b).abs().max() < 1e-11


@pytest.mark.parametrize("spacing", SPACINGS)
def test_first_order_dpm_solver_is_ddim(spacing):
    x_T = noise(4, 3, 8, 8)
    a, b = last(dpm_solver(GAUSSIAN, x_T, S, 20, order=1, spacing=spacing)), last(ddim(GAUSSIAN, x_T, S, 20, spacing=spacing))
    assert (a - b).abs().max() < 1e-11


def in_sigma(denoiser, x, schedule, visited, correct):
    """Euler's or Heun's method for dz/dsigma = (z - x0_hat) / sigma, in z = x / sqrt(ab), sigma = sqrt(1 / ab - 1), with nothing rearranged."""
    ab = schedule.alpha_bar[visited].numpy()
    sigma = [*np.sqrt(1 / ab - 1), 0.0]
    z = x / math.sqrt(ab[0])

    def slope(z, i):
        return (z - denoiser(z / math.sqrt(1 + sigma[i] ** 2), torch.full((len(z),), visited[i]))) / sigma[i]

    for i in range(len(visited)):
        first = slope(z, i)
        stride = sigma[i + 1] - sigma[i]
        corrected = correct and sigma[i + 1] > 0
        z = z + stride * (first + slope(z + stride * first, i + 1)) / 2 if corrected else z + stride * first
    return z


@pytest.mark.parametrize("spacing", SPACINGS)
def test_euler_in_sigma_is_ddim(spacing, monkeypatch):
    """So is `heun` where it isn't allowed to correct."""
    x_T, denoiser = noise(4, 3, 8, 8), gaussian_denoiser(S, MU, VAR)
    expected = last(ddim(denoiser, x_T, S, 20, spacing=spacing))
    euler = in_sigma(denoiser, x_T, S, timesteps(S.T, 20, spacing), correct=False)
    assert (euler - expected).abs().max() < 1e-12 * S.alpha_bar[-1] ** -0.5  # z begins that large, and is rounded there
    monkeypatch.setattr(sampling, "SIGMA_MAX", 0.0)
    assert (last(heun(denoiser, x_T, S, 20, spacing)) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("steps", [1, 2, 9, 40])
def test_heun_is_its_formula_in_sigma(steps):
    s = NoiseSchedule(NoiseSchedule.cosine(200).betas[:190])  # ends at a sigma of 12
    x_T, denoiser = noise(4, 1, 4, 4), gaussian_denoiser(s, MU, VAR)
    expected = in_sigma(denoiser, x_T, s, timesteps(s.T, steps), correct=True)
    assert (last(heun(denoiser, x_T, s, steps)) - expected).abs().max() < 1e-12


def test_halving_heuns_steps_quarters_its_error():
    s = NoiseSchedule(NoiseSchedule.flow(4000).betas[:3600])  # its sigma is smooth in t down to a clean image, where cosine bends
    x, ab = noise(50, 1, 1, 1), s.alpha_bar[-1].item()
    exact = MU + math.sqrt(VAR / (ab * VAR + 1 - ab)) * (x - math.sqrt(ab) * MU)
    errors = [(last(heun(gaussian_denoiser(s, MU, VAR), x, s, n)) - exact).abs().max().item() for n in (50, 100, 200)]
    assert 3.5 < errors[0] / errors[1] < 4.5
    assert 3.5 < errors[1] / errors[2] < 4.5


def test_heun_asks_twice_a_step_but_not_in_the_last_and_not_from_pure_noise():
    asked = []

    def counted(x, t):
        asked.append(t[0].item())
        return GAUSSIAN(x, t)

    list(heun(counted, noise(2, 1, 4, 4), S, steps=4))  # cosine begins at a sigma of thousands
    assert asked == [199, 149, 99, 99, 49, 49]


def test_inversion_closes_as_steps_get_shorter():
    x0 = MU + math.sqrt(VAR) * noise(4, 1, 4, 4)

    def gap(n):
        x_T = last(ddim_invert(GAUSSIAN, x0, S, n))
        return (last(ddim(GAUSSIAN, x_T, S, n)) - x0).abs().max().item()

    assert gap(50) > 1.5 * gap(100) > 2.25 * gap(200)
    assert gap(200) < 0.1


# --- what a sampler yields ---

SAMPLERS = [ddpm, lambda *a, **k: ddim(*a, eta=0.7, **k), ddim, lambda *a, generator=None, **k: dpm_solver(*a, **k)]
SAMPLERS += [lambda *a, generator=None, **k: heun(*a, **k)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_noise_after_the_last_step(sampler):
    final = list(sampler(GAUSSIAN, noise(2, 1, 4, 4), S, steps=20, generator=torch.Generator().manual_seed(0)))[-1]
    assert (final.x - final.x0_hat).abs().max() < 1e-12


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_training_image_comes_back_exactly(sampler):
    image = noise(1, 3, 8, 8, seed=5).clamp(-1, 1)
    x = last(sampler(dataset_denoiser(S, image), noise(2, 3, 8, 8), S, steps=25, generator=torch.Generator().manual_seed(0)))
    assert (x - image).abs().max() < 1e-12


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_ideal_denoiser_returns_training_images(sampler):
    data = noise(10, 3, 8, 8, seed=5).clamp(-1, 1)
    x = last(sampler(dataset_denoiser(S, data), noise(8, 3, 8, 8), S, steps=50, generator=torch.Generator().manual_seed(0)))
    distance = (x[:, None] - data[None]).abs().amax((2, 3, 4)).min(1)
    assert distance.values.max() < 1e-6
    assert len(distance.indices.unique()) > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_zero_terminal_snr_starts_from_pure_noise_without_infinities(sampler):
    s = S.with_zero_terminal_snr()
    steps = list(sampler(gaussian_denoiser(s, MU, VAR), noise(2, 1, 4, 4), s, steps=20, generator=torch.Generator().manual_seed(0)))
    assert all(step.x.isfinite().all() for step in steps)


def test_same_generator_same_images_and_sample_runs_to_the_end():
    x_T = noise(2, 1, 4, 4)
    a = sample(ddpm(GAUSSIAN, x_T, S, generator=torch.Generator().manual_seed(1)))
    b = last(ddpm(GAUSSIAN, x_T, S, generator=torch.Generator().manual_seed(1)))
    c = last(ddpm(GAUSSIAN, x_T, S, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    with pytest.raises(InputError, match="no steps"):
        sample(iter(()))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("T", "steps"), [(1000, 50), (1000, 30), (1000, 999), (1000, 1000), (300, 7), (10, 10), (10, 1), (1000, 700)])
def test_timesteps_are_distinct_descending_and_inside(spacing, T, steps):
    visited = timesteps(T, steps, spacing)
    assert len(visited) == steps
    assert visited == sorted(set(visited), reverse=True)
    assert visited[-1] >= 0
    assert visited[0] <= T - 1
    if spacing != "leading":
        assert visited[0] == T - 1
    if spacing != "trailing" and steps > 1:
        assert visited[-1] == 0


def test_steps_that_do_not_divide_T_are_spread_evenly():
    for spacing in ("trailing", "leading", "linspace"):
        gaps = -np.diff(timesteps(1000, 30, spacing))
        assert set(gaps) <= {32, 33, 34, 35}
        assert gaps.max() - gaps.min() <= 1


# --- diffusers as an independent implementation ---


class Fixed(torch.nn.Module):
    """A "network" with a fixed, smooth answer."""

    def forward(self, x, t):
        return torch.tanh(x) * 0.9 + 0.1 * torch.sin(t.view(-1, 1, 1, 1) / 50.0)


LINEAR = NoiseSchedule.linear(1000)


def run_theirs(scheduler, x, steps, **options):
    scheduler.set_timesteps(steps)
    visited = scheduler.timesteps.tolist()
    for t in visited:
        x = scheduler.step(Fixed()(x, torch.full((len(x),), t)), t, x, **options).prev_sample
    return x, visited


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize(("spacing", "steps"), [("leading", 50), ("trailing", 50), ("leading", 20), ("trailing", 40)])
def test_ddim_agrees_with_diffusers_step_by_step(prediction, spacing, steps):
    kind = {"eps": "epsilon", "v": "v_prediction"}[prediction]
    theirs = DDIMScheduler(1000, clip_sample=True, set_alpha_to_one=True, timestep_spacing=spacing, prediction_type=kind)
    x = x_T = noise(2, 3, 8, 8, dtype=torch.float32)
    theirs.set_timesteps(steps)
    denoiser = make_denoiser(Fixed(), LINEAR, prediction)
    for t, ours in zip(theirs.timesteps.tolist(), ddim(denoiser, x_T, LINEAR, steps, spacing=spacing)):
        assert ours.t == t
        x = theirs.step(Fixed()(x, torch.full((2,), t)), t, x, use_clipped_model_output=True).prev_sample
        assert (x - ours.x).abs().max() < 1e-3  # their tables are float32 products; 6e-4 was measured


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_agrees_with_diffusers_in_mean_and_noise(variance):
    theirs = DDPMScheduler(1000, variance_type=f"fixed_{variance}", clip_sample=True)
    denoiser = make_denoiser(Fixed(), LINEAR, "eps")
    for start, x in ((999, noise(2, 3, 8, 8, dtype=torch.float32)), (400, noise(2, 3, 8, 8, seed=1, dtype=torch.float32))):
        s = NoiseSchedule(LINEAR.betas[: start + 1])
        ours = next(iter(ddpm(denoiser, x, s, variance, generator=torch.Generator().manual_seed(5))))
        expected = theirs.step(Fixed()(x, torch.full((2,), start)), start, x, generator=torch.Generator().manual_seed(5)).prev_sample
        assert (ours.x - expected).abs().max() < 1e-3


def test_dpm_solver_agrees_with_diffusers():
    theirs = DPMSolverMultistepScheduler(
        1000, solver_order=2, algorithm_type="dpmsolver++", timestep_spacing="linspace", final_sigmas_type="zero", lower_order_final=True
    )
    x_T = noise(2, 3, 8, 8, dtype=torch.float32)
    expected, visited = run_theirs(theirs, x_T, 21)
    # their linspace stops one short of 0: pass our solver the timesteps that they visit, as a schedule of their alpha_bar
    ab = LINEAR.alpha_bar[torch.tensor(visited).flip(0)]
    s = NoiseSchedule(1 - ab / torch.cat([torch.ones(1).double(), ab[:-1]]))
    at = torch.tensor(visited).flip(0)

    def network(x, t):
        return Fixed()(x, at[t])

    ours = last(dpm_solver(make_denoiser(network, s, "eps", clip=False), x_T, s, steps=21))
    assert (ours - expected).abs().max() < 1e-3


# --- denoisers ---


def test_mixture_of_one_is_the_gaussian_and_tiny_gaussians_are_a_data_set():
    x, t = noise(5, 1, 2, 2), torch.tensor([0, 20, 100, 150, 199])
    one = mixture_denoiser(S, torch.full((1, 1, 2, 2), MU), torch.tensor([VAR]), torch.ones(1))
    assert (one(x, t) - gaussian_denoiser(S, MU, torch.tensor(VAR).double())(x, t)).abs().max() < 1e-7
    data = noise(6, 1, 2, 2, seed=3)
    points = mixture_denoiser(S, data, torch.full((6,), 1e-14), torch.full((6,), 1 / 6))
    assert (points(x, t) - dataset_denoiser(S, data)(x, t)).abs().max() < 1e-8


def test_mixture_denoiser_is_the_score_of_its_density():
    """Tweedie: x0_hat = (x + (1 - ab) grad log p(x)) / sqrt(ab), the gradient taken by autograd of the mixture's log density."""
    means, variances, weights = noise(3, 1, 1, 2, seed=1), torch.tensor([0.1, 0.3, 0.05]), torch.tensor([0.2, 0.5, 0.3])
    x, t = noise(7, 1, 1, 2).requires_grad_(), 80
    ab = S.alpha_bar[t]
    spread = ab * variances.double() + 1 - ab
    distance = ((x.flatten(1)[:, None] - ab.sqrt() * means.flatten(1)) ** 2).sum(-1)
    log_p = (weights.double().log() - spread.log() - distance / (2 * spread)).logsumexp(1).sum()
    (score,) = torch.autograd.grad(log_p, x)
    expected = (x + (1 - ab) * score) / ab.sqrt()
    ours = mixture_denoiser(S, means, variances, weights)(x.detach(), torch.full((7,), t))
    assert (ours - expected).abs().max() < 1e-12


def test_dynamic_threshold_rescales_only_images_that_exceed_the_range():
    x = torch.stack([torch.linspace(-0.5, 0.5, 100), torch.linspace(-4, 4, 100)]).view(2, 1, 10, 10)
    out = dynamic_threshold(lambda x, t: x, quantile=0.9)(x, torch.zeros(2).long())
    assert torch.equal(out[0], x[0])
    bound = np.quantile(np.abs(x[1].numpy()), 0.9)
    assert np.abs(out[1].numpy() - np.clip(x[1].numpy(), -bound, bound) / bound).max() < 1e-6
    assert static_threshold(lambda x, t: x)(x, None).abs().max() == 1


def test_a_denoiser_ignores_training_mode_and_leaves_it_as_it_was():
    network = torch.nn.Sequential(torch.nn.Dropout(0.5))
    network.forward = lambda x, t: torch.nn.Sequential.forward(network, x)
    denoiser = make_denoiser(network.train(), S, "x0", clip=False)
    x = torch.ones(2, 1, 4, 4)
    assert torch.equal(denoiser(x, torch.zeros(2).long()), x)
    assert network.training


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_make_denoiser_understands_every_prediction(prediction):
    x, t = noise(4, 1, 4, 4), torch.tensor([3, 50, 120, 190])
    x0_hat = GAUSSIAN(x, t)
    eps_hat = to_eps(S, x, t, x0_hat, "x0")
    denoiser = make_denoiser(lambda x, t: target(S, x0_hat, x, t, eps_hat, prediction), S, prediction, clip=False)
    assert (denoiser(x, t) - x0_hat).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: list(ddim(GAUSSIAN, x, S, steps=0)), "T=200, got 0"),
        (lambda x: list(ddim(GAUSSIAN, x, S, steps=201)), "T=200, got 201"),
        (lambda x: list(ddim(GAUSSIAN, x, S, eta=1.5)), "eta must.*1.5"),
        (lambda x: list(ddim(GAUSSIAN, x, S, spacing="even")), "got 'even'"),
        (lambda x: list(ddpm(GAUSSIAN, x, S, variance="learned")), "got 'learned'"),
        (lambda x: list(dpm_solver(GAUSSIAN, x, S, order=3)), "order must be 1 or 2, got 3"),
        (lambda x: make_denoiser(None, S, "noise"), "got 'noise'"),
        (lambda x: make_denoiser(None, S.with_zero_terminal_snr(), "eps"), "zero-terminal"),
        (lambda x: dynamic_threshold(GAUSSIAN, 0), "quantile must"),
        (lambda x: dataset_denoiser(S, x[:0]), "at least one image"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(noise(1, 1, 4, 4))
