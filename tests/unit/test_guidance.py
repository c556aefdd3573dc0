"""Guidance against the exact score of a Gaussian mixture, and with every sampler."""

import pytest
import torch

from ddpm_utils.diffusion import to_eps, to_x0
from ddpm_utils.errors import InputError
from ddpm_utils.guidance import autoguided, classifier_free, classifier_guided, classifier_mean_shifted, within_interval
from ddpm_utils.ideal import gaussian_denoiser, mixture_denoiser, mixture_posterior
from ddpm_utils.sampling import ddim, ddim_invert, ddpm, dpm_solver, dynamic_threshold, sample, static_threshold
from ddpm_utils.schedules import NoiseSchedule

S = NoiseSchedule.cosine(200)
MEANS = torch.tensor([[-0.7, 0.2], [0.9, 0.5], [0.1, -0.8]], dtype=torch.float64).view(3, 1, 1, 2)
VARIANCES = torch.tensor([0.05, 0.2, 0.1], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
CLASS = 1
CONDITIONAL = gaussian_denoiser(S, MEANS[CLASS], VARIANCES[CLASS])
UNCONDITIONAL = mixture_denoiser(S, MEANS, VARIANCES, WEIGHTS)
BAD = gaussian_denoiser(S, MEANS[CLASS] + 0.1, 2 * VARIANCES[CLASS])  # less certain, and a little off


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def log_prob(x, t):
    """The perfect classifier of noisy images: (B, 3)."""
    return mixture_posterior(S, MEANS, VARIANCES, WEIGHTS.log(), x, t).log()


def of_class(n):
    return torch.full((n,), CLASS)


class Counted:
    """A denoiser that counts how often it is called."""

    def __init__(self, denoiser):
        self.denoiser, self.calls = denoiser, 0

    def __call__(self, x, t):
        self.calls += 1
        return self.denoiser(x, t)


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
@pytest.mark.parametrize("guide", [lambda s: classifier_free(CONDITIONAL, UNCONDITIONAL, s), lambda s: autoguided(CONDITIONAL, BAD, s)])
def test_a_scale_that_is_no_number_is_refused(guide, scale):
    with pytest.raises(InputError, match="scale must be a finite number"):
        guide(scale)


@pytest.mark.parametrize("w", [-1.0, 0.0, 1.5, 7.0])
@pytest.mark.parametrize("t", [10, 90, 150])
def test_both_conventions_and_the_perfect_classifier_agree(w, t):
    """(1 + w) eps_c - w eps_u of Ho & Salimans, u + s (c - u) with s = 1 + w, and guidance by the exact posterior."""
    x, t = draw(16, 1, 1, 2), torch.full((16,), t)
    eps_c, eps_u = (to_eps(S, x, t, denoiser(x, t), "x0") for denoiser in (CONDITIONAL, UNCONDITIONAL))
    papers = to_x0(S, x, t, (1 + w) * eps_c - w * eps_u, "eps")
    free = classifier_free(CONDITIONAL, UNCONDITIONAL, 1 + w)(x, t)
    by_classifier = classifier_guided(UNCONDITIONAL, log_prob, of_class(16), S, 1 + w)(x, t)
    size = (1 + abs(w)) * (1 / S.alpha_bar[t[0]]).sqrt()  # rounding is divided by sqrt(ab)
    assert (free - papers).abs().max() < 1e-13 * size
    assert (free - by_classifier).abs().max() < 1e-13 * size


def test_each_image_is_guided_to_its_own_label():
    x, t, labels = draw(6, 1, 1, 2), torch.full((6,), 80), torch.tensor([0, 1, 2, 2, 1, 0])
    together = classifier_guided(UNCONDITIONAL, log_prob, labels, S, 2.0)(x, t)
    for i in range(6):
        alone = classifier_guided(UNCONDITIONAL, log_prob, labels[i : i + 1], S, 2.0)(x[i : i + 1], t[i : i + 1])
        assert (together[i] - alone[0]).abs().max() < 1e-13


def test_a_schedule_without_any_signal_at_the_end_is_refused_for_classifiers():
    with pytest.raises(InputError, match="zero-terminal-SNR"):
        classifier_guided(UNCONDITIONAL, log_prob, of_class(1), S.with_zero_terminal_snr(), 1.0)


@pytest.mark.parametrize("steps", [None, 20])
def test_the_mean_shift_moves_the_mean_of_ddpm_by_scale_times_variance_times_gradient(steps):
    """Dhariwal & Nichol, algorithm 1, with the posterior variance of Ho, eq. 7, for the stride."""
    x_T, label = draw(8, 1, 1, 2), of_class(8)
    shifted = classifier_mean_shifted(UNCONDITIONAL, log_prob, label, S, 3.0, steps)
    plain, guided = (list(ddpm(d, x_T, S, steps=steps, generator=torch.Generator().manual_seed(1))) for d in (UNCONDITIONAL, shifted))
    at, then = plain[0].t, plain[1].t
    x = x_T.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_prob(x, torch.full((8,), at))[:, CLASS].sum(), x)
    ab, ab_next = S.alpha_bar[at], S.alpha_bar[then]
    variance = (1 - ab_next) / (1 - ab) * (1 - ab / ab_next)
    if steps is None:
        assert variance == pytest.approx(S.posterior_variance[at].item(), rel=1e-9)
    moved = guided[0].x - plain[0].x  # both drew the same noise
    assert (moved - 3.0 * variance * gradient).abs().max() < 1e-12
    last_x = guided[-2].x
    assert torch.equal(guided[-1].x, UNCONDITIONAL(last_x, torch.zeros(8, dtype=torch.int64) + guided[-1].t))  # variance 0: no push


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_autoguidance_is_the_score_of_the_better_density_over_the_worse(scale):
    """grad log(p_good^s p_bad^(1 - s)) for two Gaussians, written out."""
    x, t = draw(16, 1, 1, 2), 120
    ab = S.alpha_bar[t]
    score = 0
    for share, mean, variance in ((scale, MEANS[CLASS], VARIANCES[CLASS]), (1 - scale, MEANS[CLASS] + 0.1, 2 * VARIANCES[CLASS])):
        score = score - share * (x - ab.sqrt() * mean) / (ab * variance + 1 - ab)
    expected = (x + (1 - ab) * score) / ab.sqrt()
    assert (autoguided(CONDITIONAL, BAD, scale)(x, torch.full((16,), t)) - expected).abs().max() < 1e-12


# --- interval, rescaling, thresholds ---


def test_outside_the_interval_only_the_plain_denoiser_runs():
    c, u = Counted(CONDITIONAL), Counted(UNCONDITIONAL)
    list(ddim(within_interval(classifier_free(c, u, 3.0), c, 50, 120), draw(4, 1, 1, 2), S, steps=20))  # t = 199, 189, … 9
    assert (c.calls, u.calls) == (20, 7)  # 119, 109, … 59


def test_the_interval_has_both_ends_and_is_each_images_own():
    x, t = draw(5, 1, 1, 2), torch.tensor([49, 50, 90, 120, 121])
    guided = classifier_free(CONDITIONAL, UNCONDITIONAL, 3.0)
    ours = within_interval(guided, CONDITIONAL, 50, 120)(x, t)
    assert torch.equal(ours[1:4], guided(x, t)[1:4])
    assert torch.equal(ours[[0, 4]], CONDITIONAL(x, t)[[0, 4]])


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (6, 5)])
def test_an_interval_that_is_none_is_refused(low, high):
    with pytest.raises(InputError, match=f"lower first, got {low} and {high}"):
        within_interval(CONDITIONAL, UNCONDITIONAL, low, high)


def pictures(seed):
    """A stand-in for a denoiser of pictures: fixed ones, (4, 3, 8, 8), each of its own contrast."""
    images = draw(4, 3, 8, 8, seed=seed) * torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=torch.float64).view(4, 1, 1, 1)
    return lambda x, t: images


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_rescaling_brings_back_a_share_of_each_images_contrast(phi):
    x, t = torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
    c, u = (pictures(seed)(x, t).numpy() for seed in (1, 2))
    ours = classifier_free(pictures(1), pictures(2), 4.0, phi)(x, t).numpy()
    for i in range(4):
        mixed = u[i] + 4.0 * (c[i] - u[i])
        as_c = mixed * c[i].std() / mixed.std()  # Lin et al., eq. 15
        assert abs(ours[i] - (phi * as_c + (1 - phi) * mixed)).max() < 1e-12  # eq. 16
        assert phi < 1 or ours[i].std() == pytest.approx(c[i].std(), rel=1e-12)


@pytest.mark.parametrize("rescale", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(rescale):
    with pytest.raises(InputError, match="rescale must lie in"):
        classifier_free(CONDITIONAL, UNCONDITIONAL, 3.0, rescale)


def test_thresholds_go_round_the_whole():
    x, t = draw(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
    guided = classifier_free(pictures(1), pictures(2), 5.0)
    assert torch.equal(static_threshold(guided)(x, t), guided(x, t).clamp(-1, 1))
    dynamic = dynamic_threshold(guided)(x, t)
    assert dynamic.abs().max() == 1
    inside = guided(x, t).abs().flatten(1).quantile(0.995, 1).clamp(min=1).view(4, 1, 1, 1)
    assert (dynamic * inside - guided(x, t).clamp(-inside, inside)).abs().max() < 1e-12


N = 200
WRAPPED = {
    "classifier-free": classifier_free(CONDITIONAL, UNCONDITIONAL, 2.0),
    "rescaled": classifier_free(CONDITIONAL, UNCONDITIONAL, 2.0, 0.7),
    "on an interval": within_interval(classifier_free(CONDITIONAL, UNCONDITIONAL, 2.0), CONDITIONAL, 20, 150),
    "by a classifier": classifier_guided(UNCONDITIONAL, log_prob, of_class(N), S, 2.0),
    "by a classifier, thresholded": dynamic_threshold(classifier_guided(UNCONDITIONAL, log_prob, of_class(N), S, 2.0)),
    "by a bad model": autoguided(CONDITIONAL, BAD, 1.5),
    "by a bad model, then by its label": classifier_free(autoguided(CONDITIONAL, BAD, 1.5), UNCONDITIONAL, 2.0),
}
RUNS = {
    "ddpm": lambda d, x: ddpm(d, x, S, steps=25, generator=torch.Generator().manual_seed(3)),
    "ddim": lambda d, x: ddim(d, x, S, steps=25),
    "ddim, eta 1": lambda d, x: ddim(d, x, S, steps=25, eta=1.0, generator=torch.Generator().manual_seed(3)),
    "dpm": lambda d, x: dpm_solver(d, x, S, steps=15),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_every_sampler_ends_in_the_class_that_every_guide_points_to(wrapped, run):
    x0 = sample(RUNS[run](WRAPPED[wrapped], draw(N, 1, 1, 2)))
    assert x0.shape == (N, 1, 1, 2)
    assert x0.isfinite().all()
    taken_for = log_prob(x0, torch.zeros(N, dtype=torch.int64)).argmax(1)
    assert (taken_for == CLASS).double().mean() > 0.9  # without guidance it is half


def test_mean_shift_too_ends_in_its_class():
    guided = classifier_mean_shifted(UNCONDITIONAL, log_prob, of_class(N), S, 2.0, 25)
    x0 = sample(RUNS["ddpm"](guided, draw(N, 1, 1, 2)))
    assert (log_prob(x0, torch.zeros(N, dtype=torch.int64)).argmax(1) == CLASS).double().mean() > 0.9


def test_the_two_forms_agree_over_all_timesteps_and_part_over_few():
    """Two Gaussians at -1 and 1 with std 0.5, guided to the upper one at scale 1: its mean is 1."""
    n = 500
    means = torch.tensor([-1.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    quarter, half = torch.full((2,), 0.25, dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    both, x_T, upper = mixture_denoiser(S, means, quarter, half), draw(n, 1, 1, 1), torch.ones(n, dtype=torch.int64)

    def posterior(x, t):
        return mixture_posterior(S, means, quarter, half.log(), x, t).log()

    def mean_after(steps):
        score = classifier_guided(both, posterior, upper, S, 1.0)
        shift = classifier_mean_shifted(both, posterior, upper, S, 1.0, steps)
        runs = (ddpm(d, x_T, S, steps=steps, generator=torch.Generator().manual_seed(1)) for d in (score, shift))
        return [sample(run).mean().item() for run in runs]

    score, shift = mean_after(None)
    assert abs(score - shift) < 0.02
    assert abs(score - 1) < 4 * 0.5 / n**0.5
    score, shift = mean_after(15)
    assert abs(score - 1) < 4 * 0.5 / n**0.5
    assert shift < score - 0.1


def test_inversion_with_guidance_leads_back():
    x_T, guided = 0.5 * draw(20, 1, 1, 2), classifier_free(CONDITIONAL, UNCONDITIONAL, 1.5)
    x0 = sample(ddim(guided, x_T, S, steps=200))
    assert (sample(ddim_invert(guided, x0, S, steps=200)) - x_T).abs().median() < 0.05
