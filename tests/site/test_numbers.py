"""The site computes what Python computes: the random numbers, schedules, samplers and sizes of its modules against the package's."""

import numpy as np
import pytest
import torch
from javascript import javascript
from PIL import Image

from ddpm_utils.choices import SAMPLERS, SCHEDULES
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.diffusion import q_sample, to_x0
from ddpm_utils.generate import evened, run_sampler, start_noise
from ddpm_utils.ideal import gaussian_denoiser
from ddpm_utils.restoration.full_resolution import enlarge
from ddpm_utils.runtime.rng import keyed_generator
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet_config import UNetConfig


def test_a_seed_draws_torchs_normals():
    cases = [(0, 7840), (1, 784), (2**32 + 5, 3 * 32 * 32), (123456789, 17), (7, 16)]
    drawn = javascript(
        "const { Generator } = await load('random.js'); return cases.map(([seed, n]) => new Generator(seed).normals(n));", cases=cases
    )
    for (seed, n), numbers in zip(cases, drawn, strict=True):
        expected = torch.randn(n, generator=torch.Generator().manual_seed(seed)).numpy()
        np.testing.assert_allclose(numbers, expected, rtol=0, atol=5e-6)  # torch takes logarithms and cosines in float32


@pytest.mark.parametrize(("patch", "prediction"), [(1, "v"), (2, "v"), (4, "eps"), (2, "x0")])
def test_the_noise_that_drawing_begins_with_is_pythons(patch, prediction):
    network = UNetConfig(image_size=16, channels=3, width=8, multipliers=(1,), attention=(), groups=4, patch=patch)
    config = TrainConfig(network=network, task=Generation(prediction=prediction))
    about = {"channels": 3, "size": 16, "even": evened(config)}
    drawn = javascript("const { startNoise } = await load('generator.js'); return startNoise(about, 5, 2);", about=about)
    # as above, and less the means of such numbers
    np.testing.assert_allclose(drawn, start_noise(config, 2, 5).flatten().numpy(), rtol=0, atol=6e-6)


def test_the_noise_of_ddpm_follows_torchs_generator_from_draw_to_draw():
    keys = [(0, 0), (5, 256), (2**40 + 3, 1)]
    drawn = javascript(
        """const { keyedGenerator } = await load('random.js');
        return keys.map(([seed, index]) => { const g = keyedGenerator(seed, "sampling", index); return [g.normals(100), g.normals(33)]; });""",
        keys=keys,
    )
    for (seed, index), parts in zip(keys, drawn, strict=True):
        generator = keyed_generator(seed, "sampling", index)
        for numbers, n in zip(parts, (100, 33), strict=True):
            np.testing.assert_allclose(numbers, torch.randn(n, generator=generator).numpy(), rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_alpha_bar_is_pythons(name):
    lengths = [100, 1000]
    drawn = javascript(
        "const { alphaBar } = await load('schedules.js'); return lengths.map((T) => alphaBar(name, T));", name=name, lengths=lengths
    )
    for T, ab in zip(lengths, drawn, strict=True):
        expected = NoiseSchedule.named(name, T).alpha_bar.numpy()
        # the sigmoid's curve is a difference that ends in 0, so that its last values keep fewer digits
        np.testing.assert_allclose(ab, expected, rtol=1e-14 if name != "sigmoid" else 1e-11, atol=1e-16)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("T", [300, 1000])
def test_the_signal_to_noise_ratio_is_pythons(name, T):
    ratio = javascript("const { alphaBar, snr } = await load('schedules.js'); return snr(alphaBar(name, T));", name=name, T=T)
    expected = NoiseSchedule.named(name, T).snr.numpy()
    # an error of 1e-14 in alpha_bar is one of 1e-14 (1 + SNR) in alpha_bar / (1 - alpha_bar)
    assert (np.abs(ratio / expected - 1) <= 1e-14 * (1 + expected)).all()


def test_numbers_are_written_as_python_writes_them():
    values = [0.5, 1.0, 123456.0, 99999.5, 1234.0, 0.00012345, 4.036e-05, 9.9996e-05, 0.99996, 2.0, 1e-9, 10.0, 100.0]
    written = javascript("const { general } = await load('rounding.js'); return values.map((v) => general(v, 4));", values=values)
    assert written == [f"{value:.4g}" for value in values]


def test_the_names_are_pythons():
    names = javascript("return [(await load('schedules.js')).SCHEDULES, Object.keys((await load('samplers.js')).SAMPLERS)];")
    assert [tuple(names[0]), tuple(names[1])] == [SCHEDULES, SAMPLERS]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_a_sampler_takes_pythons_steps(sampler, steps):
    schedule = NoiseSchedule.cosine(1000)
    noise = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = list(run_sampler(sampler, gaussian_denoiser(schedule, 0.3, 0.2), noise, schedule, steps, seed=(3, 0)))
    taken = javascript(
        """const { alphaBar } = await load('schedules.js'); const { run } = await load('samplers.js');
        const { keyedGenerator } = await load('random.js'); const ab = alphaBar("cosine"); const taken = [];
        const denoiser = async (x, t) => x.map((v) => 0.3 + 0.2 * Math.sqrt(ab[t]) * (v - Math.sqrt(ab[t]) * 0.3) / (ab[t] * 0.2 + 1 - ab[t]));
        for await (const s of run(sampler, denoiser, noise, ab, steps, keyedGenerator(3, "sampling", 0))) taken.push(s);
        return taken;""",
        sampler=sampler,
        steps=steps,
        noise=noise.numpy(),
    )
    assert [step["t"] for step in taken] == [step.t for step in expected]
    for mine, step in zip(taken, expected, strict=True):
        np.testing.assert_allclose(mine["x"], step.x.flatten(), rtol=0, atol=2e-5)  # float32, and the normals' 5e-6
        np.testing.assert_allclose(mine["x0"], step.x0_hat.flatten(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
def test_an_output_stands_for_pythons_clean_image(prediction):
    schedule, random = NoiseSchedule.cosine(1000), torch.Generator().manual_seed(1)
    x, output = torch.randn(2, 40, generator=random)
    for t in (0, 400, 900):
        mine = javascript(
            "return (await load('samplers.js')).toX0(prediction, x, output, ab);",
            prediction=prediction,
            x=x.numpy(),
            output=output.numpy(),
            ab=schedule.alpha_bar[t].item(),
        )
        expected = to_x0(schedule, x[None], torch.tensor([t]), output[None], prediction)[0].numpy()
        np.testing.assert_allclose(mine, expected, rtol=2e-6, atol=2e-6)


def test_an_image_is_noised_as_in_python():
    schedule = NoiseSchedule.cosine(1000)
    x0, eps = torch.randn(2, 1, 30, generator=torch.Generator().manual_seed(2))
    mine = javascript(
        "return (await load('schedules.js')).noised(x0, eps, ab);", x0=x0[0].numpy(), eps=eps[0].numpy(), ab=schedule.alpha_bar[300].item()
    )
    np.testing.assert_allclose(mine, q_sample(schedule, x0, torch.tensor([300]), eps)[0].numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 31), (97, 64), (200, 113), (56, 38), (112, 75)])
def test_shrinking_is_pillows_value_for_value(photographs, size):
    image = photographs[1]
    height, width = image.shape[:2]
    small = javascript(
        "return (await load('resize.js')).lanczos(rgba, width, height, ...size);", rgba=rgba(image), width=width, height=height, size=size
    )
    expected = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(small.reshape(expected.shape), expected)


def test_a_field_is_widened_as_torch_does():
    field = torch.randn(1, 9, 13, generator=torch.Generator().manual_seed(3))
    wide = javascript("return (await load('resize.js')).widen(field, 9, 13, 50);", field=field.numpy())
    np.testing.assert_allclose(wide.reshape(1, 9, 50), enlarge(field, 9, 50).numpy(), rtol=0, atol=5e-6)  # it finds places in float32


def rgba(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) with a channel that counts for nothing, as a canvas gives it."""
    return np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
