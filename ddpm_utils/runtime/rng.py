"""Randomness as a function of (seed, purpose, index)."""

import numpy as np
import torch


def keyed_generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """A CPU generator that depends on nothing but (seed, purpose, index), well mixed."""
    key = [seed, int.from_bytes(purpose.encode(), "little"), index]
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
