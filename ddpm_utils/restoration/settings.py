"""Chapter 06: how a photograph is retouched, apart from the model that does it. Loads no torch, so that a command line can be built from it."""

from dataclasses import dataclass

from ddpm_utils.errors import InputError
from ddpm_utils.settings import check_settings, setting

SHORT_SIDE = 512  # pixels of the short side of the network's input
LEAST_SIDE = 16  # smaller images hold nothing to retouch


@dataclass(frozen=True, kw_only=True)
class RetouchSettings:
    """Settings of `retouch`. Raises InputError for values that mean nothing; `steps` is checked against the model's timesteps."""

    strength: float = setting(1.0, "share of the predicted residual that is added, from 0 (nothing) to 1 (all)", within="[0, 1]")
    detail: bool = setting(False, "fine creases too: tiles at four times the scale, much slower")
    short_side: int = setting(
        SHORT_SIDE,
        "pixels of the short side of the network's input; smaller photographs aren't enlarged",
        within=f"[{LEAST_SIDE}, inf)",
        usual=str(SHORT_SIDE),
    )
    faces: bool = setting(False, "let faces be changed too; they are found and left alone otherwise, unless they look aside")
    raw: bool = setting(
        False, "what the network says of each place by itself, faces too, with nothing learned from the photograph as a whole"
    )
    samples: int = setting(1, "samples that are averaged: slower, and on real pairs 8 are worth what 1 is", within="[1, inf)")
    steps: int | None = setting(
        None, "sampling steps (NFE) for a sample (default: the formulation's own, 1; on real pairs 4 lose 2.5 dB of the whole image)"
    )
    seed: int = setting(0, "same seed, same result")

    def __post_init__(self):
        check_settings(self)
        if not 0 <= self.seed < 2**63 - self.samples:  # each sample has its own
            raise InputError(f"seed must be a whole number from 0 to 2**63 - 1 - samples, got {self.seed}")
