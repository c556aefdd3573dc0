"""How many cases a property is tried with: a bounded number, the same each time; `make fuzz` multiplies it, and draws others each time."""

import os

from hypothesis import HealthCheck, settings

from ddpm_utils.errors import InputError

TIMES = int(os.environ.get("DDPM_FUZZ", "0"))  # 0: not under `make fuzz`
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]  # cases write files and train


def cases(n: int) -> settings:
    """Decorates a property that is tried with `n` cases."""
    return settings(max_examples=n * max(1, TIMES), suppress_health_check=SLOW)


def check_sentence(error: InputError) -> None:
    """A refusal says something, and no page of it."""
    assert 0 < len(str(error)) < 1500
