"""Averages of the weights against closed forms, and any length rebuilt from snapshots of two."""

import numpy as np
import pytest
import torch

from ddpm_utils.ema import EMA, gamma_of, power_decay, reconstruct, reconstruction_weights, standard_decay
from ddpm_utils.errors import InputError


def averaged(rule, steps, weight=lambda n: n, every=1, snapshots=()):
    """The average after `steps` of a single weight that equals weight(n) after step n, and its values at `snapshots`."""
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, weight(0))
    ema, taken = EMA(layer, rule, every), []
    for n in range(1, steps + 1):
        torch.nn.init.constant_(layer.weight, weight(n))
        ema.update(layer, n)
        if n in snapshots:
            taken.append(ema.shadow[0].item())
    return (ema.shadow[0].item(), taken) if snapshots else ema.shadow[0].item()


def test_a_constant_decay_lags_behind_a_ramp_by_its_closed_form():
    """e_n = n - d / (1 - d) once the start is forgotten; the warm-up is over at k = 8 for d = 0.5."""
    assert abs(averaged(standard_decay(0.5), 200) - (200 - 0.5 / (1 - 0.5))) < 1e-4


def test_warm_up_weighs_a_ramp_by_its_closed_form():
    """With d_k = (1 + k) / (10 + k) a step has weight 9 (tau + 2)…(tau + 9) / ((k + 2)…(k + 10)), so the mean of a ramp tends to 0.9 k."""
    k = 500
    tau = np.arange(1, k + 1, dtype=np.float64)
    rising = np.prod([(tau + i) / (k + i) for i in range(2, 10)], axis=0)
    weights = 9 / (k + 10) * rising
    start = 1 - weights.sum()  # on the weights before step 1, which are 0 here
    assert 0 <= start < 1e-12
    assert abs(averaged(standard_decay(0.9999), k) - (weights * tau).sum()) < 1e-3  # float32, values up to 500
    assert abs((weights * tau).sum() - 0.9 * k) < 1


def test_without_warm_up_a_long_average_would_remember_its_random_start():
    k = np.arange(1, 2001)
    assert 0.9999**2000 > 0.8  # the published mistake
    assert np.prod([standard_decay(0.9999)(int(n)) for n in k]) < 1e-12


@pytest.mark.parametrize("every", [1, 4, 10])
def test_an_average_that_moves_rarely_forgets_at_the_same_rate(every):
    """A weight that jumps from 0 to 1 after step 1000, long after the warm-up: 0.99 ** 400 of it is still missing at step 1400."""
    value = averaged(standard_decay(0.99, every=every), 1400, lambda n: float(n > 1000), every)
    assert abs(1 - value - 0.99**400) < 1e-4


def test_a_late_average_is_a_copy_until_its_start_and_then_warms_up():
    assert averaged(standard_decay(0.9999, start=50), 50) == 50
    late, early = averaged(standard_decay(0.9999, start=50), 60), averaged(standard_decay(0.9999), 10)
    assert abs(late - (50 + early)) < 1e-4


def test_the_average_is_float32_and_covers_parameters_only():
    layer = torch.nn.BatchNorm1d(3).bfloat16()
    ema = EMA(layer, standard_decay(0.999))
    assert [s.dtype for s in ema.shadow] == [torch.float32] * 2
    torch.nn.init.constant_(layer.weight, 2.0)
    for n in range(1, 2001):
        ema.update(layer, n)
    assert ema.shadow[0].min() > 1.8  # in bfloat16 a move of 1/1000 is rounded away


@pytest.mark.parametrize(("sigma", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_gammas_are_the_published_ones(sigma, gamma):
    assert abs(gamma_of(sigma) - gamma) < 0.005
    g = gamma_of(sigma)
    assert abs((g + 1) ** 0.5 / ((g + 2) * (g + 3) ** 0.5) - sigma) < 1e-12


@pytest.mark.parametrize("every", [1, 4, 10])
@pytest.mark.parametrize("sigma", [0.05, 0.10, 0.2])
def test_power_average_of_a_ramp_is_gamma_plus_one_over_gamma_plus_two(sigma, every):
    T, g = 4000, gamma_of(sigma)
    assert abs(averaged(power_decay(sigma, every), T, lambda n: n / T, every) - (g + 1) / (g + 2)) < 1.5 * every / T


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("target", [0.075, 0.10, 0.15])
def test_any_length_is_rebuilt_from_snapshots_of_two(target, every):
    """A wavy weight: the rebuilt average agrees with the one that was kept all along. 16 snapshots, rounded to float16 as on disk."""
    T, sigmas = 3200, (0.05, 0.10)
    steps = list(range(T // 16, T + 1, T // 16))

    def wave(n):
        return n / T + 0.3 * np.sin(9 * n / T)

    taken = [averaged(power_decay(s, every), T, wave, every, steps)[1] for s in sigmas]
    weights = reconstruction_weights(steps * 2, [s for s in sigmas for _ in steps], T, target)
    snapshots = [{"w": torch.tensor([v]).half().float()} for values in taken for v in values]
    rebuilt = reconstruct(snapshots, weights)["w"].item()
    direct = averaged(power_decay(target, every), T, wave, every)
    assert abs(rebuilt - direct) < 8e-4
    assert abs(weights.sum() - 1) < 1e-3


def test_a_length_that_was_kept_comes_back_as_it_is():
    weights = reconstruction_weights([100, 200, 300] * 2, [0.05] * 3 + [0.1] * 3, 300, 0.1)
    assert np.abs(weights - [0, 0, 0, 0, 0, 1]).max() < 1e-8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: standard_decay(1.0), "got 1.0"),
        (lambda: standard_decay(0.9, start=-1), "got -1"),
        (lambda: gamma_of(0.5), "0.01 .. 0.28.*got 0.5"),
        (lambda: reconstruction_weights([5], [0.1], 5, 0.1), "at least 2 snapshots.*got 1"),
    ],
)
def test_bad_lengths_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
