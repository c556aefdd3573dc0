"""KID, coverage, density and label agreement against sums written out and what they are on average."""

import itertools
import math

import numpy as np
import pytest

from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.distribution_metrics import coverage, kid, kid_by_label, label_agreement, mmd2


def draw(n, d, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (n, d))


# --- KID ---


def test_mmd_is_the_sum_over_different_pairs():
    a, b = draw(3, 2, 0), draw(4, 2, 1)

    def k(x, y):
        return (sum(p * q for p, q in zip(x, y)) / 2 + 1) ** 3

    within_a = sum(k(x, y) for x, y in itertools.permutations(a, 2)) / 6
    within_b = sum(k(x, y) for x, y in itertools.permutations(b, 2)) / 12
    across = sum(k(x, y) for x, y in itertools.product(a, b)) / 12
    assert mmd2(a, b) == pytest.approx(within_a + within_b - 2 * across, rel=1e-12)


def test_mmd_of_two_points_each_by_hand():
    """D = 1, a = {0, 1}, b = {1, 2}: k(0, 1) = 1, k(1, 2) = 27, across (1 + 1 + 8 + 27) / 4."""
    assert mmd2(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == pytest.approx(1 + 27 - 2 * 37 / 4, rel=1e-12)


def test_kid_is_unbiased():
    """Two small sets of one distribution: 0 on average. With the pairs of an image with itself it would be about 1.6 here."""
    values = [mmd2(draw(12, 3, 2 * i), draw(15, 3, 2 * i + 1)) for i in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert np.std(values) / 20 < 0.1


def test_kid_of_the_whole_sets_is_the_mmd_and_says_its_n():
    a, b = draw(30, 4, 0), draw(30, 4, 1, 0.5)
    result = kid(a, b, subsets=3)
    assert result.mean == pytest.approx(mmd2(a, b), rel=1e-10)  # each subset is the whole set, in another order
    assert result.std < 1e-10
    assert (result.subset_size, result.n_real, result.n_generated) == (30, 30, 30)
    assert "3 subsets of 30 out of n = 30 real and 30 generated" in str(result)


def test_kid_over_subsets_is_near_that_of_the_whole_and_depends_on_the_seed_alone():
    a, b = draw(300, 4, 0), draw(200, 4, 1, 0.5)
    result = kid(a, b, subsets=50, subset_size=100)
    assert result == kid(a, b, subsets=50, subset_size=100)
    assert result != kid(a, b, subsets=50, subset_size=100, seed=1)
    assert result.std > 0
    assert abs(result.mean - mmd2(a, b)) < 4 * result.std / math.sqrt(50)


def test_kid_grows_with_the_distance():
    a = draw(200, 8, 0)
    values = [kid(a, draw(200, 8, 1, shift), subsets=10).mean for shift in (0.0, 0.3, 0.6, 1.2)]
    assert values == sorted(values)
    assert values[0] < 0.1 * values[1]


def balanced(n, labels, seed, shift=0.0):
    """n points of each label, 6 apart from label to label: features (n labels, 2) and labels."""
    label = np.repeat(np.arange(labels), n)
    return draw(n * labels, 2, seed) * 0.5 + np.stack([6 * label - 9 + shift, 0 * label], 1), label


def test_by_label_is_the_mean_over_the_labels_in_whatever_order_the_images_come():
    (a, la), (b, lb) = balanced(5, 3, 0), balanced(7, 3, 1)
    expected = np.mean([mmd2(a[5 * k : 5 * k + 5], b[7 * k : 7 * k + 7]) for k in range(3)])
    order = np.random.default_rng(0).permutation(21)
    result = kid_by_label(a, la, b[order], lb[order])
    assert result.mean == pytest.approx(expected, rel=1e-12)
    assert (result.labels, result.n_real, result.n_generated) == (3, 15, 21)
    assert "3 labels, n = 15 real and 21 generated" in str(result)


def test_between_balanced_sets_kid_by_label_is_unbiased_and_kid_is_not():
    pairs = [(balanced(10, 4, 2 * i), balanced(10, 4, 2 * i + 1)) for i in range(150)]
    by_label = [kid_by_label(*a, *b).mean for a, b in pairs]
    assert abs(np.mean(by_label)) < 3 * np.std(by_label) / 150**0.5
    plain = [mmd2(a[0], b[0]) for a, b in pairs]
    assert np.mean(plain) < -10 * np.std(plain) / 150**0.5


def test_by_label_sees_labels_that_were_swapped():
    (a, la), (b, lb) = balanced(20, 4, 0), balanced(20, 4, 1)
    assert kid_by_label(a, la, b, lb[::-1]).mean > 100 * abs(kid_by_label(a, la, b, lb).mean)


# --- coverage and density ---


@pytest.mark.parametrize(
    ("generated", "covered", "density"),
    [([0.5, 4.0, 10.0], 3 / 3, 3 / 3), ([0.5, 10.0, 11.0], 2 / 3, 2 / 3), ([9.0], 0, 0), ([3.0] * 2, 1 / 3, 1)],
)
def test_coverage_and_density_of_three_points_by_hand(generated, covered, density):
    """Real images at 0, 1 and 3 with k = 1: balls of radius 1, 1 and 2, without their edge."""
    real, generated = np.array([[0.0], [1.0], [3.0]]), np.array(generated * (2 if len(generated) == 1 else 1))[:, None]
    result = coverage(real, generated, k=1)
    assert result.coverage == pytest.approx(covered)
    assert result.density == pytest.approx(density)


@pytest.mark.parametrize(("k", "N", "M"), [(5, 100, 100), (3, 60, 90)])
def test_two_sets_of_one_distribution_have_the_coverage_that_counting_says_and_density_one(k, N, M):
    """An image is missed if its k nearest among all others are real: C(N - 1, k) / C(N + M - 1, k)."""
    results = [coverage(draw(N, 4, 2 * i), draw(M, 4, 2 * i + 1), k) for i in range(60)]
    expected = 1 - math.comb(N - 1, k) / math.comb(N + M - 1, k)
    assert np.mean([r.coverage for r in results]) == pytest.approx(expected, abs=0.01)
    assert np.mean([r.density for r in results]) == pytest.approx(1, abs=0.05)
    assert N != M or expected == pytest.approx(1 - 2**-k, abs=0.01)


def test_a_lost_mode_costs_coverage_and_strange_images_cost_density():
    real = np.concatenate([draw(100, 2, 0), draw(100, 2, 1, 20)])
    half = coverage(real, draw(200, 2, 2))
    assert half.coverage == pytest.approx(0.5, abs=0.02)
    assert half.density > 0.8
    strange = coverage(real, np.concatenate([draw(100, 2, 3), draw(100, 2, 4, 20), draw(200, 2, 5, -50)]))
    assert strange.coverage > 0.9
    assert strange.density == pytest.approx(0.5, abs=0.1)
    assert "(k = 5, n = 200 real and 400 generated)" in str(strange)


def test_more_images_than_are_looked_at_once(monkeypatch):
    real, generated = draw(70, 3, 0), draw(50, 3, 1)
    whole = coverage(real, generated)
    monkeypatch.setattr("ddpm_utils.evaluation.distribution_metrics.ROWS", 16)
    assert coverage(real, generated) == whole


# --- label agreement ---


def test_label_agreement_counts_the_likeliest_class():
    log_prob = np.log([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.5, 0.3, 0.2]])
    result = label_agreement(log_prob, np.array([0, 2, 0, 1]))
    assert result == (0.5, 4)
    assert str(result) == "label agreement 0.500 (n = 4)"


# --- what is refused ---


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: kid(draw(5, 2, 0), draw(5, 3, 0)), "same D"),
        (lambda: kid(draw(5, 2, 0), draw(5, 2, 0)[0]), "same D"),
        (lambda: coverage(draw(9, 2, 0), draw(1, 2, 0)), "at least 2 real and 2 generated"),
        (lambda: kid(draw(5, 2, 0), draw(5, 2, 0) * np.nan), "NaN"),
        (lambda: kid(draw(5, 2, 0), draw(5, 2, 0), subsets=0), "got 0 of 1000"),
        (lambda: coverage(draw(5, 2, 0), draw(5, 2, 0)), "between 1 and 4.*got 5"),
        (lambda: label_agreement(np.zeros((3, 2)), np.zeros(4)), r"\(4,\)"),
        (lambda: kid_by_label(draw(4, 2, 0), [0, 0, 1, 1], draw(4, 2, 0), [0, 0, 1]), "a label for each image"),
        (lambda: kid_by_label(draw(4, 2, 0), [0, 0, 1, 1], draw(4, 2, 0), [0, 0, 0, 1]), "at least 2 real and 2 generated images of each"),
        (lambda: kid_by_label(draw(4, 2, 0), [0, 0, 1, 1], draw(4, 2, 0), [0, 0, 2, 2]), "the same labels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(call, named):
    with pytest.raises(InputError, match=named):
        call()
