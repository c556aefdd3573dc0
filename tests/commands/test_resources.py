"""A pipe that closes, a disk that is full, no home, folders that are read-only, little memory: one sentence, and nothing is lost."""

import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from retouched import smoothed_pairs, write_pairs

from ddpm_utils.__main__ import main
from ddpm_utils.commands.arguments import user_path
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder
from ddpm_utils.training.checkpoints import list_states, read_state

CPU = ["--device", "cpu"]
RUN = [
    "--width",
    "8",
    "--multipliers",
    "1",
    "--blocks",
    "1",
    "--batch-size",
    "512",
    "--epochs",
    "2",
    "--precision",
    "fp32",
    "--sample-every",
    "0",
]
TRAIN = ["train", "--data-path", "digits", "--timesteps", "20", *RUN, *CPU]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Folders of images, of photographs, and of pairs."""
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    for i in range(4):
        path = folder / "photos" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.kron(rng.integers(0, 256, (16, 16, 3), np.uint8), np.ones((6, 6, 1), np.uint8))).save(path)
    photographs = [np.kron(rng.integers(40, 216, (12, 12, 3), np.uint8), np.ones((10, 10, 1), np.uint8)) for _ in range(3)]
    write_pairs(folder, smoothed_pairs(photographs), ending=".png")
    return folder


@pytest.fixture
def commands(inputs, tmp_path):
    """The commands that write, into tmp_path/out."""
    out = tmp_path / "out"
    words = {
        "train": [*TRAIN, "--out", out],
        "train-classifier": ["train-classifier", "--data-path", "digits", *RUN, *CPU, "--out", out],
        "sample": ["sample", "digits", "--n", "4", "--steps", "2", *CPU, "--images", out, "--out", out / "s.png"],
        "prepare-pairs": ["prepare-pairs", inputs / "src", inputs / "gt", out, "--size", "32"],
        "retouch": ["retouch", inputs / "photos" / "0.png", "--out", out / "0.png", *CPU],
        "evaluate": ["evaluate", "--n", "1", "--samples", "1", "--img-size", "32", *CPU, "--out", out / "t.md"],
    }
    return {name: list(map(str, command)) for name, command in words.items()}


NAMES = ("train", "train-classifier", "sample", "prepare-pairs", "retouch", "evaluate")


@contextmanager
def limited(which: int, most: int):
    """Inside, the kernel gives this process no more than so many bytes of something."""
    before = resource.getrlimit(which)
    resource.setrlimit(which, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


def the_sentence(errors: str) -> str:
    """The only one with which a command ended."""
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    return line


def again(words: list[str]) -> list[str]:
    return [*words, "--resume"] if words[0].startswith("train") else words


def assert_whole(out: Path) -> None:
    """What lies under a result's name is no half file."""
    for path in out.rglob("*.png"):
        if not path.name.startswith("."):
            Image.open(path).load()
    for path in list_states(out):
        read_state(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_finds_no_room_is_named_and_none_is_left_half(commands, tmp_path, capsys, name):
    """The kernel refuses what goes beyond some bytes of a file, as a full disk does. evaluate fails at its drawn pairs, in the cache."""
    with limited(resource.RLIMIT_FSIZE, 1000 if name != "evaluate" else 100):
        assert main(commands[name]) == 2
    assert str(tmp_path / ("out" if name != "evaluate" else "cache")) in the_sentence(capsys.readouterr().err)
    assert_whole(tmp_path / "out")
    assert main(again(commands[name])) == 0  # now that there is room
    assert_whole(tmp_path / "out")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_the_place_of_the_folder_is_named_and_kept(commands, tmp_path, capsys, name):
    (tmp_path / "out").write_text("a user's")
    assert main(commands[name]) == 2
    assert str(tmp_path / "out") in the_sentence(capsys.readouterr().err)
    assert (tmp_path / "out").read_text() == "a user's"


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_that_has_gone_costs_no_file(commands, tmp_path, capsys, monkeypatch, name):
    reading, writing = os.pipe()
    os.close(reading)  # as `… | head -0` leaves it
    with open(writing, "w", buffering=1) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(commands[name]) == 128 + 13
        monkeypatch.undo()
    assert capsys.readouterr().err.count("error: ") == 0
    assert_whole(tmp_path / "out")
    assert main(again(commands[name]) if (tmp_path / "out").exists() else commands[name]) == 0


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_named_by_every_command_and_left_as_it_was(commands, tmp_path):
    (tmp_path / "out").mkdir(mode=0o555)
    program = "import sys, json; from ddpm_utils.__main__ import main; sys.exit(set(map(main, json.loads(sys.argv[1]))) != {2})"
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words = [*prefix, sys.executable, "-c", program, json.dumps(list(commands.values()))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == len(commands)
    for line in told:
        assert str(tmp_path / "out") in line
        assert "Permission denied" in line
    assert not list((tmp_path / "out").iterdir())


def test_without_a_home_the_cache_and_a_tilde_are_told_and_all_else_works(commands, monkeypatch):
    import pwd

    def nobody(_):
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert main(commands["train"]) == 0
    monkeypatch.delenv("DDPM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(InputError, match="no home folder to keep decoded images in; set DDPM_CACHE to a folder"):
        cache_folder()
    with pytest.raises(InputError, match="no home folder for '~/x'; write the whole path"):
        user_path("~/x")


def test_too_little_memory_is_told_in_a_sentence_and_the_run_goes_on_with_more(commands):
    program = (
        "import resource, sys; from ddpm_utils.__main__ import main; import ddpm_utils.training.launch, torch._dynamo\n"
        "pages = int(open('/proc/self/statm').read().split()[0]); most = pages * resource.getpagesize() + 400 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most)); sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", program, *commands["train"], "--width", "2048", "--batch-size", "64"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 2, done.stderr
    assert "not enough memory" in the_sentence(done.stderr)
    assert main(commands["train"]) == 0
