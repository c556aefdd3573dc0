"""From a network to images: label, guidance of every kind, clipping and sampler, against the same written out by hand."""

from dataclasses import replace

import pytest
import torch
from runs import changed
from torch import nn

from ddpm_utils.choices import SAMPLERS
from ddpm_utils.classifier import Classifier, NoisyClassifier
from ddpm_utils.config import Classification, Generation, TrainConfig
from ddpm_utils.diffusion import to_x0
from ddpm_utils.errors import InputError
from ddpm_utils.generate import Guidance, even_over_patches, generate, start_noise, trained_denoiser
from ddpm_utils.guidance import classifier_free, classifier_free_batched, classifier_guided
from ddpm_utils.models import Model
from ddpm_utils.sampling import ddim, ddpm, dpm_solver, heun, make_denoiser, static_threshold
from ddpm_utils.schedules import NoiseSchedule
from ddpm_utils.unet import UNet, UNetConfig


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("patch", [2, 4])
def test_even_noise_differs_from_the_drawn_one_by_a_number_for_each_place_of_a_patch(patch):
    noise = draw(2, 3, 16, 24, dtype=torch.float64)
    even = even_over_patches(noise, patch)
    for b, c in ((0, 0), (1, 2)):
        shifts = set()
        for i in range(patch):
            for j in range(patch):
                place, drawn = even[b, c, i::patch, j::patch], noise[b, c, i::patch, j::patch]
                assert abs(place.mean() - noise[b, c].mean()) < 1e-14
                assert (place - drawn).max() - (place - drawn).min() < 1e-14
                shifts.add(round((place - drawn)[0, 0].item(), 9))
        assert len(shifts) == patch**2, "each its own"


def test_only_networks_of_patches_that_predict_noise_or_v_start_from_even_noise():
    plain = draw(5, 3, 8, 8, seed=3)
    for patch, prediction in ((1, "v"), (2, "x0"), (2, "v"), (2, "eps"), (2, "flow")):
        network = UNetConfig(image_size=8, channels=3, width=8, multipliers=(1,), attention=(), groups=4, patch=patch)
        x_T = start_noise(TrainConfig(network=network, task=Generation(prediction=prediction)), 5, seed=3)
        assert torch.equal(x_T, plain if patch == 1 or prediction == "x0" else even_over_patches(plain, 2))


class Fixed(nn.Module):
    """A "network" with smooth answers that depend on the label, large enough that clipping shows."""

    def __init__(self):
        super().__init__()
        self.config, self.batches = NETWORK, []
        self.gain = nn.Parameter(torch.tensor(1.7))

    def forward(self, x, t, label=None):
        self.batches.append(len(x))
        wave = torch.sin(3 * x + t.view(-1, 1, 1, 1) / 50)
        number = torch.zeros_like(t) if label is None else label.masked_fill(label == self.config.null_label, 0)
        return self.gain * (wave + 0.4 * number.view(-1, 1, 1, 1))


NETWORK = UNetConfig(image_size=8, channels=1, width=8, multipliers=(1,), blocks=1, attention=(), groups=4, classes=10)
CONFIG = TrainConfig(network=NETWORK, task=Generation(timesteps=100, prediction="v"), batch_size=4, epochs=1)
LABEL = torch.tensor([1, 4, 9])


def by_hand(config, label, scale):
    """trained_denoiser written out: mix what the network says with and without the label, then turn it into x_0, then clip."""
    schedule = NoiseSchedule.named(config.task.schedule, config.timesteps)

    def denoiser(x, t):
        u = to_x0(schedule, x, t, Fixed()(x, t), config.task.prediction)
        c = u if label is None else to_x0(schedule, x, t, Fixed()(x, t, label), config.task.prediction)
        x0_hat = u + scale * (c - u)
        return x0_hat.clamp(-1, 1) if config.mean == (0.5,) else x0_hat

    return denoiser


@pytest.mark.parametrize(
    "config", [CONFIG, changed(CONFIG, prediction="eps", schedule="sigmoid"), replace(CONFIG, mean=(0.3,), std=(0.2,))]
)
@pytest.mark.parametrize(("label", "scale"), [(None, 1.0), (LABEL, 1.0), (LABEL, 0.0), (LABEL, 3.0)])
@torch.no_grad()
def test_a_trained_network_is_mixed_unclipped_and_clipped_once_if_its_images_were(config, label, scale):
    x, t = draw(3, 1, 8, 8), torch.tensor([2, 40, 80])
    ours = trained_denoiser(Fixed(), config, label, scale)(x, t)
    expected = by_hand(config, label, scale)(x, t)
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("sampler", SAMPLERS)
@torch.no_grad()
def test_generating_runs_the_sampler_on_the_schedule_that_was_trained_with(sampler):
    x_T = draw(3, 1, 8, 8)
    schedule = NoiseSchedule.cosine(100)
    ours = list(generate(Fixed(), CONFIG, x_T, LABEL, sampler, steps=10, guidance=2.0, seed=(5, 0)))
    again = list(generate(Fixed(), CONFIG, x_T, LABEL, sampler, steps=10, guidance=2.0, seed=(5, 0)))
    assert torch.equal(ours[-1].x, again[-1].x)
    run = {"ddim": ddim, "ddpm": ddpm, "dpm": dpm_solver, "heun": heun}[sampler]
    expected = next(iter(run(by_hand(CONFIG, LABEL, 2.0), x_T, schedule, steps=10)))
    assert ours[0].t == expected.t
    assert (ours[0].x0_hat - expected.x0_hat).abs().max() < 1e-4
    if sampler != "ddpm":  # its noise comes from a generator of its own
        assert (ours[0].x - expected.x).abs().max() < 1e-4
    else:
        noise = 1 - schedule.alpha_bar[89]  # an upper limit of one step's variance
        assert (ours[0].x - expected.x).abs().max() < 8 * noise.sqrt()


# --- one forward pass, and everything that `Guidance` can ask for ---


@pytest.fixture(scope="module")
def unet():
    """A U-Net whose last layers aren't zero any more, so that label and timestep matter."""
    torch.manual_seed(0)
    network = UNet(NETWORK)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize(("scale", "rescale"), [(3.0, 0.0), (3.0, 0.7), (0.5, 0.0), (0.0, 0.5), (0.0, 0.0), (1.0, 0.7)])
@pytest.mark.parametrize("prediction", ["eps", "v"])
@torch.no_grad()
def test_one_pass_over_twice_the_batch_is_two_passes(unet, prediction, scale, rescale):
    schedule = CONFIG.noise_schedule()
    x, t = draw(3, 1, 8, 8), torch.tensor([2, 40, 60])
    conditional = make_denoiser(unet, schedule, prediction, clip=False, label=LABEL)
    unconditional = make_denoiser(unet, schedule, prediction, clip=False)
    expected = classifier_free(conditional, unconditional, scale, rescale)(x, t)
    ours = classifier_free_batched(unet, schedule, prediction, LABEL, scale, rescale)(x, t)
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (conditional(x, t) - unconditional(x, t)).abs().max() > 0.01 * expected.abs().max()  # the label matters


@pytest.mark.parametrize(
    ("guidance", "batches"),
    [
        (1.0, [3] * 5),
        (0.0, [3] * 5),
        (3.0, [6] * 5),
        (Guidance(3.0, interval=(20, 70)), [3, 3, 6, 6, 3]),
        (Guidance(3.0, (99, 99)), [6] + [3] * 4),
    ],
)
def test_the_network_runs_once_a_step_and_twice_the_batch_only_where_it_is_guided(guidance, batches):
    network = Fixed()
    list(generate(network, CONFIG, draw(3, 1, 8, 8), LABEL, steps=5, guidance=guidance))  # t = 99, 79, 59, 39, 19
    assert network.batches == batches


def classifier_of(config):
    task = Classification(**{name: getattr(config.task, name) for name in ("timesteps", "schedule")})
    config = replace(config, task=task)
    torch.manual_seed(0)
    network = NoisyClassifier(config.network).eval()
    nn.init.normal_(network.encoder.middle.blocks[1].conv2.weight, generator=torch.Generator().manual_seed(0))
    return Classifier(network, config, tuple("0123456789"), [])


def unlabelled(config):
    return replace(config, network=replace(config.network, classes=None))


@torch.no_grad()
def test_a_classifier_guides_from_the_unconditional_answer_of_models_with_and_without_labels(unet):
    classifier, x, t = classifier_of(CONFIG), draw(3, 1, 8, 8), torch.tensor([2, 40, 60])
    schedule = CONFIG.noise_schedule()
    plain = make_denoiser(unet, schedule, "v", clip=False)
    expected = static_threshold(classifier_guided(plain, classifier.network.log_prob, LABEL, schedule, 20.0))(x, t)
    assert torch.equal(trained_denoiser(unet, CONFIG, LABEL, Guidance(20.0, classifier=classifier))(x, t), expected)
    assert not torch.equal(expected, plain(x, t).clamp(-1, 1))
    without = unlabelled(CONFIG)
    network = UNet(without.network)
    images = list(generate(network, without, x, LABEL, steps=4, guidance=Guidance(2.0, classifier=classifier)))
    assert images[-1].x.shape == x.shape


@torch.no_grad()
def test_a_bad_model_is_led_away_from_with_the_label_if_it_knows_labels(unet):
    x, t = draw(3, 1, 8, 8), torch.tensor([2, 40, 60])
    u, c = (to_x0(CONFIG.noise_schedule(), x, t, unet(x, t, label), "v") for label in (None, LABEL))
    fixed = to_x0(CONFIG.noise_schedule(), x, t, Fixed()(x, t, LABEL), "v")
    for known, network, config, bad in ((True, Fixed(), CONFIG, c), (False, lambda x, t: unet(x, t), unlabelled(CONFIG), u)):
        model = Model(unet if known else network, config, (), {})
        ours = trained_denoiser(Fixed(), CONFIG, LABEL, Guidance(2.0, bad=model))(x, t)
        assert (ours - (bad + 2.0 * (fixed - bad)).clamp(-1, 1)).abs().max() < 1e-4


OTHERS = [
    (changed(CONFIG, schedule="linear"), "schedule is 'linear', the model's is 'cosine'"),
    (changed(CONFIG, timesteps=50), "timesteps is 50"),
    (replace(CONFIG, mean=(0.3,)), "mean is"),
    (replace(CONFIG, network=replace(NETWORK, image_size=16)), "image_size is 16"),
    (replace(CONFIG, network=replace(NETWORK, classes=7)), "classes is 7, the model's is 10"),
]


@pytest.mark.parametrize(("other", "named"), OTHERS)
def test_guides_that_saw_other_noise_or_images_are_refused(other, named):
    for guidance in (Guidance(2.0, classifier=Classifier(None, other, (), [])), Guidance(2.0, bad=Model(None, other, (), {}))):
        with pytest.raises(InputError, match=named):
            trained_denoiser(Fixed(), CONFIG, LABEL, guidance)


def test_what_contradicts_itself_is_refused():
    bad, classifier = Model(Fixed(), CONFIG, (), {}), classifier_of(CONFIG)
    with pytest.raises(InputError, match="not both"):
        Guidance(2.0, bad=bad, classifier=classifier)
    with pytest.raises(InputError, match=r"rescale belongs to classifier-free guidance.*got 0.7"):
        Guidance(2.0, rescale=0.7, bad=bad)
    with pytest.raises(InputError, match="must end by timestep 99"):
        trained_denoiser(Fixed(), CONFIG, LABEL, Guidance(2.0, interval=(0, 100)))
    for guidance, named in ((3.0, "guidance needs labels"), (Guidance(2.0, classifier=classifier), "needs to know the labels")):
        with pytest.raises(InputError, match=named):
            trained_denoiser(Fixed(), CONFIG, None, guidance)
