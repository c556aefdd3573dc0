"""Holes filled, images varied, blended and enlarged, on data whose answers are known in closed form."""

import numpy as np
import pytest
import torch

from ddpm_utils.editing import averaging_to, between, inpaint, keeping, noised
from ddpm_utils.errors import InputError
from ddpm_utils.ideal import dataset_denoiser, gaussian_denoiser
from ddpm_utils.sampling import ddim, ddim_invert, ddpm, dpm_solver, sample
from ddpm_utils.schedules import NoiseSchedule

S = NoiseSchedule.cosine(100)
MEAN, COV = np.array([0.3, -0.2]), np.array([[1.0, 0.8], [0.8, 1.5]])  # of two pixels
Y = 1.1  # what is known of the first
CONDITIONAL_MEAN = MEAN[1] + COV[1, 0] / COV[0, 0] * (Y - MEAN[0])
CONDITIONAL_VARIANCE = COV[1, 1] - COV[1, 0] ** 2 / COV[0, 0]
HOLE = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def regression(ab):
    """x0_hat = offset + gain x_t at signal power ab, for the two pixels."""
    gain = np.sqrt(ab) * COV @ np.linalg.inv(ab * COV + (1 - ab) * np.eye(2))
    return MEAN - gain @ (np.sqrt(ab) * MEAN), gain


def pair_denoiser(schedule):
    """The ideal denoiser of images (B, 1, 1, 2) with this mean and covariance."""

    def denoiser(x_t, t):
        offset, gain = regression(schedule.alpha_bar[t[0]].item())
        return (torch.from_numpy(offset) + x_t.reshape(-1, 2) @ torch.from_numpy(gain).T).view_as(x_t)

    return denoiser


def steps_of(T, steps, resamplings):
    """(alpha_bar there, at the next timestep, whether the step is repeated) of every step down."""
    ab = np.append(S.alpha_bar.numpy() if T == S.T else NoiseSchedule.cosine(T).alpha_bar.numpy(), 1.0)
    visited = [T - 1 - i * T // steps for i in range(steps)]
    for t, after in zip(visited, [*visited[1:], -1]):
        for left in reversed(range(1 if after == -1 else resamplings)):
            yield ab[t], ab[after], bool(left)


def kernels(ab, prev, again):
    """The step down and, if it is repeated, the one up: [(offset, matrix, noise)], of x and standard normal noise."""
    offset, gain = regression(ab)
    offset[0], gain[0] = Y, 0
    beta = 1 - ab / prev
    w_x0, w_x = np.sqrt(prev) * beta / (1 - ab), np.sqrt(ab / prev) * (1 - prev) / (1 - ab)
    down = (w_x0 * offset, w_x0 * gain + w_x * np.eye(2), np.sqrt(max(0.0, beta * (1 - prev) / (1 - ab))))
    return [down, (np.zeros(2), np.sqrt(ab / prev) * np.eye(2), np.sqrt(beta))] if again else [down]


def law(T, steps, resamplings):
    """Mean and covariance of what inpainting draws, without drawing."""
    mean, cov = np.zeros(2), np.eye(2)
    for ab, prev, again in steps_of(T, steps, resamplings):
        for offset, matrix, size in kernels(ab, prev, again):
            mean, cov = offset + matrix @ mean, matrix @ cov @ matrix.T + size**2 * np.eye(2)
    return mean, cov


@pytest.mark.parametrize(("steps", "resamplings"), [(100, 1), (25, 3), (7, 10)])
def test_inpainting_follows_its_exact_law_on_gaussian_data(steps, resamplings):
    x_T = draw(3, 1, 1, 2)
    known = torch.tensor([Y, 99.0], dtype=torch.float64).view(1, 1, 1, 2)
    ours = list(inpaint(pair_denoiser(S), x_T, S, known, HOLE, steps, resamplings, torch.Generator().manual_seed(5)))
    generator, x = torch.Generator().manual_seed(5), x_T.reshape(3, 2).numpy()
    for ab, prev, again in steps_of(S.T, steps, resamplings):
        for offset, matrix, size in kernels(ab, prev, again):
            z = torch.randn(3, 1, 1, 2, generator=generator, dtype=torch.float64).reshape(3, 2).numpy() if size else 0.0
            x = offset + x @ matrix.T + size * z
    assert np.abs(ours[-1].x.reshape(3, 2).numpy() - x).max() < 1e-9
    assert len(ours) == (steps - 1) * resamplings + 1
    assert torch.equal(ours[-1].x[:, 0, 0, 0], torch.full((3,), Y, dtype=torch.float64)), "what is known stays, to the bit"


def test_resampling_brings_the_hole_near_its_conditional_mean_and_variance():
    """By the law, not by drawing. One pass knows a part of what lies around the hole; the error falls as the inverse of the passes."""
    laws = [law(1000, 1000, resamplings) for resamplings in (1, 5, 25)]
    off = [abs(mean[1] - CONDITIONAL_MEAN) for mean, _ in laws]
    assert off[0] > 0.3
    assert 0.08 < off[1] < 0.11
    assert off[2] < 0.025
    variances = [cov[1, 1] / CONDITIONAL_VARIANCE for _, cov in laws]
    assert variances[0] > 1.25
    assert 0.98 < variances[2] < 1.02


def test_a_hole_beside_what_it_does_not_depend_on_is_drawn_as_without_it():
    independent = gaussian_denoiser(S, 0.4, 0.3)
    x_T = draw(4, 1, 1, 2)
    plain = sample(ddpm(independent, x_T, S, generator=torch.Generator().manual_seed(3)))
    filled = list(inpaint(independent, x_T, S, torch.zeros(1, 1, 1, 2), HOLE, None, 1, torch.Generator().manual_seed(3)))[-1].x
    assert torch.equal(filled[..., 1], plain[..., 1])


def test_a_hole_in_an_image_of_a_known_set_becomes_that_image():
    """Where what is known leaves one answer, its conditional variance is 0."""
    data = 2 * torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    hole = torch.zeros(1, 1, 4, 4)
    hole[..., 2:] = 1
    spoiled = torch.where(hole == 1, torch.zeros(()), data[3:4])
    filled = list(inpaint(dataset_denoiser(S, data), draw(6, 1, 4, 4), S, spoiled, hole, 50, 5, torch.Generator().manual_seed(1)))[-1].x
    assert (filled - data[3]).abs().max() < 1e-6


@pytest.mark.parametrize("sampler", [ddim, ddpm, dpm_solver])
def test_enlarged_images_have_the_means_that_they_were_enlarged_from(sampler):
    small = draw(1, 2, 3, 3)
    denoiser = averaging_to(gaussian_denoiser(S, 0.1, 0.5), small)
    x0 = sample(sampler(denoiser, draw(4, 2, 12, 12), S, steps=20))
    means = torch.nn.functional.avg_pool2d(x0, 4)
    assert (means - small).abs().max() < 1e-6
    assert x0.std() > small.repeat_interleave(4, 2).repeat_interleave(4, 3).std(), "within a block it is the model's"


def test_enlarging_changes_nothing_where_the_means_are_right_already():
    denoiser, x_t, t = gaussian_denoiser(S, 0.1, 0.5), draw(2, 1, 4, 4), torch.tensor([50, 50])
    x0_hat = denoiser(x_t, t)
    assert (averaging_to(denoiser, torch.nn.functional.avg_pool2d(x0_hat, 2))(x_t, t) - x0_hat).abs().max() < 1e-12


def test_what_is_kept_is_mixed_by_the_hole():
    denoiser, x_t, t = gaussian_denoiser(S, 0.1, 0.5), draw(2, 1, 1, 3), torch.tensor([50, 50])
    hole = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    x0_hat = denoiser(x_t, t)
    kept = keeping(denoiser, torch.full((1, 1, 1, 3), 7.0), hole)(x_t, t)
    assert torch.allclose(kept, hole * x0_hat + (1 - hole) * 7)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_a_varied_image_has_the_law_that_its_noise_says(share):
    """DDIM from x_t: by the exact flow of N(0, v), x_0 = sqrt(v / (ab v + 1 - ab)) x_t, with x_t = sqrt(ab) image + sqrt(1 - ab) eps."""
    schedule, v = NoiseSchedule.cosine(4000), 0.5
    image, eps = torch.full((1, 1, 1, 1), 0.8, dtype=torch.float64), draw(5, 1, 1, 1)
    x, shorter = noised(schedule, image, share, eps)
    assert round(share * 4000) == shorter.T
    assert torch.equal(shorter.alpha_bar, schedule.alpha_bar[: shorter.T])
    ab = shorter.alpha_bar[-1]
    expected = (v / (ab * v + 1 - ab)).sqrt() * (ab.sqrt() * image + (1 - ab).sqrt() * eps)
    x0 = sample(ddim(gaussian_denoiser(schedule, 0.0, v), x, shorter, steps=None))
    assert (x0 - expected).abs().max() < 2e-3, "the flow, in steps"


def test_points_between_two_noises_end_in_both_and_keep_their_length():
    a, b = draw(1, 3, 16, 16), draw(1, 3, 16, 16, seed=1)
    points = between(a, b, 5)
    assert torch.allclose(points[:1], a)
    assert torch.allclose(points[-1:], b)
    lengths = points.flatten(1).norm(dim=1)
    low, high = sorted((a.norm(), b.norm()))
    assert ((lengths > 0.99 * low) & (lengths < 1.01 * high)).all()
    assert between((a - b) / 2 + (a + b) / 2, a, 3).std() > 0
    assert torch.allclose(between(a, 2 * a, 3)[1:2], 1.5 * a), "straight where both point the same way"


def test_what_is_inverted_and_sampled_again_is_what_it_was():
    schedule = NoiseSchedule.cosine(1000)
    denoiser = gaussian_denoiser(schedule, 0.2, 0.3)
    a, b = draw(1, 1, 4, 4), draw(1, 1, 4, 4, seed=1)
    ends = [sample(ddim_invert(denoiser, image, schedule, None)) for image in (a, b)]
    blend = sample(ddim(denoiser, between(*ends, 3), schedule, None))
    assert (blend[0] - a).abs().max() < 0.02
    assert (blend[2] - b).abs().max() < 0.02


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: list(inpaint(None, draw(1, 1, 2, 2), S, None, None, resamplings=0)), "resamplings must be at least 1"),
        (lambda: noised(S, draw(1, 1, 2, 2), 0.0, draw(1, 1, 2, 2)), "share of noise must lie in"),
        (lambda: S.up_to(100), "t must lie in 1 .. 99"),
        (
            lambda: averaging_to(lambda x, t: x, draw(1, 1, 3, 3))(draw(1, 1, 8, 8), None),
            "3 x 3 pixels can't be enlarged to 8 x 8",
        ),
    ],
)
def test_wrong_numbers_are_refused(call, sentence):
    with pytest.raises(InputError) as told:
        call()
    assert sentence in str(told.value)
