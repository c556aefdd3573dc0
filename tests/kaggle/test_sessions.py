"""A chain of sessions by kernels that build.py makes, each executed for real, as sandboxed as at Kaggle."""

import base64
import hashlib
import io
import json
import re

import pytest
import torch
from PIL import Image
from sessions import LAYOUTS, SMALL, Session, build, contents

from ddpm_utils.__main__ import main as ddpm_utils
from ddpm_utils.models import load_model
from ddpm_utils.training.checkpoints import read_state


def test_a_first_session_leaves_all_that_the_next_one_and_people_need(first):
    assert first.code == 0, first.err
    assert first.files() == [
        *("report.html", "run/log.jsonl", "run/loss.png", "run/model.safetensors", "run/run.json"),
        *("run/samples/step-0000002.png", "run/state-00000002.pt", "run/status.json", "status.json"),
    ]
    status = first.status
    assert (status["status"], status["session"], status["epoch"], status["epochs"], status["steps"]) == ("stopped", 1, 1.0, 4, 8)
    assert status["cause"] == status["history"][0]["cause"] == "stopped"
    assert status["chain"].startswith("ddpm-cars-")
    assert 0 < status["hours"] < 0.1
    assert 0 < status["peak_disk_gb"] < 0.01
    for name, about in status["files"].items():
        data = (first.working / name).read_bytes()
        assert about == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    page = (first.working / "report.html").read_text()
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert [Image.open(io.BytesIO(data)).format for data in pictures] == ["PNG", "PNG"]
    assert "http" not in page
    assert first.out.rstrip().endswith("kernel: stopped at epoch 1 of 4: 1 epochs are done in this session")


def test_a_session_speaks_of_the_machine_before_it_touches_data(first):
    assert 0 < first.out.index("computes; precision") < first.out.index("kernel: data in")


def test_a_chain_over_all_mount_layouts_ends_in_the_bits_of_one_uninterrupted_run(first, python, tmp_path):
    session = first
    for number, layout in enumerate(LAYOUTS, 2):
        before = contents(session.working)
        mounted = session.working
        session = Session(tmp_path / str(number), python, earlier=mounted, layout=layout, epochs=4, overrides={"max-epochs": 1})
        assert session.code == 0, session.err
        assert session.status["epoch"] == session.status["session"] == number
        inputs = session.input / layout.format(owner="alice", slug="ddpm-cars")
        assert contents(inputs) == before, "an input was changed"
        assert session.status["total_hours"] == pytest.approx(sum(s["hours"] for s in session.status["history"]), abs=1e-4)
    assert session.status["status"] == session.status["cause"] == "done"
    assert [s["session"] for s in session.status["history"]] == [1, 2, 3, 4]
    assert [json.loads(line)["step"] for line in (session.working / "run" / "log.jsonl").read_text().splitlines()] == list(range(1, 9))
    assert (session.working / "run" / "samples" / "step-0000002.png").exists(), "the pictures of earlier sessions are carried forward"

    flags = build.load_job("ddpm-cars", overrides=SMALL)["train"]
    words = [word for name, value in flags.items() for word in (f"--{name}", *map(str, value if isinstance(value, list) else [value]))]
    whole = tmp_path / "whole"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the kernels had: another number rounds otherwise
    assert ddpm_utils(["train", "--data-path", str(first.input), "--out", str(whole), "--epochs", "4", *words]) == 0
    torch.set_num_threads(threads)
    ours, theirs = (read_state(folder / "state-00000008.pt")["vectors"] for folder in (session.working / "run", whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (session.working / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_two_processes_share_a_session_on_pairs(python, tmp_path):
    overrides = {"processes": 2, "img-size": 16, "patch": 1, "attention": [], "sample-every": 1}
    session = Session(tmp_path, python, "wrinkle-removal", epochs=1, dataset="alice/pairs", layout=LAYOUTS[1], overrides=overrides)
    assert session.code == 0, session.err
    assert "one of 2 processes" in session.out
    assert "pairs of 16 px" in session.out
    assert session.status["status"] == "done"
    config = load_model(session.working / "run" / "model.safetensors").config
    assert (config.task.form, config.batch_size) == ("resshift", 4)
    assert session.files()[0] == "report.html"
    assert not [name for name in session.files() if "source" in name], "crops belong into scratch space"


def test_a_session_that_fails_in_training_exits_with_zero_and_says_why(python, tmp_path):
    session = Session(tmp_path, python, epochs=2, overrides={"lr": 1e30})
    assert session.code == 0
    assert (session.status["status"], session.status["cause"]) == ("failed", "diverged")
    assert "loss" in session.status["reason"]
    assert (session.working / "report.html").exists()


def test_a_session_with_another_chain_s_checkpoint_fails_at_once(first, python, tmp_path):
    session = Session(tmp_path, python, earlier=first.working, epochs=4, chain="mine")
    assert session.code == 1
    assert session.files() == []
    last = session.err.strip().splitlines()[-1]
    assert last.startswith("error: there is no checkpoint of chain 'mine'")
    assert first.status["chain"] in last
    assert "Traceback" not in session.err


def test_images_that_training_refuses_end_the_session_at_once(python, tmp_path):
    session = Session(tmp_path, python, images=3)
    assert session.code == 1
    assert session.files() == []
    assert session.err.splitlines()[-1].startswith("error: batch size 4 is larger than the data set of 3 images")


def test_without_a_data_set_wrinkle_removal_trains_on_pairs_that_it_draws(python, tmp_path):
    overrides = {"img-size": 16, "patch": 1, "attention": [], "drawn": "wrinkles:8"}
    session = Session(tmp_path, python, "wrinkle-removal", epochs=1, overrides=overrides)
    assert session.code == 0, session.err
    assert session.status["status"] == "done"
    assert "8 pairs of 16 px" in session.out


def test_photographs_of_garments_alone_become_pairs_to_train_on(python, tmp_path):
    """The layout is that of the public data set of clothes: images.csv beside images_compressed/."""
    overrides = {"contains": ["images_compressed"], "images": 4, "img-size": 64, "attention": []}
    garments = "agrigorev/clothing-dataset-full"
    session = Session(tmp_path, python, "wrinkle-removal", epochs=1, dataset=garments, layout=LAYOUTS[1], overrides=overrides)
    assert session.code == 0, session.err
    assert "3 masks of 3 photographs" in session.out
    assert "4 pairs of 64 px out of 3 garments" in session.out
    assert session.status["status"] == "done"
