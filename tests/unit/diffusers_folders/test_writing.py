"""Folders for diffusers: what its pipelines draw from them, beside what we draw from the same noise."""

from dataclasses import replace

import pytest
import torch
from diffusers_here import diffusers, modules_cache, opened  # noqa: F401
from networks import as_if_trained

from ddpm_utils.config import Generation, Restoration, TrainConfig
from ddpm_utils.diffusers_folders.writing import folded, unfolded, with_one_label, write_folder
from ddpm_utils.errors import InputError
from ddpm_utils.generate import generate, start_noise, trained_denoiser
from ddpm_utils.models import load_model, shipped
from ddpm_utils.runtime.rng import keyed_generator
from ddpm_utils.sampling import ddpm, sample
from ddpm_utils.unet_config import UNetConfig

SMALL = UNetConfig(image_size=8, channels=2, width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4)
NAMES = ("cat", "dog", "7")
STEPS, N, SEED = 10, 3, 5
TOLERANCE = 1e-4  # of images in 0..1: theirs keep their constants in float32


def run_of(T=200, schedule="cosine", prediction="v", zero=False, **network):
    """A network as if trained, and its run."""
    config = replace(SMALL, **network)
    task = Generation(timesteps=T, schedule=schedule, prediction=prediction, zero_terminal_snr=zero)
    return as_if_trained(config), TrainConfig(network=config, task=task)


def noise(seed=SEED):
    return torch.Generator().manual_seed(seed)


def ours(network, config, label=None, guidance=1.0):
    x_T = start_noise(config, N, SEED)
    return pixels(sample(generate(network, config, x_T, label, steps=STEPS, guidance=guidance)), config)


def pixels(x, config):
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (config.mean, config.std))
    return (x * std + mean).clamp(0, 1)


def theirs(pipeline, scheduler="DDIMScheduler", steps=STEPS, **call):
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    return pipeline(N, generator=noise(), num_inference_steps=steps, output_type="pt", **call).images


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize(("schedule", "T"), [("linear", 1000), ("cosine", 200), ("sigmoid", 50), ("linear", 300)])
def test_plain_ddim_draws_the_same_images(tmp_path, schedule, T, prediction):
    network, config = run_of(T, schedule, prediction)
    write_folder(network, config, (), tmp_path)
    pipeline = opened(tmp_path, diffusers.DDIMPipeline)
    assert type(pipeline) is diffusers.DDIMPipeline, "no code comes with the weights"
    images = theirs(pipeline, use_clipped_model_output=True)
    assert images.std() > 0.1
    assert (images - ours(network, config)).abs().max() < TOLERANCE


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_a_schedule_that_ends_in_pure_noise_stays_one(tmp_path, schedule, prediction):
    network, config = run_of(200, schedule, prediction, zero=True)
    write_folder(network, config, (), tmp_path)
    pipeline = opened(tmp_path, diffusers.DDIMPipeline)
    assert pipeline.scheduler.alphas_cumprod[-1] == 0
    assert (theirs(pipeline, use_clipped_model_output=True) - ours(network, config)).abs().max() < TOLERANCE


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
def test_plain_ddpm_draws_the_same_images_with_the_same_noise_in_each_step(tmp_path, schedule, prediction):
    network, config = run_of(200, schedule, prediction)
    write_folder(network, config, (), tmp_path)
    generator = noise()
    x_T = torch.randn(N, 2, 8, 8, generator=generator)
    x0 = sample(ddpm(trained_denoiser(network, config), x_T, config.noise_schedule(), steps=STEPS, generator=generator))
    assert (theirs(opened(tmp_path, diffusers.DDPMPipeline), "DDPMScheduler") - pixels(x0, config)).abs().max() < TOLERANCE


def test_the_larger_variance_of_a_folder_is_drawn_with_here_and_goes_back_into_one(tmp_path):
    network, config = run_of(50, "linear", "eps")
    write_folder(network, config, (), tmp_path / "small")
    opened(tmp_path / "small", diffusers.DDPMPipeline).save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs" / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text("utf-8").replace("fixed_small", "fixed_large"), "utf-8")
    model = load_model(tmp_path / "theirs")
    assert model.config.task.variance == "large"
    write_folder(model.network, model.config, (), tmp_path / "again")
    again = opened(tmp_path / "again", diffusers.DDPMPipeline)
    assert again.scheduler.config.variance_type == "fixed_large"
    x_T = start_noise(config, N, SEED)
    draws = {
        name: sample(generate(network, c, x_T, sampler="ddpm", steps=STEPS)) for name, c in (("small", config), ("large", model.config))
    }
    constants, generator = config.noise_schedule(), keyed_generator(0, "sampling", 0)
    expected = sample(ddpm(trained_denoiser(network, config), x_T, constants, "large", steps=STEPS, generator=generator))
    assert torch.equal(draws["large"], expected)
    assert (draws["large"] - draws["small"]).abs().max() > 0.01
    generator = noise()
    x_T = torch.randn(N, 2, 8, 8, generator=generator)
    expected = sample(ddpm(trained_denoiser(network, config), x_T, constants, "large", generator=generator))
    assert (theirs(again, "DDPMScheduler", steps=50) - pixels(expected, config)).abs().max() < TOLERANCE


def test_a_folder_of_another_range_must_not_clip(tmp_path):
    network, config = run_of(200)
    write_folder(network, replace(config, mean=(0.4,), std=(0.3,)), (), tmp_path)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    assert load_model(tmp_path).config.std == (0.3,)
    path.write_text(path.read_text("utf-8").replace('"clip_sample": false', '"clip_sample": true'), "utf-8")
    with pytest.raises(InputError, match="clip_sample=True has no counterpart here, it must be False"):
        load_model(tmp_path)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("patch", [1, 2])
def test_labels_by_name_with_guidance_draw_the_same_images(tmp_path, patch, prediction):
    attention = (4 // patch,)
    network, config = run_of(300, "cosine", prediction, classes=3, patch=patch, attention=attention)
    write_folder(network, config, NAMES, tmp_path)
    pipeline = opened(tmp_path)
    assert pipeline.classes == list(NAMES)
    for labels, numbers in ((["dog", 0, "7"], [1, 0, 2]), ("cat", [0, 0, 0]), (None, [3, 3, 3])):
        expected = ours(network, config, torch.tensor(numbers))
        assert (theirs(pipeline, labels=labels) - expected).abs().max() < TOLERANCE
    guided = ours(network, config, torch.tensor([1, 1, 1]), guidance=2.5)
    assert (theirs(pipeline, labels="dog", guidance_scale=2.5) - guided).abs().max() < TOLERANCE
    assert (guided - ours(network, config, torch.tensor([1, 1, 1]))).abs().max() > 0.01
    for wrong in ("cow", 4, ["cat"]):
        with pytest.raises(ValueError, match="label"):
            theirs(pipeline, labels=wrong)


def test_pixels_of_another_range_come_out_right_and_unclipped(tmp_path):
    network, config = run_of(200)
    config = replace(config, mean=(0.4, 0.6), std=(0.3, 0.2))
    write_folder(network, config, (), tmp_path)
    assert (theirs(opened(tmp_path)) - ours(network, config)).abs().max() < TOLERANCE


def test_one_label_alone_needs_no_code_beside_the_weights(tmp_path):
    network, config = run_of(200, classes=3)
    write_folder(*with_one_label(network, config, 2), (), tmp_path)
    pipeline = opened(tmp_path, diffusers.DDIMPipeline)
    images = theirs(pipeline, use_clipped_model_output=True)
    assert (images - ours(network, config, torch.full((N,), 2))).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", ["digits", "digits-early", "toy-cars"])
def test_every_shipped_model_opens_in_plain_diffusers_and_comes_back(tmp_path, name):
    model = load_model(shipped(name))
    write_folder(model.network, model.config, model.classes, tmp_path)
    images = theirs(opened(tmp_path), labels=model.classes[1])
    expected = ours(model.network, model.config, torch.ones(N, dtype=torch.int64))
    assert (images - expected).abs().max() < TOLERANCE
    back = load_model(tmp_path)
    assert (back.config.network, back.classes) == (model.config.network, model.classes)
    assert back.config.task == replace(model.config.task, label_dropout=back.config.task.label_dropout)
    assert all(torch.equal(w, model.network.state_dict()[key]) for key, w in back.network.state_dict().items())


def test_dpm_solver_takes_the_same_folder(tmp_path):
    network, config = run_of(1000, "linear", "eps")
    write_folder(network, config, (), tmp_path)
    pipeline = opened(tmp_path, diffusers.DDPMPipeline)
    x0 = theirs(pipeline, "DPMSolverMultistepScheduler")
    assert x0.isfinite().all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task": Generation(prediction="mean")}, "prediction 'mean' has no counterpart"),
        ({"task": Restoration(), "network": replace(SMALL, condition_channels=2, extra_channels=1)}, "generates no images from noise"),
    ],
)
def test_what_diffusers_has_not_got_is_refused_and_nothing_is_written(tmp_path, change, sentence):
    network, config = run_of()
    with pytest.raises(InputError, match=sentence):
        write_folder(network, replace(config, **change), (), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folding_is_undone_by_unfolding():
    network = replace(SMALL, patch=2, attention=(2,))
    assert unfolded(folded(network), 2) == network
    with pytest.raises(InputError, match="must be whole, got 2 channels"):
        unfolded(SMALL, 2)
