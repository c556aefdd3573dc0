"""Any combination of the flags of a command that trains ends in a run that is described completely, or in one sentence; never in a traceback."""

import argparse
import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from cases import cases
from hypothesis import event, example, given
from hypothesis import strategies as st
from PIL import Image

from ddpm_utils.__main__ import build_parser, main
from ddpm_utils.config import TrainConfig
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training import launch
from ddpm_utils.training.trainer import check_data

INTS = st.sampled_from((-1, 0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 1000, 4096, 10**6, 10**10, 2**63, 10**30))
FLOATS = st.sampled_from(("nan", "inf", "-inf", -1, 0, "1e-30", 0.05, 0.1, 0.5, 0.999, 1, 2, "1e30", "1e400"))
TEXTS = st.sampled_from(("", " ", "digits", "8", "no such", "\udce9", "~", "-", "a/../b", "$1"))
SMALL = ("--img-size", "8", "--width", "8", "--blocks", "1")


def flags_of(command: str) -> list[argparse.Action]:
    """All its flags but those that say where the data and the results lie, and what it runs on."""
    [commands] = [a for a in build_parser([command])._actions if isinstance(a, argparse._SubParsersAction)]
    aside = {"help", "data_path", "out", "copy_to", "device", "compile", "img_size", "target_path"}
    return [action for action in commands.choices[command]._actions if action.dest not in aside]


def words_of(action: argparse.Action) -> st.SearchStrategy[list[str]]:
    """What a user may write for this flag, right or wrong."""
    name = st.sampled_from(action.option_strings).map(lambda flag: [flag])
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return name
    value = INTS if action.type is int else FLOATS if action.type is float else TEXTS
    if action.choices:
        value = st.sampled_from(sorted(action.choices)) | st.just("other")
    most = 3 if action.nargs in ("*", "+") else 1
    values = st.lists(value.map(str), min_size=0 if action.nargs in ("*", "?") else 1, max_size=most)
    return st.tuples(name, values).map(lambda parts: [*parts[0], *parts[1]])


def commands(command: str) -> st.SearchStrategy[list[str]]:
    """Up to six flags, in any order, after those of a small network, which they may contradict."""
    flag = st.sampled_from(flags_of(command)).flatmap(words_of)
    sizes = st.sampled_from(((), SMALL, (*SMALL, "--batch-size", "2")))
    return st.tuples(sizes, st.lists(flag, max_size=6)).map(lambda parts: [*parts[0], *(word for words in parts[1] for word in words)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of images in two classes and one of pairs."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("a/0", "a/1", "b/0", "b/1", "source/0", "source/1"):
        path = root / ("pairs" if name.startswith("source") else "images") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(100, 156, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        if name.startswith("source"):
            target = root / "pairs" / "target" / path.name
            target.parent.mkdir(exist_ok=True)
            pixels[4:12, 4:12] = 128
            Image.fromarray(pixels).save(target)
    return root


@pytest.fixture(scope="module")
def settled():
    """What would be trained, as `launch` was handed it: it checks the images, and trains nothing."""
    found: list[TrainConfig] = []

    def hand_over(make_task, data, *_, **__) -> int:
        task = make_task()
        check_data(task, data)
        found.append(task.config)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "launch", hand_over)
        patch.setattr(launch, "join", lambda compute: Execution())
        yield found


def outcome(words: list[str]) -> tuple[int, str]:
    """The exit code and what was written to the stream of errors."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(words)
        except SystemExit as end:  # argparse
            code = end.code
    return code, errors.getvalue()


def assert_settled_or_refused(words: list[str], settled: list[TrainConfig]) -> None:
    settled.clear()
    code, errors = outcome(words)
    assert "Traceback" not in errors
    event(f"exit code {code}")
    if code == 0:
        [config] = settled
        assert TrainConfig.from_json(config.to_json()) == config
    else:
        assert code == 2
        last = errors.splitlines()[-1]
        assert last.startswith(("error: ", "python -m ddpm_utils"))
        assert len(last) < 600


@cases(150)
@given(st.sampled_from(("digits", "images", "pairs", "nowhere", "")), commands("train"))
@example("pairs", ["--img-size", "8", "--patch", "0"])
@example("digits", ["--img-size", "8", "--width", "8", "--start-from", "digits"])
def test_flags_of_train(folders, settled, data, words):
    with TemporaryDirectory() as out, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDPM_CACHE", str(folders / "cache"))
        source = data if data in ("digits", "") else str(folders / data)
        assert_settled_or_refused(["train", "--data-path", source, "--out", str(Path(out) / "x"), *words], settled)


@cases(50)
@given(st.sampled_from(("digits", "images")), commands("train-classifier"))
def test_flags_of_train_classifier(folders, settled, data, words):
    with TemporaryDirectory() as out, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDPM_CACHE", str(folders / "cache"))
        source = data if data == "digits" else str(folders / data)
        assert_settled_or_refused(["train-classifier", "--data-path", source, "--out", str(Path(out) / "x"), *words], settled)
