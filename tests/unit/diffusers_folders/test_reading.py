"""Folders of diffusers as networks of ours: the well-known layouts by their options with random weights, and what is refused."""

import json

import pytest
import torch
from diffusers_here import diffusers
from safetensors.torch import load_file

from ddpm_utils.diffusers_folders.reading import read_description
from ddpm_utils.diffusers_folders.schedulers import READ, scheduler_to_diffusers, task_from_scheduler
from ddpm_utils.errors import DamagedFile, InputError
from ddpm_utils.interop import OLD_ATTENTION, weights_from_diffusers
from ddpm_utils.models import load_model
from ddpm_utils.unet import UNet

D, A, U, V = "DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"
HO = {  # as version 0.0.4 wrote them, with what was no option yet left out
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    **{"act_fn": "silu", "attention_head_dim": None, "center_input_sample": False, "downsample_padding": 0, "flip_sin_to_cos": False},
    **{"freq_shift": 1, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-06},
    **{"norm_num_groups": 32, "time_embedding_type": "positional"},
}
HO_256 = {
    **HO,
    "sample_size": 256,
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": [D, D, D, D, A, D],
    "up_block_types": [U, V, U, U, U, U],
}
EXAMPLE = {"_class_name": "UNet2DModel", "_diffusers_version": "0.5.0", "layers_per_block": 2}  # of diffusers' own training scripts
KNOWN = {  # parameters in millions, options
    "google/ddpm-cifar10-32": (
        35.7,
        {
            **HO,
            "sample_size": 32,
            "block_out_channels": [128, 256, 256, 256],
            "down_block_types": [D, A, D, D],
            "up_block_types": [U, U, V, U],
        },
    ),
    "google/ddpm-celebahq-256": (113.7, HO_256),
    "google/ddpm-cat-256": (113.7, HO_256),
    "google/ddpm-bedroom-256": (113.7, HO_256),
    "anton-l/ddpm-butterflies-128": (
        113.7,
        {**HO_256, **EXAMPLE, "sample_size": 128, "attention_head_dim": 8, "downsample_padding": 1, "norm_eps": 1e-05},
    ),
    "sd-class-butterflies-32": (
        18.5,
        {
            **EXAMPLE,
            "sample_size": 32,
            "block_out_channels": [64, 128, 128, 256],
            "down_block_types": [D, D, A, A],
            "up_block_types": [V, V, U, U],
        },
    ),
}
SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    **{"beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001, "clip_sample": True, "num_train_timesteps": 1000},
    **{"trained_betas": None, "variance_type": "fixed_small"},
}
SMALL = {
    **EXAMPLE,
    **{"sample_size": 16, "block_out_channels": [16, 32], "down_block_types": [D, A], "up_block_types": [V, U], "norm_num_groups": 8},
    **{"attention_head_dim": 8, "layers_per_block": 1},
}


def write(folder, unet=SMALL, scheduler=SCHEDULER, old=False, subfolders=False, index=None, suffix="safetensors", seed=0):
    """A folder with a network of random weights; returns the network of diffusers."""
    torch.manual_seed(seed)
    model = diffusers.UNet2DModel(**{name: value for name, value in unet.items() if not name.startswith("_")}).eval()
    places = {name: folder / name if subfolders else folder for name in ("unet", "scheduler")}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    (places["unet"] / "config.json").write_text(json.dumps(unet))
    (places["scheduler"] / "scheduler_config.json").write_text(json.dumps(scheduler))
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", scheduler["_class_name"]]}
    (folder / "model_index.json").write_text(json.dumps(index or {"_class_name": "DDPMPipeline", **parts}))
    weights = {name: w.clone() for name, w in model.state_dict().items()}
    if old:
        for before, now in OLD_ATTENTION.items():
            weights = {name.replace(f".{now}.", f".{before}."): w for name, w in weights.items()}
        assert not any("to_" in name for name in weights)
    if suffix == "bin":
        torch.save(weights, places["unet"] / "diffusion_pytorch_model.bin")
    else:
        from safetensors.torch import save_file

        save_file(weights, places["unet"] / "diffusion_pytorch_model.safetensors")
    return model


@torch.no_grad()
def assert_equal_outputs(model, ours):
    size = ours.network.config.image_size
    x, t = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 999])
    assert (ours.network(x, t) - model(x, t).sample).abs().max() < 1e-5


@pytest.mark.parametrize("name", KNOWN)
def test_a_well_known_network_is_ours_weight_for_weight(name):
    """By names and shapes alone, which take no memory."""
    millions, options = KNOWN[name]
    with torch.device("meta"):
        theirs = diffusers.UNet2DModel(**{key: value for key, value in options.items() if not key.startswith("_")}).state_dict()
        from ddpm_utils.interop import options_from_diffusers, with_defaults
        from ddpm_utils.unet_config import UNetConfig

        ours = UNet(UNetConfig(**options_from_diffusers(with_defaults(options)))).state_dict()
    found = weights_from_diffusers(theirs, ours)
    assert {key: w.shape for key, w in found.items()} == {key: w.shape for key, w in ours.items()}
    assert sum(w.numel() for w in theirs.values()) == sum(w.numel() for w in ours.values())
    assert round(sum(w.numel() for w in ours.values()) / 1e6, 1) == millions


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("subfolders", [False, True])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_both_layouts_both_kinds_of_files_and_both_names_of_attention(tmp_path, old, subfolders, suffix):
    model = write(tmp_path, old=old, subfolders=subfolders, suffix=suffix)
    ours = load_model(tmp_path)
    assert_equal_outputs(model, ours)
    assert (ours.config.task.prediction, ours.config.task.schedule, ours.config.timesteps) == ("eps", "linear", 1000)
    assert ours.classes == ()


@pytest.mark.parametrize("name", [name for name in KNOWN if KNOWN[name][1] is not HO_256 or name == "google/ddpm-celebahq-256"])
def test_a_well_known_network_made_narrow_gives_equal_outputs(tmp_path, name):
    options = dict(KNOWN[name][1])
    options["block_out_channels"] = [width // 8 for width in options["block_out_channels"]]
    options |= {"norm_num_groups": 4, "sample_size": 32, "attention_head_dim": options.get("attention_head_dim", 8)}
    assert_equal_outputs(write(tmp_path, options, old=True), load_model(tmp_path))


def test_a_network_with_classes_of_its_own_knows_no_label_beside_them(tmp_path):
    model = write(tmp_path, {**SMALL, "num_class_embeds": 4})
    ours = load_model(tmp_path)
    assert (ours.config.network.classes, ours.classes) == (4, ("0", "1", "2", "3"))
    x, t, label = torch.randn(4, 3, 16, 16), torch.full((4,), 7), torch.arange(4)
    with torch.no_grad():
        assert (ours.network(x, t, label) - model(x, t, class_labels=label).sample).abs().max() < 1e-5


# --- schedulers ---


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("linear", 1000, "eps", False)),
        ({"num_train_timesteps": 100, "beta_start": 0.001, "beta_end": 0.2}, ("linear", 100, "eps", False)),
        ({"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}, ("cosine", 1000, "v", False)),
        ({"rescale_betas_zero_snr": True, "prediction_type": "sample"}, ("linear", 1000, "x0", True)),
    ],
)
def test_a_scheduler_of_diffusers_is_a_schedule_of_ours(kind, options, expected):
    scheduler = getattr(diffusers, kind)(**options)
    task = task_from_scheduler(dict(scheduler.config) | {"_class_name": kind})
    assert (task.schedule, task.timesteps, task.prediction, task.zero_terminal_snr) == expected
    ab = task.noise_schedule().alpha_bar
    last = -1 if options.get("rescale_betas_zero_snr") else None  # where DPM-Solver++ keeps from dividing by 0
    assert torch.allclose(scheduler.alphas_cumprod[:last].double(), ab[:last], rtol=1e-4, atol=1e-7)


def test_our_schedules_come_back_from_their_options(tmp_path):
    from ddpm_utils.config import Generation, TrainConfig

    for schedule in ("linear", "cosine", "sigmoid"):
        for T in (50, 300, 1000):
            for zero in (False, True):
                task = Generation(timesteps=T, schedule=schedule, prediction="v", zero_terminal_snr=zero)
                options = json.loads(json.dumps(scheduler_to_diffusers(TrainConfig(task=task))))
                assert task_from_scheduler(options) == task
                stretched = {"_class_name": "DDPMScheduler", "prediction_type": "v_prediction"}
                stretched["trained_betas"] = task.noise_schedule().betas.tolist()
                assert task_from_scheduler(stretched) == task, "betas that are stretched already"


# --- refusals ---

REFUSED_SCHEDULERS = [
    ({"_class_name": "ScoreSdeVeScheduler"}, "scheduler 'ScoreSdeVeScheduler' has no counterpart"),
    ({"beta_schedule": "scaled_linear"}, "beta_schedule='scaled_linear'"),
    ({"beta_end": 0.012}, "beta_start=0.0001, beta_end=0.012 with 1000 timesteps"),
    ({"prediction_type": "flow_prediction"}, "prediction_type='flow_prediction'"),
    ({"thresholding": True}, "thresholding=True"),
    ({"clip_sample_range": 2.0}, "clip_sample_range=2.0"),
    ({"clip_sample": False}, "clip_sample=False has no counterpart here, it must be True"),
    ({"variance_type": "fixed_large_log"}, "variance_type='fixed_large_log'"),
    ({"trained_betas": [0.1, 0.5, 0.9]}, "trained_betas with 3 timesteps"),
    ({"trained_betas": "many"}, "option trained_betas must be"),
    ({"num_train_timesteps": 1}, "option num_train_timesteps must be at least 2"),
    ({"num_train_timesteps": "x"}, "option num_train_timesteps must be a whole number"),
    ({"rescale_betas_zero_snr": True}, "prediction 'eps' can't be used with a zero-terminal-SNR schedule"),
]
REFUSED_NETWORKS = [
    ({"_class_name": "UNet2DConditionModel"}, "holds a 'UNet2DConditionModel' of diffusers"),
    ({"time_embedding_type": "fourier"}, "time_embedding_type='fourier'"),
    ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift='scale_shift'"),
    ({"mid_block_type": None}, "mid_block_type=None"),
    ({"down_block_types": ["SkipDownBlock2D", A]}, "'SkipDownBlock2D'"),
    ({"sample_size": [16, 32]}, "sample_size="),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED_SCHEDULERS)
def test_a_scheduler_without_a_counterpart_is_refused_by_its_option(options, sentence):
    with pytest.raises(InputError) as told:
        task_from_scheduler({**SCHEDULER, **options})
    assert sentence in str(told.value)


@pytest.mark.parametrize(("options", "sentence"), REFUSED_NETWORKS)
def test_a_network_without_a_counterpart_is_refused_by_its_option(tmp_path, options, sentence):
    write(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, **options}))
    with pytest.raises(InputError) as told:
        load_model(tmp_path)
    assert sentence in str(told.value)


def test_a_pipeline_with_other_parts_is_refused_before_its_weights_are_read(tmp_path):
    write(tmp_path, index={"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"], "unet": ["diffusers", "UNet2DModel"]})
    with pytest.raises(InputError, match="has the part 'vqvae'"):
        read_description(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path):
    write(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for spoil, sentence in (
        (lambda: weights.write_bytes(whole[: len(whole) // 2]), "is damaged or holds no weights"),
        (lambda: _without(weights, whole, "conv_in.bias"), "lacks the weight 'conv_in.bias'"),
        (lambda: _without(weights, whole, "conv_in.bias", torch.full((16,), torch.nan)), "'input_conv.bias' holds NaN or infinity"),
        (lambda: _without(weights, whole, "conv_in.bias", torch.zeros(5)), "weights don't fit its own configuration"),
        (weights.unlink, "holds no diffusion_pytorch_model.safetensors"),
        ((tmp_path / "scheduler_config.json").unlink, "holds no scheduler_config.json"),
        (lambda: (tmp_path / "config.json").write_text("{"), "config.json' can't be read"),
        ((tmp_path / "config.json").unlink, "there is no config.json"),
    ):
        spoil()
        with pytest.raises(InputError) as told:
            load_model(tmp_path)
        assert sentence in str(told.value)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (print, ("this ran",))

    write(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"conv_in.weight": Trap()}))
    with pytest.raises(DamagedFile, match="is damaged or holds no weights"):
        load_model(tmp_path)


def _without(path, whole, name, instead=None):
    from safetensors.torch import save_file

    path.write_bytes(whole)
    weights = {key: w.clone() for key, w in load_file(path).items() if key != name}
    save_file(weights if instead is None else {**weights, name: instead}, path)
