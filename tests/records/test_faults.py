"""The short forms of `make faults`, `make flips` and `make kills`."""

import subprocess
import sys
from pathlib import Path

import pytest
from flips import KINDS, campaign


def test_runs_that_are_killed_and_resumed_end_like_one_that_was_left_alone():
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("faults.py"), "--kills", "3"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILLs" in done.stdout


def test_a_few_damages_to_each_file_that_is_read_back_are_noticed_or_harmless(capsys):
    for kind in KINDS:
        counts, silent = campaign(kind, flips=9, cuts=2, seed=0)
        assert not silent, silent
        assert counts["noticed"] + counts["harmless"] == counts["cases"] >= 12


@pytest.mark.parametrize("name", ["prepare-pairs", "retouch", "ema", "train-control"])
def test_a_command_that_was_killed_leaves_no_half_result_and_ends_well_when_run_again(name):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("kills.py"), name, "--kills", "2"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"| {name} | ")
