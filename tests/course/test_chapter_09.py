"""The functions of notebook 09, as its cells define them, against closed forms: on Gaussians, on mixtures, and by other routes."""

import ast
import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from ddpm_utils.diffusion import posterior_mean
from ddpm_utils.ideal import gaussian_denoiser, mixture_denoiser
from ddpm_utils.sampling import ddim, timesteps
from ddpm_utils.schedules import NoiseSchedule

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "09_one_field.ipynb"
COSINE = NoiseSchedule.cosine(1000)
SCHEDULES = [COSINE, NoiseSchedule.linear(1000), NoiseSchedule.flow(1000), NoiseSchedule.named("sigmoid", 1000)]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def chapter():
    """Imports, functions, classes and CONSTANTS of the notebook, solutions included, without what its cells compute from them."""
    kept, defines = [], ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "setup" not in tags and "exercise" not in tags:
            constant = (n for n in ast.parse(cell.source).body if isinstance(n, ast.Assign))
            names = [n for n in constant if all(isinstance(t, ast.Name) and t.id in ("MEANS", "VARIANCES", "WEIGHTS") for t in n.targets)]
            kept += [n for n in ast.parse(cell.source).body if isinstance(n, defines)] + names
    namespace = {"schedule": COSINE}
    exec(compile(ast.Module(kept, []), NOTEBOOK.name, "exec"), namespace)
    namespace["denoiser"] = mixture_denoiser(COSINE, *(namespace[name] for name in ("MEANS", "VARIANCES", "WEIGHTS")))
    return SimpleNamespace(**namespace), namespace


# --- names ---


@pytest.mark.parametrize("t", [0, 50, 500, 950, 999])
def test_the_score_is_the_gradient_of_the_log_density(chapter, t):
    """Tweedie. The density by torch.distributions, a third route beside the notebook's and the denoiser's."""
    chapter = chapter[0]
    x, ab = draw(50, 2).requires_grad_(), COSINE.alpha_bar[t].item()
    spread = (ab * chapter.VARIANCES + 1 - ab).sqrt()[:, None].expand(3, 2)
    parts = torch.distributions.Independent(torch.distributions.Normal(ab**0.5 * chapter.MEANS, spread), 1)
    log_p = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(chapter.WEIGHTS), parts).log_prob(x)
    assert (chapter.log_density(x, ab) - log_p).abs().max() < 1e-9
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    ours = chapter.score(x, chapter.denoiser(x, chapter.at_time(t, x)), ab)
    assert ((ours - gradient) * (1 - ab)).abs().max() < 1e-9


@pytest.mark.parametrize("ab", [0.999, 0.5, 1e-3])
def test_every_name_leads_to_the_same_clean_image(chapter, ab):
    chapter = chapter[0]
    x0, eps = draw(50, 2), draw(50, 2, seed=1)
    x = ab**0.5 * x0 + (1 - ab) ** 0.5 * eps
    for name in ("eps", "score", "v", "flow", "F"):
        assert (chapter.clean(name, x, chapter.said(name, x0, eps, ab), ab) - x0).abs().max() < 1e-9
    assert (chapter.score(x, x0, ab) - chapter.said("score", x0, eps, ab)).abs().max() < 1e-9


def test_edms_four_constants_give_input_and_target_variance_one(chapter):
    """For data of any variance; and any other c_skip would make the error's factor c_out larger."""
    for sigma in (0.01, 0.5, 3.0, 80.0):
        for sigma_data in (0.5, 1.0, 2.0):
            skip, out, into, noise = chapter[0].edm_constants(sigma, sigma_data)
            assert into**2 * (sigma_data**2 + sigma**2) == pytest.approx(1, abs=1e-12)

            def left_to_say(skip, sigma=sigma, sigma_data=sigma_data):  # variance of x_0 - c_skip z, which F must supply times c_out
                return (1 - skip) ** 2 * sigma_data**2 + skip**2 * sigma**2

            assert left_to_say(skip) == pytest.approx(out**2, rel=1e-9)
            assert left_to_say(skip) < min(left_to_say(skip + 0.01), left_to_say(skip - 0.01))
            assert math.exp(4 * noise) == pytest.approx(sigma)
    for ab in (0.99, 0.5, 0.001):  # data of variance 1: v
        sigma = (1 / ab - 1) ** 0.5
        assert chapter[0].edm_constants(sigma)[:3] == pytest.approx((ab, (1 - ab) ** 0.5, ab**0.5), abs=1e-12)


def test_karras_steps_are_even_in_the_seventh_root(chapter):
    sigma = chapter[0].karras_sigmas(18)
    assert (sigma[0].item(), sigma[-1].item()) == pytest.approx((80.0, 0.002))
    assert (sigma ** (1 / 7)).diff().diff().abs().max() < 1e-12
    assert sigma[1].item() == pytest.approx(57.586, abs=1e-3)  # by hand, from eq. 5 of Karras et al.


# --- equations ---


def test_the_drift_and_noise_of_the_sde_carry_mean_and_variance_as_the_closed_form_does():
    """dm/dt = -beta m / 2, dv/dt = beta - beta v, with beta = -d log(alpha_bar) / dt of the cosine curve, integrated by Runge and Kutta."""

    def alpha_bar(u):
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2

    def change(u, state):
        beta = math.pi / 1.008 * math.tan((u + 0.008) / 1.008 * math.pi / 2)
        return -0.5 * beta * state[0], beta - beta * state[1]

    def moved(state, by, how_far):
        return tuple(s + how_far * d for s, d in zip(state, by))

    state, steps, end = (1.0, 0.0), 400, 0.8
    for i in range(steps):
        u, h = i * end / steps, end / steps
        k1 = change(u, state)
        k2 = change(u + h / 2, moved(state, k1, h / 2))
        k3 = change(u + h / 2, moved(state, k2, h / 2))
        k4 = change(u + h, moved(state, k3, h))
        state = tuple(s + h / 6 * (a + 2 * b + 2 * c + d) for s, a, b, c, d in zip(state, k1, k2, k3, k4))
    assert state == pytest.approx((alpha_bar(end) ** 0.5, 1 - alpha_bar(end)), abs=1e-9)
    assert alpha_bar(end) == pytest.approx(COSINE.alpha_bar[799].item(), abs=1e-9)


def test_ddpm_is_euler_maruyama_up_to_the_square_of_a_step(chapter):
    chapter, x = chapter[0], draw(100, 2, seed=3)
    gaps = []
    for T in (500, 1000, 2000, 4000):
        s, t = NoiseSchedule.cosine(T), T // 2
        x0_hat = mixture_denoiser(s, chapter.MEANS, chapter.VARIANCES, chapter.WEIGHTS)(x, chapter.at_time(t, x))
        by_sde = chapter.euler_maruyama_mean(x, chapter.score(x, x0_hat, s.alpha_bar[t].item()), s.betas[t].item())
        gaps.append((posterior_mean(s, x0_hat, x, t) - by_sde).abs().max().item())
    for coarse, fine in pairwise(gaps):
        assert coarse / fine == pytest.approx(4, rel=0.02)


def test_both_forms_of_the_flow_are_one(chapter):
    """x = z / sqrt(1 + sigma^2): dx/dt of the SDE's form is the chain rule applied to dz/dsigma = (z - x0_hat) / sigma."""
    chapter, x, ab = chapter[0], draw(20, 2), 0.3
    x0_hat, beta = draw(20, 2, seed=1), 1.7  # at any point, whatever is seen there
    sigma = (1 / ab - 1) ** 0.5
    d_sigma = beta * (1 + sigma**2) / (2 * sigma)  # from d log(ab) / dt = -beta
    z = x / ab**0.5
    by_sigma = (z - x0_hat) / sigma * ab**0.5 * d_sigma - beta / 2 * x
    assert (by_sigma - (-beta / 2 * x - beta / 2 * chapter.score(x, x0_hat, ab))).abs().max() < 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_is_the_straight_path_at_another_pace(schedule):
    a, b = schedule.alpha_bar.sqrt(), (1 - schedule.alpha_bar).sqrt()
    s, x0, eps = b / (a + b), 0.7, -1.3
    assert ((a * x0 + b * eps) / (a + b) - ((1 - s) * x0 + s * eps)).abs().max() < 1e-12
    assert ((1 - s) ** 2 / ((1 - s) ** 2 + s**2) - schedule.alpha_bar).abs().max() < 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_step_of_flow_matching_is_a_step_of_ddim(chapter, schedule):
    chapter, x_T = chapter[0], draw(50, 2)
    seeing = mixture_denoiser(schedule, chapter.MEANS, chapter.VARIANCES, chapter.WEIGHTS)
    for steps in (1, 7, 50):
        path = chapter.straight_path(seeing, x_T, schedule, steps)
        for at, step, t in zip(path[1:], ddim(seeing, x_T, schedule, steps), [*timesteps(schedule.T, steps)[1:], None]):
            ab = 1.0 if t is None else schedule.alpha_bar[t].item()
            assert (at - step.x / (ab**0.5 + (1 - ab) ** 0.5)).abs().max() < 1e-12


# --- what follows ---


@pytest.mark.parametrize("shake", [2.0, 1.0])
def test_langevin_leaves_a_gaussian_as_it_is_up_to_its_step(chapter, shake):
    """On N(0, v) a step is x (1 - h / v) + noise: the variance settles at shake / 2 times v / (1 - h / 2v), by the geometric series."""
    chapter, namespace = chapter
    h, t = 0.02, 20
    ab = COSINE.alpha_bar[t].item()
    v = ab * 0.3 + 1 - ab
    kept = namespace["denoiser"]
    namespace["denoiser"] = gaussian_denoiser(COSINE, 0.0, 0.3)
    one, two = (chapter.langevin(torch.full((1, 2), x).double(), t, 1, h, torch.Generator().manual_seed(0), shake)[-1] for x in (0.0, 1.0))
    drawn = torch.randn(1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    namespace["denoiser"] = kept
    shrink = (two - one)[0, 0].item()
    assert shrink == pytest.approx(1 - h / v, abs=1e-12)
    added = ((one / drawn) ** 2)[0, 0].item()
    assert added == pytest.approx(shake * h, abs=1e-12)
    assert added / (1 - shrink**2) == pytest.approx(shake / 2 * v / (1 - h / (2 * v)), abs=1e-12)


def test_reflow_of_a_gaussian_is_straight_and_one_step_is_exact(chapter):
    """Pairs (noise, mean + deviation noise) don't cross, so that the best velocity for them is known: eps - x_0 of the one line through x."""
    chapter, mean, deviation = chapter[0], 0.4, 0.5
    schedule, x_T = NoiseSchedule.flow(1000), draw(200, 2)

    def reflowed(x_t, t):
        ab = schedule.alpha_bar[t][:, None]
        s = (1 - ab).sqrt() / (ab.sqrt() + (1 - ab).sqrt())
        noise = (x_t / (ab.sqrt() + (1 - ab).sqrt()) - (1 - s) * mean) / ((1 - s) * deviation + s)
        return mean + deviation * noise

    before = chapter.straight_path(gaussian_denoiser(schedule, mean, deviation**2), x_T, schedule, 1000)
    after = chapter.straight_path(reflowed, x_T, schedule, 1000)
    assert chapter.straightness(before) > 0.02
    assert chapter.straightness(after) < 1e-5  # s isn't quite 1 in the first step
    one = chapter.straight_path(reflowed, x_T, schedule, 1)[-1]
    assert (one - (mean + deviation * x_T)).abs().max() < 1e-3  # x_T stands for noise at alpha_bar 1e-9, which is off by 3e-5
    assert (chapter.straight_path(gaussian_denoiser(schedule, mean, deviation**2), x_T, schedule, 1)[-1] - mean).abs().max() < 1e-3


def test_the_likelihood_by_the_flow_is_the_exact_one(chapter):
    """Of a mixture in the plane, near its modes and far from them; the error falls as the square of the step."""
    chapter, points = chapter[0], torch.cat([draw(10, 2), 2 * draw(10, 2, seed=1)])
    exact = chapter.log_density(points, COSINE.alpha_bar[0].item())
    coarse, fine = ((chapter.log_likelihood(chapter.denoiser, points, COSINE, n) - exact).abs() / exact.abs() for n in (100, 200))
    assert fine.max() < 2e-3  # log densities from -1 to -500
    assert 3 < coarse.max() / fine.max() < 5


def test_half_of_langevins_noise_halves_the_variance_in_the_plane(chapter):
    """The symptom that the notebook shows: groups of half the variance, 0.03 in place of 0.06."""
    chapter, start = chapter[0], chapter[0].MEANS[:1].repeat(2000, 1)
    right, shy = (
        chapter.width(chapter.langevin(start, 20, 300, 0.002, torch.Generator().manual_seed(1), shake=shake)[-1]) for shake in (2.0, 1.0)
    )
    ab = COSINE.alpha_bar[20].item()
    v = ab * 0.06 + 1 - ab
    error = 4 * v / 2000**0.5  # four standard errors of the mean of two variances
    assert right == pytest.approx(v / (1 - 0.001 / v), abs=error)
    assert shy == pytest.approx(v / (1 - 0.001 / v) / 2, abs=error)
