"""The benchmark runs, and its record keeps a part for each machine."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent


def test_a_quick_run_has_every_table(tmp_path):
    record = tmp_path / "speed.md"
    command = [sys.executable, str(BENCH), "--quick", "--device", "cpu", "--record", str(record)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = record.read_text()
    for words in (
        "| ddpm_utils, ",
        "| diffusers, plain |",
        "| diffusers, channels_last |",
        "| diffusers' example |",
        "A step of DDIM",
        "Peak memory",
    ):
        assert words in written


def test_a_machine_replaces_its_own_part_of_the_record(tmp_path):
    spec = importlib.util.spec_from_file_location("bench_record", BENCH / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    record = tmp_path / "speed.md"
    for found in (["## one", "", "old"], ["## two", "", "kept"], ["## one", "", "new"]):
        module.write(record, found)
    assert record.read_text() == "# Speed, by machine\n\n## two\n\nkept\n\n## one\n\nnew\n"
