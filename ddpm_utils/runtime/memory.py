"""Memory that one step of training frees, kept for the next one."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of glibc's malloc.h
LARGEST = 2**30  # bytes that are still taken from what was kept


def keep_freed_memory() -> bool:
    """Have the C library keep what this process frees, instead of giving it back to the system; returns whether it does. Linux only.

    A training step on a CPU frees as much as it takes, hundreds of megabytes. Given back and taken anew, every page of it is cleared by the
    kernel, in every step. The most that the process takes stays the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
