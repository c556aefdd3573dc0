"""Chapter 07: guidance, as functions from denoisers to a denoiser.

Equations: Ho & Salimans 2022 (2207.12598).
"""

import math

from torch import Tensor

from ddpm_utils.errors import InputError
from ddpm_utils.sampling import Denoiser


def classifier_free(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """Away from what fits any label, towards what fits this one: u + scale (c - u) (Ho & Salimans, eq. 6; scale = 1 + w).

    Scale 1 is the conditional denoiser, 0 the unconditional one, above 1 exaggerates the label. Mixing x0_hat or eps is the same,
    because one is an affine function of the other at a given x_t. Clip afterwards, not before.
    """
    if not math.isfinite(scale):
        raise InputError(f"guidance scale must be a finite number, 1 to 5 is usual; got {scale}")
    if scale == 1:
        return conditional
    if scale == 0:
        return unconditional

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        u = unconditional(x_t, t)
        return u + scale * (conditional(x_t, t) - u)

    return guided
