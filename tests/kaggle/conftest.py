"""An emulator of Kaggle, and run.py before it, in this process."""

import contextlib
import sys

import pytest
from bare_python import bare_python
from emulator import Emulator, tiny
from sessions import NOT_ON_KAGGLE, Session

sys.path.insert(0, str(tiny.ROOT / "kaggle"))


@pytest.fixture
def job(tmp_path):
    return tiny.make_job(tmp_path / "tiny-job")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(limits=…, stand_in=…) -> an emulator to which this process's client talks. Nothing that it sees may hold the key."""
    started = []
    with contextlib.ExitStack() as servers:

        def begin(**options) -> Emulator:
            options = {"datasets": {tiny.DATASET: tiny.make_pictures(tmp_path / "pictures")}, "stand_in": tiny.STAND_IN} | options
            kaggle = servers.enter_context(Emulator(tmp_path / "server", key=tiny.KEY, **options))
            started.append(kaggle)
            for name, value in kaggle.environment(tmp_path / "home").items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
            from kaggle.api.kaggle_api_extended import KaggleApi  # not earlier: its import looks for credentials

            monkeypatch.setattr(KaggleApi, "args", ["--local", "--verbose"])  # the former is what an import under this environment makes
            return kaggle

        yield begin
    assert [tiny.leaks(tiny.KEY, kaggle, tmp_path) for kaggle in started] == [[] for _ in started]


@pytest.fixture
def follow(job, tmp_path, capsys):
    """follow(flag, …, code=…) -> what run.py said, in this process, before it ended with that code."""

    def call(*flags, out="out", code=0) -> str:
        import run

        ended = run.main([str(job), "--out", str(tmp_path / out), "--poll", "0.05", "--set", "max-epochs=40", *flags])
        said = "".join(capsys.readouterr())
        assert ended == code, said
        assert tiny.KEY not in said
        return said

    return call


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """A Python without this repository, without a network, and without what Kaggle's image may lack."""
    return bare_python(tmp_path_factory.mktemp("python"), without=NOT_ON_KAGGLE)


@pytest.fixture(scope="session")
def first(tmp_path_factory, python):
    """A first session of four epochs, stopped after one. Nobody changes it."""
    return Session(tmp_path_factory.mktemp("first"), python, epochs=4, overrides={"max-epochs": 1, "sample-every": 2})
