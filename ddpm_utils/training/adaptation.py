"""A retouching model fitted to one retoucher's own pairs, and judged on photographs that it wasn't fitted to.

Twenty pairs can make a model worse as easily as better. So the photographs are dealt out to folds; for each fold the weights are fitted on the
others and retouch this one, beside the weights that they began with. Only where the fitted ones gain more are they fitted once more, on all.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ddpm_utils.config import TrainConfig
from ddpm_utils.data.crops import MAX_SHIFT, cut_crops, measure_shift, read_pair
from ddpm_utils.data.pair_folders import match_files
from ddpm_utils.data.pairs import PairSet, change_mask
from ddpm_utils.errors import InputError
from ddpm_utils.models import Model, weights_digest
from ddpm_utils.restoration.full_resolution import retouch, working_size
from ddpm_utils.restoration.settings import SHORT_SIDE, RetouchSettings
from ddpm_utils.runtime.device import Execution
from ddpm_utils.training.adaptation_settings import AdaptSettings
from ddpm_utils.training.tasks.restoration import RestorationTask
from ddpm_utils.training.trainer import Trainer

MEASURED = 2 * SHORT_SIDE  # short side that gains are measured at
LEAST_PAIRS = 3
ROUNDING = 1 / 12  # mean square of what rounding to whole levels costs: no error counts as less


class Files(NamedTuple):
    """A photograph's name, its file, and the retouched one's."""

    name: str
    source: Path
    target: Path


class Gain(NamedTuple):
    """dB over copying, by the model that was begun with and by the fitted one, in the mask and in the whole; NaN in an empty mask."""

    name: str
    masked_before: float
    masked_after: float
    whole_before: float
    whole_after: float


def find_pairs(photographs: Path, retouched: Path) -> list[Files]:
    """The pairs of the two folders, by name. InputError for fewer than LEAST_PAIRS."""
    found = [Files(*item) for item in match_files(photographs, retouched)[0]]
    if len(found) < LEAST_PAIRS:
        raise InputError(f"at least {LEAST_PAIRS} pairs are needed to fit to some and judge by the others, got {len(found)}; add more")
    return found


def cut_pairs(files: list[Files], size: int, settings: AdaptSettings) -> list[PairSet]:
    """The crops of each photograph, (n, size, size, 3) each, at the scale that retouching sees it; n is 0 where nothing differs.

    Raises InputError that names a pair that is too small or doesn't fit together.
    """
    sets = []
    for i, pair in enumerate(files):
        source, target = read_small(pair, SHORT_SIDE)
        if min(source.shape[:2]) < size:
            raise InputError(
                f"{pair.name!r}: the photograph's short side is {min(source.shape[:2])} pixels, this model learns from at least {size}"
            )
        shift = measure_shift(source, target)
        if shift > MAX_SHIFT:
            told = f"is shifted by {shift:.1f} pixels at a short side of {SHORT_SIDE}, at most {MAX_SHIFT} can be learned from"
            raise InputError(f"{pair.name!r}: the retouched photograph {told}")
        rng = np.random.default_rng((settings.seed, i))
        crops = cut_crops(source, target, change_mask(source, target), size, settings.crops, rng, zoomed=False)
        fields = [np.array([getattr(crop, name) for crop in crops]) for name in ("target", "source", "mask")]
        sets.append(PairSet(fields[0], sources=fields[1], masks=fields[2]))
    if sum(len(pairs) for pairs in sets) < settings.batch_size:
        raise InputError("the two folders hold nearly the same images, there is nothing to learn; name the retouched ones second")
    return sets


def read_small(pair: Files, short_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and target (H, W, 3) uint8, their short side brought down to `short_side`."""
    try:
        images = [Image.fromarray(image) for image in read_pair(pair.source, pair.target)]
    except InputError as error:
        raise InputError(f"{pair.name!r}: {error}") from error
    height, width = working_size(images[0].height, images[0].width, short_side)
    return tuple(np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)) for image in images)


def deal(n: int, folds: int, seed: int) -> list[np.ndarray]:
    """The numbers 0 .. n-1, shuffled and dealt out to folds of nearly equal size."""
    return np.array_split(np.random.default_rng(seed).permutation(n), min(folds, n))


def validate(model: Model, files: list[Files], sets: list[PairSet], settings: AdaptSettings, execution: Execution) -> Iterator[Gain]:
    """The gains on every photograph, by weights that were fitted without it."""
    for fold in deal(len(files), settings.folds, settings.seed):
        fitted = fit(model, [sets[i] for i in range(len(files)) if i not in fold], settings, execution)
        for i in fold:
            yield _gain(files[i], model, fitted)


def fit(model: Model, sets: list[PairSet], settings: AdaptSettings, execution: Execution) -> Model:
    """The model after `settings.steps` steps on the crops of all sets: averaged weights. The model itself stays as it was."""
    held = [pairs for pairs in sets if len(pairs)]
    images, sources, masks = (np.concatenate([getattr(pairs, name) for pairs in held]) for name in ("images", "sources", "masks"))
    crops = PairSet(images, sources=sources, masks=masks)
    config = _config(model, settings, len(crops))
    trainer = Trainer(RestorationTask(config), crops, execution, start=model.network.state_dict())
    for _ in trainer.run(settings.steps):
        pass
    return Model(trainer.average_network(), config, (), {})


def _config(model: Model, settings: AdaptSettings, crops: int) -> TrainConfig:
    return replace(
        model.config,
        epochs=-(-settings.steps // max(1, crops // settings.batch_size)),
        batch_size=settings.batch_size,
        lr=settings.lr,
        warmup=min(20, settings.steps // 10),
        lr_decay="cosine",
        ema_decay=0.98,
        ema_sigmas=(),
        flip=True,
        start=weights_digest(model.network),
        seed=settings.seed,
    )


def _gain(pair: Files, before: Model, after: Model) -> Gain:
    source, target = read_small(pair, MEASURED)
    mask, whole = change_mask(source, target), np.ones(source.shape[:2], bool)
    results = [retouch(model, source, RetouchSettings()) for model in (before, after)]
    return Gain(pair.name, *(decibels(source, result, target, where) for where in (mask, whole) for result in results))


def decibels(source: np.ndarray, result: np.ndarray, target: np.ndarray, where: np.ndarray) -> float:
    """By how much result (H, W, 3) is nearer to target than source is, where (H, W) is true: 10 log10(mean square error of source / of result).

    It is the difference of the two PSNRs. NaN where there is no such pixel.
    """
    if not where.any():
        return np.nan
    errors = [np.square(image[where].astype(np.float64) - target[where]).mean() + ROUNDING for image in (source, result)]
    return float(10 * np.log10(errors[0] / errors[1]))


def means(gains: list[Gain]) -> Gain:
    """Their mean, in the mask over the photographs where something differs."""
    return Gain("mean", *np.nanmean([gain[1:] for gain in gains], 0).tolist())


def is_better(gains: list[Gain]) -> bool:
    """Whether the fitted weights gain more in the mask, in the mean and on most photographs, and no less in the whole."""
    mean, differing = means(gains), [gain for gain in gains if not np.isnan(gain.masked_after)]
    most = sum(gain.masked_after > gain.masked_before for gain in differing) > len(differing) / 2
    return most and mean.masked_after > mean.masked_before and mean.whole_after >= mean.whole_before
