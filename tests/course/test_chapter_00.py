"""Equations of notebook 00: the dial is a schedule, the arrow the derivative of the mix, and the best arrow an average over the data."""

import math

import numpy as np
import pytest
import torch

from ddpm_utils.diffusion import q_sample, target
from ddpm_utils.ideal import dataset_denoiser
from ddpm_utils.sampling import ddim, make_denoiser
from ddpm_utils.schedules import NoiseSchedule

T = 90
DIAL = torch.linspace(0, math.pi / 2, T + 1, dtype=torch.float64)  # a degree each
SCHEDULE = NoiseSchedule(1 - DIAL[1:].cos() ** 2 / DIAL[:-1].cos() ** 2)
RANDOM = np.random.default_rng(0)
CLEAN, NOISE = torch.from_numpy(RANDOM.normal(size=(2, T, 3)))


def test_a_dial_is_a_noise_schedule():
    angles = DIAL[1:, None]
    assert (q_sample(SCHEDULE, CLEAN, torch.arange(T), NOISE) - (angles.cos() * CLEAN + angles.sin() * NOISE)).abs().max() < 1e-12


def test_the_arrow_is_the_derivative_of_the_mix():
    angles = DIAL[1:, None]
    _, arrow = torch.autograd.functional.jvp(lambda a: a.cos() * CLEAN + a.sin() * NOISE, angles, torch.ones_like(angles))
    t = torch.arange(T)
    x_t = q_sample(SCHEDULE, CLEAN, t, NOISE)
    assert (target(SCHEDULE, CLEAN, x_t, t, NOISE, "v") - arrow).abs().max() < 1e-12


@pytest.mark.parametrize("degrees", [2, 30, 75])
def test_the_best_arrow_is_an_average_over_the_data(degrees):
    data, x, angle = RANDOM.normal(size=(6, 2)), RANDOM.normal(size=(4, 2)), math.radians(degrees)
    for place in x:  # Bayes: each pair (point, noise) that leads here, by its density, and its own arrow
        noises = (place - math.cos(angle) * data) / math.sin(angle)
        likely = np.exp(-0.5 * (noises**2).sum(1) + 0.5 * (noises**2).sum(1).min())
        average = (likely[:, None] * (math.cos(angle) * noises - math.sin(angle) * data)).sum(0) / likely.sum()
        t = torch.tensor([degrees - 1])
        clean = dataset_denoiser(SCHEDULE, torch.from_numpy(data))(torch.from_numpy(place)[None], t)[0].numpy()
        assert np.abs((math.cos(angle) * place - clean) / math.sin(angle) - average).max() < 1e-9


def test_a_turn_along_the_arrow_is_a_step_of_ddim():
    v = torch.from_numpy(RANDOM.normal(size=(5, 2)))
    x = torch.from_numpy(RANDOM.normal(size=(5, 2)))
    turned = x
    for a, b in zip(DIAL.flip(0), DIAL.flip(0)[1:]):
        turned = math.cos(a - b) * turned - math.sin(a - b) * v
    *_, last = ddim(make_denoiser(lambda x, t: v, SCHEDULE, "v", clip=False), x, SCHEDULE, T)
    assert (last.x - turned).abs().max() < 1e-9
