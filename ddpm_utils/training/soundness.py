"""What counts as a good state: one that is kept, that pushes out older ones, and that a run goes on from.

All its numbers are finite, its weights fit the model file that the run ends with, its moments are no larger than clipped gradients can make
them, and it doesn't predict absurdly worse than nothing at all. Losses alone tell too little, and too late: that of a step is of the weights
before it.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ddpm_utils.training.trainer import Trainer

LARGEST = 65504.0  # of float16, in which models are written; weights begin within a few units, and honest ones stay within hundreds
ABSURD = 1000.0  # times the loss of predicting nothing, which is about 1; losses that leap and come back reach tens


class Diverged(RuntimeError):
    """The run has left the numbers that it could go on from. Nothing trained since the last good state was saved."""


def why_not_good(trainer: Trainer) -> str | None:
    """Why the trainer's state must not be kept, in words; None if it is good. Every one of several processes comes to the same answer."""
    clip, moments = trainer.config.clip_norm, list(trainer.optimizer.state.values())
    limits = {
        "the weights": (trainer.network.parameters(), LARGEST),
        "the averaged weights": ((w for average in trainer.averages for w in average.shadow), LARGEST),
        "the first moments of the optimizer": ((m["exp_avg"] for m in moments), 2 * clip),  # averages of gradients, 2: of rounding
        "the second moments of the optimizer": ((m["exp_avg_sq"] for m in moments), 2 * clip**2),
    }
    for name, (tensors, limit) in limits.items():
        size = largest(tensors)
        if not math.isfinite(size):
            return f"after step {trainer.step} one of {name} holds NaN or infinity"
        if size > limit:
            return f"after step {trainer.step} one of {name} is of size {size:.2g}, sound is at most {limit:g}"
    loss = trainer.loss_ahead()
    if not loss <= ABSURD * max(1.0, 0.0 if loss <= ABSURD else trainer.loss_ahead(nothing=True)):
        return f"after step {trainer.step} the loss is {loss:.2g}, predicting nothing does {ABSURD:g} times better"
    return None


def largest(tensors: Iterable[Tensor]) -> float:
    """The largest size of any value, NaN if any is NaN; 0 without values."""
    sizes = torch._foreach_norm([tensor.detach() for tensor in tensors] or [torch.zeros(1)], math.inf)
    return torch.stack(sizes).max().item()
