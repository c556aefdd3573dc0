"""`export` as people type it, the names that lead back, and one sentence for everything wrong."""

import json
import os
import shutil

import huggingface_hub
import numpy as np
import onnxruntime
import pytest
import torch
from diffusers_here import diffusers, modules_cache, opened  # noqa: F401
from hub_server import TOKEN, hub_running
from networks import as_if_trained
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.models import load_model, save_model, shipped
from ddpm_utils.unet_config import UNetConfig

PLAIN = UNetConfig(image_size=8, channels=3, width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, norm_eps=1e-5)
FILES = {"README.md", "model_index.json", "scheduler/scheduler_config.json", "unet/config.json"}
FILES |= {"unet/diffusion_pytorch_model.safetensors"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a model without labels, run/model.safetensors."""
    monkeypatch.chdir(tmp_path)
    save_model(as_if_trained(PLAIN), TrainConfig(network=PLAIN, task=Generation(timesteps=50)), (), tmp_path / "run" / "model.safetensors")
    return tmp_path


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub at a local address, a token for it, and a cache of its own."""
    with hub_running() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def images(model, out, *words):
    usual = f"--n 3 --steps 2 --device cpu --images {out} --out {out}/grid.png"
    assert main(["sample", model, *usual.split(), *words]) == 0
    return np.stack([np.asarray(Image.open(path)) for path in sorted(out.glob("0*.png"))]).astype(int)


def test_a_folder_for_diffusers_is_opened_by_it_and_by_sample(here):
    assert main(["export", "run", "--to", "diffusers", "--out", "out"]) == 0
    assert files_in(here / "out") == FILES
    assert type(opened(here / "out", diffusers.DDPMPipeline)) is diffusers.DDPMPipeline
    assert np.array_equal(images("out", here / "a"), images("run", here / "b"))
    assert main(["export", "out", "--to", "diffusers", "--out", "out"]) == 0, "over an earlier one, and from one"


def killed_after(files, words):
    """Run a command in a process that dies when it renames one file more than these, with nothing tidied up."""
    replace = os.replace

    def counted(source, target):
        nonlocal files
        files -= 1
        if files < 0:
            os._exit(9)
        replace(source, target)

    process = os.fork()
    if process == 0:
        os.replace = counted
        os._exit(main(words.split()))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_an_export_that_was_killed_at_any_file_is_done_again_and_never_opened_before(here):
    for files in (0, 2, len(FILES), 2 * len(FILES) - 1):  # each is renamed once as it is written, and once into its place
        shutil.rmtree(here / "out", ignore_errors=True)
        assert killed_after(files, "export run --to diffusers --out out") == 9
        assert not (here / "out" / "model_index.json").exists()
        assert main(["export", "run", "--to", "diffusers", "--out", "out"]) == 0
        assert files_in(here / "out") == FILES


def test_an_earlier_export_keeps_what_its_owner_put_there(here):
    assert main(["export", "run", "--to", "diffusers", "--out", "out"]) == 0
    (here / "out" / "notes.txt").write_text("mine")
    assert main(["export", "run", "--to", "diffusers", "--out", "out"]) == 0
    assert files_in(here / "out") == FILES | {"notes.txt"}


def test_labels_are_kept_or_one_of_them_is_chosen(here):
    assert main(["export", "toy-cars", "--to", "diffusers", "--out", "cars"]) == 0
    assert files_in(here / "cars") == FILES | {"ddpm_utils_pipeline.py"}
    card = (here / "cars" / "README.md").read_text("utf-8")
    assert "trust_remote_code=True" in card
    assert "license: mit" in card
    assert "no photograph among them" in card
    assert np.array_equal(images("cars", here / "a", "--label", "bus"), images("toy-cars", here / "b", "--label", "bus"))
    assert main(["export", "toy-cars", "--to", "diffusers", "--label", "bus", "--out", "buses"]) == 0
    assert files_in(here / "buses") == FILES
    buses, expected = images("buses", here / "c"), images("toy-cars", here / "d", "--label", "bus")
    assert np.abs(buses - expected).max() <= 1, "the label is added before another rounding"


def test_the_lines_of_a_card_run(here):
    assert main(["export", "digits", "--to", "diffusers", "--out", "digits-folder"]) == 0
    blocks = (here / "digits-folder" / "README.md").read_text("utf-8").split("```python\n")[1:]
    ours, theirs = (block.partition("```")[0] for block in blocks)
    known = {}
    exec(ours.replace("sample(8", "sample(2, steps=2"), known)
    assert known["images"].shape == (2, 28, 28, 1)
    exec(theirs.replace("batch_size=8", "batch_size=2").replace("=50", "=2"), known)
    assert [image.size for image in known["images"]] == [(28, 28)] * 2


def test_onnx_is_one_file_with_the_inputs_that_are_told(here, capsys):
    assert main(["export", "run", "--to", "onnx", "--half", "--out", "model.onnx"]) == 0
    assert "prediction(sample, timestep)" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(here / "model.onnx", providers=["CPUExecutionProvider"])
    assert [one.type for one in session.get_inputs()] == ["tensor(float16)", "tensor(int64)"]
    assert main(["export", "toy-cars", "--to", "onnx", "--control", "toy-cars-canny", "--out", "cars.onnx"]) == 0
    assert "prediction(sample, timestep, label, hint)" in capsys.readouterr().out


def test_a_run_can_go_on_from_a_folder_of_diffusers_and_its_control_too(here):
    torch.manual_seed(0)
    shutil.rmtree(here / "run")
    network = diffusers.UNet2DModel(
        **{"sample_size": 16, "block_out_channels": (32, 64), "down_block_types": ("DownBlock2D", "AttnDownBlock2D")},
        **{"up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1},
    )
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(here / "theirs")
    rng = np.random.default_rng(0)
    (here / "pics").mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(here / "pics" / f"{i}.png")
    usual = "--data-path pics --batch-size 4 --epochs 1 --warmup 0 --sample-every 0 --precision fp32 --device cpu --out"
    assert main(f"train --img-size 16 --start-from theirs {usual} out".split()) == 0
    before, after = load_model(here / "theirs"), load_model(here / "out" / "model.safetensors")
    assert after.config.network == before.config.network
    assert after.config.task.schedule == "linear"
    assert max((w - before.network.state_dict()[name]).abs().max() for name, w in after.network.state_dict().items()) < 0.01
    assert main(f"train-control theirs --hint canny {usual} control".split()) == 0
    assert (
        main(["sample", "theirs", "--n", "1", "--steps", "1", "--control", "control", "--hint-from", "pics/0.png", "--device", "cpu"]) == 0
    )


# --- the Hub ---


def test_a_dry_run_writes_the_repository_and_sends_nothing(here, hub, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    assert main(["export", "digits", "--to", "hub", "me/digits", "--dry-run"]) == 0
    assert files_in(here / "out/hub/digits") == FILES | {"ddpm_utils_pipeline.py", "model.safetensors", "samples.png"}
    assert "nothing was pushed" in capsys.readouterr().out
    assert hub.asked == []
    assert (here / "out/hub/digits/model.safetensors").read_bytes() == shipped("digits").read_bytes()


def test_what_is_pushed_comes_back_by_its_name_and_offline_from_the_cache(here, hub, monkeypatch, capsys):
    assert main(["export", "run", "--to", "hub", "me/mine", "--out", "repository"]) == 0
    assert "pushed to http://127.0.0.1" in capsys.readouterr().out
    assert set(hub.repositories["me/mine"]) == files_in(here / "repository")
    expected = images("run", here / "a")
    assert np.array_equal(images("hf:me/mine", here / "b"), expected)
    hub.repositories["me/theirs"] = {name: content for name, content in hub.repositories["me/mine"].items() if name != "model.safetensors"}
    assert np.array_equal(images("hf:me/theirs", here / "c"), expected), "as any repository of diffusers"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert np.array_equal(images("hf:me/theirs@main", here / "d"), expected)
    assert main(["sample", "hf:me/other", "--n", "1"]) == 2
    assert "'hf:me/other' can't be fetched from the Hugging Face Hub" in capsys.readouterr().err
    assert hub.asked == []


def test_weights_are_not_fetched_of_a_network_that_can_not_be_read(here, hub, capsys):
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    hub.repositories["someone/large"] = {
        "model_index.json": json.dumps(index).encode(),
        "unet/diffusion_pytorch_model.safetensors": b"x" * 100,
    }
    assert main(["sample", "hf:someone/large", "--n", "1"]) == 2
    assert "has the part 'vae'" in capsys.readouterr().err
    assert not [path for _, path in hub.asked if path.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("sample hf:me/none", "'hf:me/none' can't be fetched from the Hugging Face Hub (Repository Not Found"),
        ("sample hf:not-a-name/at/all", "'hf:not-a-name/at/all' can't be fetched"),
        ("sample hf:me/empty", "'hf:me/empty' holds no model.safetensors, and no network of diffusers"),
        ("retouch hf:me/empty photo.png --out x.png", "'hf:me/empty' holds no model.safetensors"),
        ("sample digits --classifier hf:me/empty", "'hf:me/empty' holds no classifier.safetensors"),
    ],
)
def test_a_repository_that_has_no_model_is_refused_by_what_is_missing(here, hub, capsys, words, sentence):
    hub.repositories["me/empty"] = {"README.md": b"nothing"}
    Image.new("RGB", (32, 32)).save(here / "photo.png")
    assert main(words.split()) == 2
    assert sentence in capsys.readouterr().err


def test_a_token_that_is_missing_or_wrong_is_told_before_the_work(here, hub, monkeypatch, capsys):
    for token, sentence in (("", "there is no token for the Hugging Face Hub"), ("hf_wrong", "nothing can be pushed to 'me/mine'")):
        monkeypatch.setenv("HF_TOKEN", token)
        assert main(["export", "run", "--to", "hub", "me/mine", "--out", "repository"]) == 2
        assert sentence in capsys.readouterr().err
    assert not files_in(here / "repository")


def test_a_hub_that_does_not_answer_is_told_in_a_sentence(here, hub, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    for words in ("export run --to hub me/mine --out repository", "sample hf:me/mine --n 1"):
        assert main(words.split()) == 2
        assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("run --to keras --out x", "--to must be one of diffusers, onnx, hub, got 'keras'"),
        ("run --to diffusers me/mine --out x", "--to diffusers takes no further word, got 'me/mine'"),
        ("run --to hub", "--to hub needs the name of one repository, OWNER/NAME, got none"),
        ("run --to hub mine", "OWNER/NAME, got mine"),
        ("run --to diffusers", "--to diffusers needs --out, the folder to write"),
        ("run --to onnx", "--to onnx needs --out, the file to write"),
        ("run --to onnx --out x", "must name a file that ends in .onnx, got 'x'"),
        ("run --to diffusers --out run", "'run' holds other files"),
        ("run --to diffusers --half --out x", "--half belongs to --to onnx, not to --to diffusers"),
        ("run --to onnx --dry-run --out x.onnx", "--dry-run belongs to --to hub, not to --to onnx"),
        ("run --to diffusers --label 1 --out x", "this model was trained without labels"),
        ("retouch --to diffusers --out x", "'retouch' retouches photographs"),
        ("none --to diffusers --out x", "no shipped model 'none'"),
    ],
)
def test_what_can_not_be_exported_is_told_in_a_sentence(here, capsys, words, sentence):
    assert main(["export", *words.split()]) == 2
    assert sentence in capsys.readouterr().err
