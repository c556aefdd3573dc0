"""What one step of training frees, the next one takes without asking the system."""

import os
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from ddpm_utils.runtime.memory import keep_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

kept = keep_freed_memory() if sys.argv[1] == "kept" else False
taken = []
for _ in range(8):
    before = pages()
    held = [torch.ones(12 * 2**20) for _ in range(4)]  # 50 MB each: the C library asks the system for what is above 32
    del held
    taken.append(pages() - before)
print(kept, taken[-1] * resource.getpagesize())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of other systems has no such setting")
def test_a_step_takes_no_memory_from_the_system_that_the_one_before_it_freed():
    def last_step(how: str) -> tuple[str, int]:
        done = subprocess.run([sys.executable, "-c", STEPS, how], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        kept, taken = done.stdout.split()
        return kept, int(taken)

    does, kept = last_step("kept")
    if does == "False":
        pytest.skip("this C library has no such setting")
    assert kept < last_step("given back")[1] / 10
