"""Processes that share out work which no thread could."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor


def process_pool(most: int | None = None) -> ProcessPoolExecutor:
    """As many processes as there are CPUs, or `most` if that is fewer.

    Forked ones start at once and need no `if __name__ == "__main__"` in a user's script; elsewhere than on Linux fork is unsafe.
    """
    cpus = os.cpu_count() or 1
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(cpus if most is None else min(cpus, most), context)
