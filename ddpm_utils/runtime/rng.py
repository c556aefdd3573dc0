"""Randomness as a function of (seed, purpose, index)."""

import numpy as np
import torch


def keyed_generator(seed: int, purpose: str, index: int, device: str = "cpu") -> torch.Generator:
    """A generator of this device that depends on nothing but (seed, purpose, index), well mixed.

    A CUDA GPU's is Philox, a function of its seed and a counter; which thread takes which count depends on the model of the GPU.
    """
    key = [seed, int.from_bytes(purpose.encode(), "little"), index]
    return torch.Generator(device).manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
