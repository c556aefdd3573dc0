"""What all sets that the project draws have in common: their names, NAME or NAME:N, their seeds, and the least that one may ask for."""

from ddpm_utils.errors import InputError

SEEDS = {"train": 0, "test": 1_000_000}  # of the two splits


def count_and_seed(name: str, default: int, split: str, what: str) -> tuple[int, int]:
    """How many images a name such as "toy-cars:200" asks for, and the seed of the split, whose test set has a tenth as many others."""
    base, colon, count = name.partition(":")
    count = count if colon else str(default)
    if not count.isdecimal() or int(count) < 1:
        raise InputError(f"{what} are named {base} or {base}:N with N from 1, got {name!r}")
    return (int(count) if split == "train" else max(1, int(count) // 10)), SEEDS[split]


def check_set(what: str, n: int, size: int, seed: int, smallest: int) -> None:
    """Refuse sets of no images, a negative seed, and images under `smallest` pixels a side."""
    if n < 1:
        raise InputError(f"the number of {what} must be at least 1, got {n}")
    if seed < 0:
        raise InputError(f"the seed of {what} must not be negative, got {seed}")
    if size < smallest:
        raise InputError(f"{what} need at least {smallest} pixels a side, got {size}")
