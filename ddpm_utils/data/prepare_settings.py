"""What decides the crops that prepare_pairs.py cuts. Apart from it, so that a command line can be built without loading its libraries."""

from dataclasses import dataclass

from ddpm_utils.settings import check_settings, setting


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Settings of `prepare_pairs`. Raises InputError for values outside their ranges."""

    size: int = setting(256, "side of the crops in pixels", within="[16, 4096]")
    crops: int = setting(8, "crops a photograph, at most", within="[1, 99]")
    test_share: float = setting(0.1, "share of the photographs kept for testing", within="[0, 1)")
    seed: int = setting(0, "same seed, same crops and split", within="[0, inf)")

    def __post_init__(self):
        check_settings(self)
