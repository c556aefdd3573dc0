"""Settings of `adapt`, apart from what it does: a command line is built from them without loading torch."""

from dataclasses import dataclass

from ddpm_utils.settings import check_settings, setting


@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    """Settings of `adapt`. Raises InputError for values outside their ranges."""

    steps: int = setting(100, "training steps from the model's weights, for each fold and at the end", within="[1, inf)")
    folds: int = setting(3, "parts that the photographs are judged in; as many as photographs: leave one out", within="[2, inf)")
    lr: float = setting(4e-4, "learning rate", within="(0, inf)")
    batch_size: int = setting(4, "crops a step", within="[1, inf)")
    crops: int = setting(8, "crops a photograph", within="[1, 99]")
    seed: int = setting(0, "same seed, same crops, folds and steps", within="[0, inf)")

    def __post_init__(self):
        check_settings(self)
