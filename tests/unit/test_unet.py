"""The network against diffusers' UNet2DModel with the same weights, and what a wrong shape or label says."""

import pytest
import torch

from ddpm_utils.errors import InputError
from ddpm_utils.interop import options_from_diffusers
from ddpm_utils.runtime.torchvision_shim import import_torchvision
from ddpm_utils.training.log import parameter_table
from ddpm_utils.unet import UNet, UNetConfig, timestep_embedding

import_torchvision()
from diffusers import UNet2DModel  # noqa: E402

HO_IN_DIFFUSERS = {
    "sample_size": 32,
    "layers_per_block": 2,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
}
SMALL = {"width": 16, "groups": 8}
CONFIGS = {
    "attention at one resolution": UNetConfig(image_size=16, multipliers=(1, 2), attention=(8,), **SMALL),
    "attention everywhere, heads": UNetConfig(image_size=16, multipliers=(1, 2, 2), attention=(4, 8, 16), head_channels=8, **SMALL),
    "no attention, one block, grey": UNetConfig(image_size=8, channels=1, multipliers=(1, 2), blocks=1, attention=(), **SMALL),
    "no middle attention": UNetConfig(image_size=8, multipliers=(1, 3), attention=(8,), middle_attention=False, **SMALL),
    "labels": UNetConfig(image_size=8, multipliers=(1, 2), attention=(), classes=10, **SMALL),
    "a condition": UNetConfig(image_size=8, multipliers=(1, 2), attention=(4,), condition_channels=2, **SMALL),
    "diffusers' own details": UNetConfig(
        image_size=16,
        multipliers=(1, 1, 2),
        attention=(8,),
        norm_eps=1e-5,
        asymmetric_padding=False,
        cosines_first=True,
        frequency_shift=0,
        **SMALL,
    ),
    "one level": UNetConfig(image_size=8, multipliers=(1,), attention=(), **SMALL),
}


def randomised(network, seed=0):
    """Every weight random and every layer in use: fresh ones hold zeros that would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.1 if p.ndim < 2 else p[0].numel() ** -0.5))
    return network.eval()


def inputs(config, batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    size = config.image_size
    x = torch.randn(batch, config.channels, size, size, generator=generator)
    t = torch.tensor([0, 7, 999])[:batch]
    conditions = {}
    if config.classes:
        conditions["label"] = torch.tensor([0, config.classes - 1, config.null_label])[:batch]
    if config.condition_channels:
        conditions["condition"] = torch.randn(batch, config.condition_channels, size, size, generator=generator)
    return x, t, conditions


def theirs(model, x, t, conditions):
    x = torch.cat([x, conditions["condition"]], 1) if "condition" in conditions else x
    return model(x, t, class_labels=conditions.get("label")).sample


def test_hos_cifar10_network_has_exactly_its_number_of_parameters():
    assert sum(p.numel() for p in UNet(UNetConfig.ho_cifar10()).parameters()) == 35_746_307


@torch.no_grad()
def test_hos_network_from_diffusers_gives_equal_outputs():
    model = randomised(UNet2DModel(**HO_IN_DIFFUSERS))
    ours = UNet.from_diffusers(model)
    assert sum(p.numel() for p in ours.parameters()) == 35_746_307
    x, t, _ = inputs(ours.config, batch=2)
    assert (ours(x, t) - model(x, t).sample).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_weights_go_to_diffusers_and_back_with_equal_outputs(name):
    ours = randomised(UNet(CONFIGS[name]))
    x, t, conditions = inputs(ours.config)
    model = ours.to_diffusers()
    expected = ours(x, t, **conditions)
    assert expected.abs().max() > 0.1
    assert (theirs(model, x, t, conditions) - expected).abs().max() < 1e-5
    back = UNet.from_diffusers(model)
    assert back.config == ours.config
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), ours.state_dict().values()))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("resnet_time_scale_shift", "scale_shift"),
        ("act_fn", "gelu"),
        ("down_block_types", ("SkipDownBlock2D", "DownBlock2D")),
        ("center_input_sample", True),
    ],
)
def test_diffusers_options_without_a_counterpart_are_refused(option, value):
    options = {"sample_size": 8, "block_out_channels": (8, 8), "norm_num_groups": 8, "layers_per_block": 1}
    options |= {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "add_attention": False}
    model = UNet2DModel(**options | {option: value})
    with pytest.raises(InputError, match="counterpart"):
        UNet.from_diffusers(model)


BASE = {
    **{"sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": (8, 8), "norm_num_groups": 8, "layers_per_block": 1},
    **{"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "attention_head_dim": 4},
}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"attn_norm_num_groups": 4}, "attn_norm_num_groups=4"),
        ({"downsample_padding": 2}, "downsample_padding must be 0 or 1"),
        ({"out_channels": 5}, "5 output channels of 3 input channels"),
        ({"time_embedding_dim": 64}, "time_embedding_dim=64"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type='fourier'"),
    ],
)
def test_options_that_would_be_ignored_are_refused_by_their_names(options, sentence):
    with pytest.raises(InputError, match=sentence):
        UNet.from_diffusers(UNet2DModel(**BASE | options))


def test_options_that_nobody_knows_yet_are_refused_too():
    with pytest.raises(InputError, match="of_tomorrow=3 is unknown here"):
        options_from_diffusers({**UNet2DModel(**BASE).config, "of_tomorrow": 3})


def test_what_is_no_unet_is_refused_in_a_sentence():
    for model in ("folder/of/a/model", torch.nn.Linear(2, 2), None):
        with pytest.raises(InputError, match="only a diffusers UNet2DModel can be converted, got"):
            UNet.from_diffusers(model)


@torch.no_grad()
def test_the_variance_of_a_learned_sigma_is_left_out_and_said(capsys):
    model = randomised(UNet2DModel(**BASE | {"out_channels": 6}))
    ours = UNet.from_diffusers(model)
    assert "the variance that the network predicts beside the image is left out" in capsys.readouterr().out
    x, t, _ = inputs(ours.config)
    assert (ours(x, t) - model(x, t).sample[:, :3]).abs().max() < 1e-5


@torch.no_grad()
def test_all_class_embeddings_are_classes_where_that_is_said(capsys):
    model = randomised(UNet2DModel(**BASE | {"num_class_embeds": 4}))
    assert UNet.from_diffusers(model).config.classes == 3
    assert "3 classes, and the last embedding for no label" in capsys.readouterr().out
    ours = UNet.from_diffusers(model, last_is_no_label=False)
    assert (ours.config.classes, capsys.readouterr().out) == (4, "")
    x, t, label = torch.randn(4, 3, 8, 8), torch.tensor([0, 7, 500, 999]), torch.arange(4)
    assert (ours(x, t, label) - model(x, t, class_labels=label).sample).abs().max() < 1e-5
    assert not ours.label_embedding.weight[4].any()


@torch.no_grad()
def test_no_label_means_the_null_label_and_labels_matter():
    network = randomised(UNet(CONFIGS["labels"]))
    x, t, _ = inputs(network.config)
    assert torch.equal(network(x, t), network(x, t, label=torch.full((3,), 10)))
    assert (network(x, t, label=torch.tensor([1, 2, 3])) - network(x, t)).abs().amax((1, 2, 3)).min() > 1e-3


@torch.no_grad()
def test_every_input_reaches_the_output():
    """Time, condition and every pixel; a far corner only through attention or depth."""
    network = randomised(UNet(CONFIGS["a condition"]))
    x, t, c = inputs(network.config)
    base = network(x, t, **c)
    assert (network(x, t + 1, **c) - base).abs().max() > 1e-4
    assert (network(x, t, condition=c["condition"] + 1) - base).abs().max() > 1e-3
    corner = x.clone()
    corner[:, :, 0, 0] += 1
    assert (network(corner, t, **c) - base)[:, :, -1, -1].abs().max() > 1e-6


@torch.no_grad()
def test_images_of_a_batch_do_not_mix():
    network = randomised(UNet(CONFIGS["attention everywhere, heads"]))
    x, t, _ = inputs(network.config)
    together = network(x, t)
    for i in range(3):
        assert (network(x[i : i + 1], t[i : i + 1]) - together[i]).abs().max() < 1e-5


def test_a_fresh_network_says_zero_and_every_weight_can_learn():
    network = UNet(CONFIGS["labels"])
    x, t, conditions = inputs(network.config)
    assert (network(x, t, **conditions) == 0).all()
    network = randomised(network).train()
    network(x, t, **conditions).square().mean().backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_timestep_embedding_is_its_formula():
    emb = timestep_embedding(torch.tensor([0, 3, 999]), 8)
    for row, t in zip(emb.double(), (0, 3, 999)):
        frequencies = torch.tensor([10000.0 ** (-i / 3) for i in range(4)], dtype=torch.float64)
        assert (row - torch.cat([(t * frequencies).sin(), (t * frequencies).cos()])).abs().max() < 1e-4  # float32 angles up to 999


def test_parameter_table_adds_up():
    network = UNet(CONFIGS["labels"])
    lines = parameter_table(network, 2).splitlines()
    counts = [int(line.split()[1].replace(",", "")) for line in lines[1:]]
    assert sum(counts[:-1]) == counts[-1] == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 28, "multipliers": (1, 2, 2, 2)}, "multiple of 8.*got 28"),
        ({"attention": (5,)}, r"\(32, 16, 8, 4\), got 5"),
        ({"width": 20}, "groups=32, got 20"),
        ({"head_channels": 48}, "head_channels=48, got 64"),
        ({"multipliers": ()}, "at least one level"),
    ],
)
def test_bad_configurations_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        UNetConfig(**options)


def test_bad_inputs_are_refused():
    plain, labelled, conditioned = (UNet(CONFIGS[n]) for n in ("no attention, one block, grey", "labels", "a condition"))
    t = torch.tensor([0])
    for network, x, options, words in (
        (plain, torch.zeros(1, 3, 8, 8), {}, r"\(B, 1, H, W\)"),
        (plain, torch.zeros(1, 1, 7, 8), {}, "multiples of 2"),
        (plain, torch.zeros(1, 1, 8, 8), {"label": t}, "no labels"),
        (plain, torch.zeros(1, 1, 8, 8), {"condition": torch.zeros(1, 1, 8, 8)}, "no condition"),
        (conditioned, torch.zeros(1, 3, 8, 8), {}, "2 condition channels"),
    ):
        with pytest.raises(InputError, match=words):
            network(x, t, **options)
    with pytest.raises(IndexError):
        labelled(torch.zeros(1, 3, 8, 8), t, label=torch.tensor([11]))


@torch.no_grad()
def test_extra_channels_are_output_channels_in_diffusers():
    config = UNetConfig(image_size=8, multipliers=(1, 2), attention=(), condition_channels=3, extra_channels=1, **SMALL)
    ours = randomised(UNet(config))
    x, t, conditions = inputs(config)
    expected = ours(x, t, **conditions)
    assert expected.shape == (3, 4, 8, 8)
    assert (theirs(ours.to_diffusers(), x, t, conditions) - expected).abs().max() < 1e-5


def test_patches_are_channels_of_a_smaller_picture():
    """patch=2 equals a plain network on the picture whose 2x2 squares were folded into channels, weight for weight."""
    patched = randomised(UNet(UNetConfig(image_size=16, channels=3, multipliers=(1, 2), attention=(8,), patch=2, **SMALL)))
    plain = UNet(UNetConfig(image_size=8, channels=12, multipliers=(1, 2), attention=(8,), **SMALL)).eval()
    plain.load_state_dict(patched.state_dict())
    x, t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 500])
    folded = x.reshape(2, 3, 8, 2, 8, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 12, 8, 8)  # channel, row in the square, column in it
    unfolded = plain(folded, t).reshape(2, 3, 2, 2, 8, 8).permute(0, 1, 4, 2, 5, 3).reshape(2, 3, 16, 16)
    assert torch.equal(patched(x, t), unfolded)


def test_patches_must_divide_the_picture_and_have_no_counterpart_in_diffusers():
    with pytest.raises(InputError, match=r"multiple of 8.*patches of 4"):
        UNetConfig(image_size=20, multipliers=(1, 2), attention=(), patch=4, **SMALL)
    with pytest.raises(InputError, match="patch must be at least 1"):
        UNetConfig(patch=0)
    with pytest.raises(InputError, match="no patches"):
        UNet(UNetConfig(image_size=8, multipliers=(1, 2), attention=(), patch=2, **SMALL)).to_diffusers()
