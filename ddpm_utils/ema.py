"""Chapter 04: averages of the weights, which are what one samples from.

Late weights of a run jump about; their average is better by a wide margin (Ho et al.: FID 3.2 against 8.1). Two kinds: the standard
one, which forgets at a fixed rate, and the power-function average of Karras et al. 2023 (EDM2, 2312.02696), whose memory is a fixed
share of the run, so that snapshots of two lengths can be combined into any other length afterwards.

Every rule is a function of the step alone. Nothing but the averages themselves needs saving, and a late start survives any number of resumes.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_utils.errors import InputError

DecayRule = Callable[[int], float]  # step, counted from 1 -> share of the old average that is kept


def standard_decay(decay: float = 0.9999, start: int = 0, every: int = 1) -> DecayRule:
    """min(decay, (1 + k) / (10 + k)) a step, k steps after `start`; up to `start` the average is a copy.

    The warm-up keeps a long average from remembering the random weights that a run begins with. every: steps between two updates.
    """
    if not 0 <= decay < 1:
        raise InputError(f"ema decay must lie in [0, 1), 0.999 to 0.9999 is usual; got {decay}")
    if start < 0:
        raise InputError(f"ema start must be a step >= 0, got {start}")

    def rule(step: int) -> float:
        k = step - start
        return 0.0 if k <= 0 else min(decay, (1 + k) / (10 + k)) ** every

    return rule


def power_decay(sigma: float, every: int = 1) -> DecayRule:
    """(1 - every / step) ** (gamma + 1) (Karras et al., eq. 127): the average weighs step tau of t by tau ** gamma.

    sigma: relative length, the standard deviation of that profile as a share of the run so far; 0.05 to 0.15 is usual.
    """
    exponent = gamma_of(sigma) + 1
    return lambda step: max(0.0, 1 - every / step) ** exponent


def gamma_of(sigma: float) -> float:
    """The exponent of a power-function average of relative length sigma: sigma^2 = (g + 1) / ((g + 2)^2 (g + 3)) (eq. 123)."""
    if not 0.01 <= sigma <= 0.28:
        raise InputError(f"an average's relative length sigma must lie in 0.01 .. 0.28, 0.05 to 0.15 is usual; got {sigma}")
    s = sigma**-2
    roots = np.roots([1, 7, 16 - s, 12 - s])
    return float(roots[np.isreal(roots)].real.max())


class EMA:
    """A float32 average of a network's parameters (not of its buffers), moved by `rule` at every `every`-th step."""

    def __init__(self, network: nn.Module, rule: DecayRule, every: int = 1):
        self.rule, self.every = rule, every
        self.shadow = [p.detach().float().clone() for p in network.parameters()]

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network's weights after training step `step`, counted from 1."""
        if step % self.every == 0:
            weights = [p.detach().float() for p in network.parameters()]
            torch._foreach_lerp_(self.shadow, weights, 1 - self.rule(step))

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> nn.Module:
        """Put the average into `network`, and return it."""
        for parameter, average in zip(network.parameters(), self.shadow):
            parameter.copy_(average)
        return network


# --- any length afterwards ---


def reconstruction_weights(steps: list[int], sigmas: list[float], target_step: int, target_sigma: float) -> np.ndarray:
    """Weights that combine snapshots into the average of another length: least squares between the profiles (appendix C.2).

    steps, sigmas: of each snapshot. The result's weights add up to about 1 and may be negative.
    """
    if len(steps) < 2:
        raise InputError(f"at least 2 snapshots are needed to rebuild an average, 16 or more for a good one; got {len(steps)}")
    t = np.array([*steps, target_step], dtype=np.float64) / max(*steps, target_step)
    g = np.array([gamma_of(s) for s in [*sigmas, target_sigma]])
    ti, tj, gi, gj = t[:, None], t[None, :], g[:, None], g[None, :]
    early = np.minimum(ti, tj)
    # integral of (gi + 1) x^gi / ti^(gi + 1) times the same of j, up to the earlier of the two, with powers of ratios at most 1
    products = (gi + 1) * (gj + 1) / (gi + gj + 1) * (early / ti) ** gi * (early / tj) ** gj * early / (ti * tj)
    return np.linalg.lstsq(products[:-1, :-1], products[:-1, -1], rcond=None)[0]


def reconstruct(snapshots: list[dict[str, Tensor]], weights: np.ndarray) -> dict[str, Tensor]:
    """The weighted sum of snapshots {name: weight}, added up in float64, as float32."""
    return {name: sum(float(w) * snapshot[name].double() for w, snapshot in zip(weights, snapshots)).float() for name in snapshots[0]}
