"""Chapter 04: the settings of a run that generates images, where nothing is said about them.

Those that drew the best pictures of real photographs in few minutes of a CPU, and for long runs those that were ahead after minutes of a GPU;
tests/records/recipe.md shows what else was measured.
"""

from typing import Any

from ddpm_utils.config import TrainConfig

GRID, PATCH = 16, 4  # larger images are folded into patches of at most 4 pixels a side, down to 16 of them a side
WIDTHS = (1, 2, 2)  # multipliers, as many as the grid can be halved
ATTENTION = 8  # from this resolution on
LONG, LONG_PATCH = 800_000, 2  # a run over so many images, counting repeats, learns more with smaller patches, and with v in place of x_0
BATCH = 32
WARMUP, WARMUP_SHARE = 200, 20  # the learning rate rises over so many steps, and over at most 1/20 of a run
# images to be trained on, counting repeats, before samples look like the data, by channels: digits (as `make demo` shows) and photographs
ENOUGH = {1: 45_000, 3: 400_000}


def preset(size: int, images: int, *, epochs: int | None = None, batch_size: int | None = None, patch: int | None = None) -> dict[str, Any]:
    """Fields of TrainConfig, Generation and UNetConfig for so many images of `size` pixels.

    epochs, batch_size, patch: what was chosen already, if it was.
    """
    batch_size = batch_size or min(BATCH, max(1, images))
    steps = (epochs or TrainConfig.epochs) * (images // batch_size)
    long = steps * batch_size >= LONG
    pace = {"batch_size": batch_size, "lr": 1.2e-3, "warmup": min(WARMUP, steps // WARMUP_SHARE)}
    return {"prediction": "v" if long else "x0", **network_preset(size, patch, LONG_PATCH if long else PATCH), **pace}


def network_preset(size: int, patch: int | None = None, most: int = PATCH) -> dict[str, Any]:
    """The shape of a network for images of `size` pixels. most: the largest patch, where none was chosen."""
    patch = patch or max(p for p in range(1, most + 1) if size % p == 0 and (p == 1 or size // p >= GRID))
    grid = size // patch
    levels = [level for level in range(len(WIDTHS)) if grid % 2**level == 0]
    resolutions = [grid >> level for level in levels]
    return {
        "patch": patch,
        "width": 64,
        "multipliers": WIDTHS[: len(levels)],
        "blocks": 1,
        "attention": (next((r for r in resolutions if r <= ATTENTION), resolutions[-1]),),
    }


def too_little(config: TrainConfig, steps: int, images: int) -> str:
    """A sentence for a run that ended, after so many steps over so many images, before samples can look like them; else ""."""
    seen, enough = steps * config.batch_size, ENOUGH[1 if config.network.channels == 1 else 3]
    if seen >= enough:
        return ""
    epochs = -(-enough // (images // config.batch_size * config.batch_size))
    how = f"--epochs {epochs}" + (" --resume" if config.lr_decay == "constant" else "")
    return (
        f"too little to expect pictures: the run has seen {seen:,} images, counting repeats, and about {enough:,} are needed before "
        f"samples look like them; train longer with {how}"
    )
