"""The short form of `make faults`: a few kills at random moments, and the run ends in the same bits."""

import subprocess
import sys
from pathlib import Path


def test_runs_that_are_killed_and_resumed_end_like_one_that_was_left_alone():
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("faults.py"), "--kills", "3"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILLs" in done.stdout
