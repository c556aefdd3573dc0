"""What decides the crops that prepare_pairs.py cuts. Apart from it, so that a command line can be built without loading its libraries."""

from dataclasses import dataclass

from ddpm_utils.errors import InputError
from ddpm_utils.settings import setting


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Settings of `prepare_pairs`. Raises InputError for values outside their ranges."""

    size: int = setting(256, "side of the crops in pixels")
    crops: int = setting(8, "crops a photograph, at most")
    test_share: float = setting(0.1, "share of the photographs kept for testing")
    seed: int = setting(0, "same seed, same crops and split")

    def __post_init__(self):
        if not 16 <= self.size <= 4096:
            raise InputError(f"--size must be 16 to 4096 pixels, got {self.size}")
        if not 1 <= self.crops <= 99:
            raise InputError(f"--crops must be 1 to 99 a photograph, got {self.crops}")
        if not 0 <= self.test_share < 1:
            raise InputError(f"--test-share must be at least 0 and below 1, got {self.test_share}")
        if self.seed < 0:
            raise InputError(f"--seed must be at least 0, got {self.seed}")
