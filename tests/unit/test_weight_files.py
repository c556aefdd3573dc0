"""Files of models, classifiers and controls: checked as a whole, so that none that was damaged or forged is taken for a good one."""

import json
import random

import pytest
import torch
from networks import as_if_trained, stirred
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ddpm_utils.classifier import NoisyClassifier, load_classifier, save_classifier
from ddpm_utils.config import Classification, Generation, TrainConfig
from ddpm_utils.control.controlnet import ControlNet, load_control, save_control
from ddpm_utils.errors import DamagedFile, InputError, NotFinite
from ddpm_utils.models import checksum_of, load_model, save_model, shipped
from ddpm_utils.recipes import SHIPPED
from ddpm_utils.unet_config import UNetConfig

SMALL = UNetConfig(8, 1, 8, (1,), 1, (), groups=4, classes=3, middle_attention=False)
NAMES = ("a", "b", "é")
LOADERS = {"model": load_model, "classifier": load_classifier, "control": load_control}
TENSOR = "input_conv.weight"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small file of each kind: {kind: path}."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {kind: folder / f"{kind}.safetensors" for kind in LOADERS}
    base = as_if_trained(SMALL)
    save_model(base, TrainConfig(network=SMALL, task=Generation(timesteps=20)), NAMES, paths["model"])
    run = TrainConfig(network=SMALL, task=Classification(timesteps=20))
    save_classifier(stirred(NoisyClassifier(SMALL)), run, NAMES, [0.5] * 4, paths["classifier"])
    save_control(stirred(ControlNet.on(base, 1, "canny")), paths["control"])
    return paths


def opened(path):
    """A file's metadata, without its checksum, and its weights."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["ddpm_utils"])
    return {name: value for name, value in about.items() if name != "sha256"}, load_file(path)


def forged(path, about, weights):
    """The file with another content, and no checksum, as if from before there were any."""
    save_file(weights, path, {"ddpm_utils": about if isinstance(about, str) else json.dumps(about)})
    return path


@pytest.mark.parametrize("kind", LOADERS)
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, files, kind):
    data, rng, path = files[kind].read_bytes(), random.Random(0), tmp_path / "flipped.safetensors"
    LOADERS[kind](files[kind])
    header = 8 + int.from_bytes(data[:8], "little")
    for place in [*(rng.randrange(len(data)) for _ in range(100)), *(rng.randrange(header) for _ in range(100))]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        path.unlink(missing_ok=True)  # the file before is still mapped into memory
        path.write_bytes(flipped)
        with pytest.raises(InputError) as told:
            LOADERS[kind](path)
        assert "flipped.safetensors" in str(told.value)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", LOADERS)
def test_the_checksum_covers_weights_and_metadata_and_files_without_one_load(tmp_path, files, kind):
    about, weights = opened(files[kind])
    with safe_open(files[kind], "pt") as file:
        written = json.loads(file.metadata()["ddpm_utils"])["sha256"]
    assert written == checksum_of(json.dumps({**about, "sha256": ""}), weights)
    LOADERS[kind](forged(tmp_path / "old.safetensors", about, weights))
    name = sorted(weights)[0]
    swapped = {**weights, name: weights[name].flip(0)}
    for other, theirs in (({**about, "snapshot": {"step": 1}}, weights), (about, swapped)):
        forged(tmp_path / "changed.safetensors", {**other, "sha256": written}, theirs)
        with pytest.raises(DamagedFile, match="don't match their checksum"):
            LOADERS[kind](tmp_path / "changed.safetensors")


def test_every_shipped_file_carries_its_checksum():
    for path in SHIPPED.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert len(json.loads(file.metadata()["ddpm_utils"])["sha256"]) == 64, path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", LOADERS)
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, files, kind, value):
    about, weights = opened(files[kind])
    name = sorted(weights)[3]
    weights[name] = weights[name].clone()
    weights[name].view(-1)[1] = value
    with pytest.raises(
        DamagedFile, match=rf"bad\.safetensors' is damaged: its weight '{name}' holds NaN or infinity; restore a whole copy"
    ):
        LOADERS[kind](forged(tmp_path / "bad.safetensors", about, weights))


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_weights_that_are_no_floating_point_numbers_are_refused_by_name(tmp_path, files, dtype):
    about, weights = opened(files["model"])
    with pytest.raises(DamagedFile, match=rf"'{TENSOR}' is of type \w+, weights are floating-point"):
        load_model(forged(tmp_path / "bad.safetensors", about, {**weights, TENSOR: weights[TENSOR].to(dtype)}))


@pytest.mark.parametrize("value", [float("nan"), 70_000.0])  # float16 ends at 65504
def test_what_float16_cannot_hold_is_not_written(tmp_path, value):
    network = as_if_trained(SMALL)
    with torch.no_grad():
        network.input_conv.weight[0, 0, 0, 0] = value
    with pytest.raises(NotFinite, match=TENSOR):
        save_model(network, TrainConfig(network=SMALL), NAMES, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", LOADERS)
def test_metadata_is_refused_in_one_sentence_whatever_it_holds(tmp_path, files, kind):
    about, weights = opened(files[kind])
    broken = ["", "{", "[]", "5", "null", "[" * 100_000, "9" * 5000, json.dumps({**about, "more": 1})]
    needed = {
        "model": ["config", "classes", "snapshot"],
        "classifier": ["config", "classes", "accuracy"],
        "control": ["network", "base", "hint"],
    }
    broken += [json.dumps({name: value for name, value in about.items() if name != missing}) for missing in ["format", *needed[kind]]]
    for name in about:
        for value in (True, 5.5, [[]], [None], {"a": 1}, "{}", 10**400):
            if not (name in ("base", "hint") and isinstance(value, str)):
                broken.append(json.dumps({**about, name: value}))
    for text in broken:
        path = forged(tmp_path / "forged.safetensors", text, weights)
        with pytest.raises(InputError) as told:
            LOADERS[kind](path)
        assert "forged.safetensors" in str(told.value)
        assert "\n" not in str(told.value)
        path.unlink()


@pytest.mark.parametrize("kind", ["model", "classifier"])
@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d"), ()])
def test_classes_and_their_names_are_equally_many(tmp_path, files, kind, names):
    about, weights = opened(files[kind])
    with pytest.raises(DamagedFile, match=f"a network of 3 classes needs as many names, got {len(names)}"):
        LOADERS[kind](forged(tmp_path / "x.safetensors", {**about, "classes": names}, weights))
    with pytest.raises(InputError, match="a network of 3 classes"):
        save_model(as_if_trained(SMALL), TrainConfig(network=SMALL), names, tmp_path / "y.safetensors")


@pytest.mark.parametrize("change", [{"width": 4096}, {"width": 2**14, "multipliers": [64]}, {"blocks": 32}, {"classes": 10**6}])
def test_a_small_file_that_asks_for_a_large_network_gets_no_memory(tmp_path, files, change, monkeypatch):
    """None of its weights is allocated: tensors of more than the file's own size exist on the meta device alone."""
    about, weights = opened(files["control"])
    path = forged(tmp_path / "large.safetensors", {**about, "network": {**about["network"], **change}}, weights)
    allocated = []
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **how: allocated.append(made := empty(*size, **how)) or made)
    with pytest.raises(DamagedFile, match=r"large\.safetensors' is damaged: its weights don't fit"):
        load_control(path)
    assert allocated
    assert all(one.is_meta for one in allocated)


def test_a_number_of_timesteps_beyond_all_sense_is_refused(tmp_path, files):
    about, weights = opened(files["model"])
    run = json.loads(about["config"])
    run["task"]["timesteps"] = 10**8
    with pytest.raises(DamagedFile, match="timesteps must be at most 1000000, got 100000000"):
        load_model(forged(tmp_path / "x.safetensors", {**about, "config": json.dumps(run)}, weights))


def test_loading_draws_nothing_from_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load_model(shipped("digits-early"))
    assert torch.equal(torch.get_rng_state(), before)
