"""`watch`: what is said of a run in each of its states, the curve, and the page that reloads."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.commands.watch import ROWS, curve, page, picture
from ddpm_utils.training.watching import in_time, look_at

TINY = "train --data-path digits --img-size 4 --width 8 --multipliers 1 --blocks 1 --patch 1 --batch-size 512 --precision fp32 --device cpu"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that is done, and one that was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    usual = f"{TINY} --epochs 2 --log-every 1 --sample-every 3 --out"
    assert main([*usual.split(), str(folder / "done")]) == 0
    assert main([*usual.split(), str(folder / "stopped"), "--max-epochs", "1"]) == 0
    return folder


def told(capsys, *words):
    capsys.readouterr()
    assert main(["watch", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_run_that_is_done_or_stopped_says_so_and_how_to_go_on(runs, capsys):
    said = told(capsys, runs / "done")
    assert "done: step 6 of 6, epoch 2.00 of 2 (100%)" in said
    assert "all 2 epochs are trained" in said
    assert "samples/step-0000006.png" in said
    said = told(capsys, runs / "stopped")
    assert "stopped: step 3 of 6, epoch 1.00 of 2 (50%)" in said
    assert "1 epochs are done in this session" in said
    assert "to go on: " in said


def test_where_there_is_no_run_one_sentence_tells(tmp_path, capsys):
    assert main(["watch", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["watch", str(tmp_path)]) == 2
    assert "holds no run, it has neither run.json nor log.jsonl" in capsys.readouterr().err
    for words, sentence in (("--page x.png", "must name a file that ends in .html"), ("--every 0", "--every must lie in 0.1 .. 86400")):
        assert main(["watch", str(tmp_path), *words.split()]) == 2
        assert sentence in capsys.readouterr().err


def written(folder, status=None, records=(), holder=None):
    folder.mkdir()
    (folder / "run.json").write_text('{"id": "x"}')
    if status:
        about = {"status": status, "reason": "because", "epoch": 0, "epochs": 10, "step": 0, "steps": 100, "next_command": "do this"}
        (folder / "status.json").write_text(json.dumps(about))
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if holder:
        (folder / ".lock").write_text(f"{holder} {socket.gethostname()}\n")
    return folder


def test_a_run_that_goes_on_says_what_is_left(tmp_path, capsys):
    record = {"step": 20, "loss": 0.5, "quarters": [0.1, None, 0.3, 0.4], "eta_s": 4000, "images_per_s": 12.3}
    said = told(capsys, written(tmp_path / "run", "running", [record], os.getpid()), "--once")
    assert "running: step 20 of 100, epoch 2.00 of 10 (20%)" in said
    assert "1 h 7 min left" in said
    assert "loss 0.5000, by quarter of t from the least noise on 0.1000 - 0.3000 0.4000" in said


def test_a_run_without_a_record_or_a_status_says_that(tmp_path, capsys):
    assert "there is no record yet" in told(capsys, written(tmp_path / "a", "running", holder=os.getpid()), "--once")
    assert "the run has begun, and hasn't told anything yet" in told(capsys, written(tmp_path / "b", holder=os.getpid()), "--once")


def test_a_run_whose_process_is_gone_was_killed(tmp_path, capsys):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name, holder in (("a", ended.pid), ("b", None)):
        said = told(capsys, written(tmp_path / name, "running", holder=holder))
        assert "killed: step 0 of 100" in said
        assert "to go on: do this" in said


def test_lines_that_are_damaged_or_half_written_are_passed_over(tmp_path):
    record = {"step": 20, "loss": 0.5, "quarters": [0.1, None, 0.3, 0.4]}
    folder = written(tmp_path / "run", "done", [record])
    with open(folder / "log.jsonl", "a") as file:
        file.write('{"step": 30, "lo')
    assert look_at(folder).step == 20


def test_a_run_is_followed_to_its_end_by_a_page_that_then_reloads_no_more(tmp_path):
    """A real one, in another process."""
    words = f"{TINY} --epochs 12 --log-every 1 --sample-every 18 --out run".split()
    training = subprocess.Popen(
        [sys.executable, "-m", "ddpm_utils", *words], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not (tmp_path / "run" / "log.jsonl").exists() or not (tmp_path / "run" / "log.jsonl").read_bytes():
            assert training.poll() is None
            time.sleep(0.02)
        going = page(look_at(tmp_path / "run"), 1.5)
        assert '<meta http-equiv="refresh" content="2">' in going
        assert main(["watch", str(tmp_path / "run"), "--page", str(tmp_path / "page.html"), "--every", "1"]) == 0
    finally:
        assert training.wait() == 0
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "http-equiv" not in text
    assert "done: step 36 of 36" in text
    assert "//" not in re.sub(r"base64,[^\"]*", "", text), "nothing is asked of another host"
    sizes = []
    for content in re.findall(r"base64,([^\"]*)\" alt=\"[^\"]+\"", text):
        with Image.open(BytesIO(b64decode(content))) as image:
            image.load()
            sizes.append(image.size)
    assert len(sizes) == 2


def test_names_in_a_page_are_text(tmp_path):
    folder = written(tmp_path / "<b>", "stopped")
    assert "<b>" not in page(look_at(folder), None)
    assert "&lt;b&gt;" in page(look_at(folder), None)


def test_a_straight_line_in_the_logarithm_is_a_straight_flight_of_blocks():
    records = [{"step": k, "loss": 2.0 ** (-k)} for k in range(ROWS)]
    lines = curve(records, 50)
    heights = [sum("█▇▆▅▄▃▂▁".find(line.ljust(99)[10 + column]) >= 0 for line in lines[:ROWS]) for column in range(ROWS)]
    assert heights == list(range(ROWS, 0, -1))
    assert lines[0].split()[0] == "1.0000"
    assert lines[-1].split()[1:] == ["0", "to", str(ROWS - 1)]
    assert len(curve([{"step": k, "loss": 1.0} for k in range(500)], 50)[ROWS - 1]) == 60, "a long run fits as well"


def test_a_picture_in_the_terminal_has_the_colours_of_the_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    lines = picture(tmp_path / "x.png", 6)
    found = [[int(n) for n in re.findall(r"\d+", part)] for line in lines for part in line.split("▀")[:-1]]
    for k, (y, x) in enumerate((y, x) for y in (0, 2) for x in range(6)):
        assert found[k][-10:] == [38, 2, *pixels[y, x], 48, 2, *pixels[y + 1, x]]


def test_time_is_told_in_words():
    assert [in_time(s) for s in (5, 89, 150, 3600, 12345)] == ["5 s", "89 s", "2 min", "1 h 0 min", "3 h 26 min"]
