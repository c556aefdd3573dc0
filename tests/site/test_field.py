"""The network that the site trains on points: its gradients against torch's, its right arrows against the ideal denoiser, and that it learns."""

import math

import numpy as np
import torch
from javascript import javascript

from ddpm_utils.ideal import dataset_denoiser
from ddpm_utils.schedules import NoiseSchedule


def test_the_gradients_are_torchs():
    random = np.random.default_rng(0)
    x, target = (random.standard_normal((7, 2)).astype(np.float32) for _ in range(2))
    angles = random.uniform(0, math.pi / 2, 7).astype(np.float32)
    answer = javascript(
        """const { Guesser } = await load('field.js'); const g = new Guesser(3);
        return [g.gradients(x, angles, target), g.layers.map(({ weights, bias }) => [weights, bias]), g.arrows(x, angles)];""",
        x=x,
        angles=angles,
        target=target,
    )
    layers = []
    for weights, bias in answer[1]:
        w = torch.tensor(weights.reshape(-1, len(bias)), dtype=torch.float64, requires_grad=True)
        layers.append((w, torch.tensor(bias, dtype=torch.float64, requires_grad=True)))
    angle = torch.tensor(angles, dtype=torch.float64)[:, None]
    waves = torch.cat([part for k in (1, 2, 4, 8) for part in ((k * angle).sin(), (k * angle).cos())], 1)
    h = torch.cat([torch.tensor(x, dtype=torch.float64), waves], 1) @ layers[0][0] + layers[0][1]
    for w, b in layers[1:-1]:
        h = h + torch.nn.functional.silu(h @ w + b)
    out = h @ layers[-1][0] + layers[-1][1]
    loss = (out - torch.tensor(target)).square().mean()
    loss.backward()
    np.testing.assert_allclose(answer[2].reshape(7, 2), out.detach(), rtol=1e-4, atol=1e-5)
    assert abs(answer[0]["loss"] - loss.item()) < 1e-5 * loss.item()
    for (w, b), mine in zip(layers, answer[0]["gradients"], strict=True):
        for parameter, gradient in zip((w, b), mine, strict=True):
            expected = parameter.grad.numpy().ravel()
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_right_arrow_is_that_of_the_ideal_denoiser():
    random = np.random.default_rng(1)
    points, x = (random.standard_normal((n, 2)).astype(np.float32) for n in (50, 9))
    T, t = 100, 60
    dial = torch.linspace(0, math.pi / 2, T + 1, dtype=torch.float64)
    schedule = NoiseSchedule(1 - dial[1:].cos() ** 2 / dial[:-1].cos() ** 2)
    angle = dial[t + 1].item()
    x0_hat = dataset_denoiser(schedule, torch.tensor(points))(torch.tensor(x).double(), torch.full((9,), t)).numpy()
    expected = (math.cos(angle) * x - x0_hat) / math.sin(angle)
    mine = javascript("return (await load('field.js')).bestArrow(x, angle, points);", x=x, angle=angle, points=points)
    np.testing.assert_allclose(mine.reshape(9, 2), expected, rtol=0, atol=1e-5)


def test_training_brings_new_points_onto_the_spiral():
    points, before, after = javascript(
        """const { Guesser, pointsOf, walk } = await load('field.js'); const { Generator } = await load('random.js');
        const points = pointsOf("spiral", 500, 0), g = new Guesser(0);
        const draw = () => walk((x, a) => g.arrows(x, a), new Generator(2).normals(200), 20);
        const before = draw(); for (let k = 0; k < 400; k++) g.train(points); return [points, before, draw()];"""
    )
    far = [np.linalg.norm(x.reshape(-1, 1, 2) - points.reshape(1, -1, 2), axis=2).min(1).mean() for x in (before, after)]
    assert far[1] < 0.5 * far[0]
    assert far[1] < 0.2


def test_every_set_of_points_lies_in_the_picture():
    sets = javascript("const f = await load('field.js'); return Object.keys(f.SETS).map((name) => f.pointsOf(name, 400, 0));")
    for points in sets:
        assert np.isfinite(points).all()
        assert 0.5 < np.abs(points).max() < 2.8
        assert points.reshape(-1, 2).std(0).min() > 0.4
