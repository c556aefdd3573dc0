"""Boards beside the log: what TensorBoard and Weights & Biases read back is what log.jsonl says, each step once, over cuts and kills."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.choices import BOARDS
from ddpm_utils.figures import tile
from ddpm_utils.training import boards
from ddpm_utils.training.boards import Board, check_board
from ddpm_utils.training.checkpoints import list_states

TINY = "train --data-path digits --img-size 4 --width 8 --multipliers 1 --blocks 1 --patch 1 --batch-size 512 --precision fp32 --device cpu"
RUN = f"{TINY} --epochs 6 --log-every 1 --sample-every 9 --out"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)


def train(out, *words):
    assert main([*RUN.split(), str(out), *words]) == 0


def read_tensorboard(out):
    """{name: [(step, value), ...]} and {name: [(step, image), ...]} as TensorBoard itself reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    read.Reload()
    numbers = {name: [(e.step, e.value) for e in read.Scalars(name)] for name in read.Tags()["scalars"]}
    return numbers, {name: [e.step for e in read.Images(name)] for name in read.Tags()["images"]}


def records_of(path):
    """The records of a .wandb file: a header of 7 bytes, then blocks of 32 KiB with parts of records, each behind checksum, length and kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def read_wandb(out):
    numbers, images = {}, {}
    for path in sorted((out / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        for record in records_of(path):
            if not record.HasField("history"):
                continue
            found = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            step = found["_step"]
            for name, value in found.items():
                if name.endswith("/_type"):
                    images.setdefault(name.removesuffix("/_type"), []).append(step)
                elif not name.startswith(("_", "samples/")):
                    numbers.setdefault(name, []).append((step, value))
    return numbers, images


READ = {"tensorboard": read_tensorboard, "wandb": read_wandb}


def logged(out):
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    names = {name: [(r["step"], r[name]) for r in records if r[name] is not None] for name in boards.SHOWN}
    for k, name in enumerate(boards.QUARTERS):
        names[f"loss by quarter of t/{name}"] = [(r["step"], r["quarters"][k]) for r in records if r["quarters"][k] is not None]
    return names


def assert_equal(numbers, expected, exact=()):
    assert set(numbers) == set(expected)
    for name, values in expected.items():
        assert [step for step, _ in numbers[name]] == [step for step, _ in values], name
        if name not in ("images_per_s", "gflops_per_s"):  # of steps that were trained twice, the first time's
            assert np.allclose([v for _, v in numbers[name]], [v for _, v in values], rtol=1e-6), name


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_shows_what_the_log_says_each_step_once_over_cuts_and_lost_states(tmp_path, name):
    out = tmp_path / "run"
    train(out, "--log-to", name, "--max-epochs", "3", "--keep", "3")
    list_states(out)[-1].unlink()  # as if it had been killed before it could save: the third epoch is trained again
    train(out, "--log-to", name, "--resume")
    numbers, images = READ[name](out)
    assert_equal(numbers, logged(out))
    assert len(numbers["loss"]) == 18
    assert images == {"samples": [9, 18]}


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_that_is_asked_for_later_has_the_whole_log(tmp_path, name):
    out = tmp_path / "run"
    train(out, "--max-epochs", "2")
    train(out, "--log-to", name, "--resume")
    numbers, images = READ[name](out)
    assert_equal(numbers, logged(out))
    assert images == {"samples": [9, 18]}


def test_images_arrive_pixel_for_pixel(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from ddpm_utils.config import TrainConfig

    images = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
    board = Board("tensorboard", tmp_path, TrainConfig())
    board.show_images(images, 3, 1)
    board.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    read.Reload()
    path = tmp_path / "x.png"
    path.write_bytes(read.Images("samples")[0].encoded_image_string)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), tile(images, 3))


@pytest.mark.parametrize("name", BOARDS)
def test_a_package_that_is_missing_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(boards.importlib.util, "find_spec", lambda name: None)
    assert main([*RUN.split(), "run", "--log-to", name]) == 2
    assert f"--log-to {name} needs the package {name}, which is not installed; run `pip install {name}`" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_called_wandb_is_no_package(tmp_path, monkeypatch):
    from ddpm_utils.errors import InputError

    (tmp_path / "emptyboard").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="needs the package emptyboard"):
        check_board("emptyboard")


def test_without_an_account_wandb_is_refused_and_begins_offline(tmp_path, monkeypatch, capsys):
    import wandb

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()  # which reads its settings once
    assert main([*RUN.split(), "run", "--log-to", "wandb"]) == 2
    assert "run `wandb login`, or set WANDB_MODE=offline" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    train("run", "--log-to", "wandb", "--max-epochs", "1")


def test_a_board_that_fails_stops_no_run(tmp_path, monkeypatch, capsys):
    def fail(self, values, step):
        raise RuntimeError("no room for events")

    monkeypatch.setattr(boards.TensorBoard, "show", fail)
    train("run", "--log-to", "tensorboard")
    assert "nothing more is shown by --log-to tensorboard (no room for events); the run goes on" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "done"
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 18
