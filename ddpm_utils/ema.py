"""Chapter 04: the exponential moving average of the weights, which is what one samples from.

Late weights of a run jump about; their average is better by a wide margin (Ho et al.: FID 3.2 against 8.1).
"""

import torch
from torch import Tensor, nn

from ddpm_utils.errors import InputError


class EMA:
    """A float32 average of a network's parameters (not of its buffers), with warm-up, beginning at step `start`.

    After step n (counted from 1) the average moves by a share 1 - d towards the weights, d = min(decay, (1 + k) / (10 + k)) for
    k = n - start; up to `start` it is a copy. Nothing but the average itself needs saving: all else follows from n, so that a late start
    survives any number of resumes.
    """

    def __init__(self, network: nn.Module, decay: float = 0.9999, start: int = 0):
        if not 0 <= decay < 1:
            raise InputError(f"ema decay must lie in [0, 1), 0.999 to 0.9999 is usual; got {decay}")
        if start < 0:
            raise InputError(f"ema start must be a step >= 0, got {start}")
        self.decay, self.start = decay, start
        self.shadow = [p.detach().float().clone() for p in network.parameters()]

    def decay_at(self, step: int) -> float:
        """The share of the old average that step `step` (from 1) keeps; 0 up to `start`."""
        k = step - self.start
        return 0.0 if k <= 0 else min(self.decay, (1 + k) / (10 + k))

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network's weights after training step `step`, counted from 1."""
        weights = [p.detach().float() for p in network.parameters()]
        torch._foreach_lerp_(self.shadow, weights, 1 - self.decay_at(step))

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> nn.Module:
        """Put the average into `network`, and return it."""
        for parameter, average in zip(network.parameters(), self.shadow):
            parameter.copy_(average)
        return network

    def as_vector(self) -> Tensor:
        """All averages in one vector, for a state file."""
        return torch.nn.utils.parameters_to_vector(self.shadow)

    def load_vector(self, vector: Tensor) -> None:
        torch.nn.utils.vector_to_parameters(vector.to(self.shadow[0].device), self.shadow)
        self.shadow = [s.clone() for s in self.shadow]
