"""Chapter 06: is a retoucher better than doing nothing? Full-reference metrics over pairs, in a table whose row 1 is the untouched source.

A pair differs in a few per cent of its pixels, so an untouched copy already scores 38 to 45 dB: what counts is the PSNR inside the change mask,
and what was lost outside of it. Pairs whose change mask is empty have nothing to retouch; they are kept out of every column but one, the share
of their pixels that a method touched all the same.
"""

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from skimage import filters, restoration  # lazy: costs nothing until used
from tqdm import tqdm

from ddpm_utils.data.images import to_float
from ddpm_utils.data.pairs import PairSet
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.image_metrics import (
    PSNR_CAP,
    SSIM_WINDOW,
    Overlap,
    bit_identical_share,
    gradient_ratio,
    mean_psnr,
    overlap,
    psnr,
    psnr_in,
    ssim,
)
from ddpm_utils.models import Model
from ddpm_utils.restoration.formulations import GATE, STEPS, check_restorer, restore
from ddpm_utils.restoration.frequency import frequency_residual
from ddpm_utils.sampling import timesteps

BATCH = 16  # images at a time

# sources (B, H, W, 3) uint8 and the number of the first -> outputs, alike, and where they may differ, (B, H, W) bool, or None if not predicted
Retouch = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Method:
    name: str
    retouch: Retouch
    steps: int = 0  # sampling steps (NFE) for one image, over all samples


@dataclass(frozen=True)
class Row:
    """One method's figures; NaN where there is nothing to measure."""

    name: str
    pairs: int  # measured
    changed: int  # of them, those whose change mask isn't empty; the next six columns are of these
    psnr: float  # dB, mean over images (see image_metrics.mean_psnr)
    psnr_in: float  # dB, inside the change masks
    psnr_out: float  # dB, outside of them
    identical: float  # share of the pixels outside the change masks that are the source's, bit by bit
    ssim: float  # mean over images
    gradient: float  # gradient energy in the mask, output / target; median over images, since a flat target makes it huge
    false_changes: float  # share of the pixels touched in pairs where nothing should change
    steps: int
    seconds: float  # per image, in batches of up to BATCH
    precision: float  # of the predicted change mask, all pairs' pixels pooled
    recall: float
    iou: float


# --- methods ---


def baselines() -> list[Method]:
    """What needs no training, with the parameters that did best in the mask of synthetic training pairs, at 64 and 128 px together;
    frequency separation with those that did best in the mask of real pairs at a short side of 512 px."""

    def each(smooth: Callable[[np.ndarray], np.ndarray]) -> Retouch:  # smooth: (H, W, 3) in 0..1 -> alike
        def retouch(sources: np.ndarray, start: int) -> tuple[np.ndarray, None]:
            return np.stack([(smooth(s / 255) * 255).round().clip(0, 255).astype(np.uint8) for s in sources]), None

        return retouch

    def bilateral(s):
        return restoration.denoise_bilateral(s, sigma_color=8 / 255, sigma_spatial=2, channel_axis=-1)

    def nl_means(s):
        return restoration.denoise_nl_means(s, patch_size=5, patch_distance=6, h=20 / 255, channel_axis=-1)

    return [
        Method("Gaussian, σ 1 px", each(lambda s: filters.gaussian(s, 1, channel_axis=-1))),
        Method("bilateral, σ 2 px and 8 levels", each(bilateral)),
        Method("non-local means, 5 px patches, h 20 levels", each(nl_means)),
        Method("frequency separation, σ 0.8 to 4 px", each(lambda s: s + frequency_residual(s))),
    ]


def model_methods(model: Model, name: str = "", steps: int | None = None, samples: int = 8, seed: int = 0) -> list[Method]:
    """A restoration model with one sample, and, if its form draws samples, with the mean of `samples` of them.

    name: instead of the form. steps: sampling steps for a sample (default: the form's own). Raises InputError for other models.
    """
    check_restorer(model)
    form = model.config.task.form
    nfe = STEPS[form] if steps is None or form == "regression" else steps
    timesteps(model.config.timesteps, nfe)  # refuses wrong numbers before any work
    device = next(model.network.parameters()).device

    def mean_of(drawn: int) -> Retouch:
        def retouch(sources: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
            first_seed = (seed + start) * drawn  # restore takes one for each sample, from this one on
            restored = restore(model, to_float(sources).to(device), nfe, drawn, first_seed)
            residual = restored.residual.permute(0, 2, 3, 1).cpu().numpy()  # (B, H, W, 3), a difference of 2 is 255 levels
            outputs = (sources + 127.5 * residual).round().clip(0, 255).astype(np.uint8)
            return outputs, (restored.mask[:, 0] > GATE[0]).cpu().numpy()

        return retouch

    methods = [Method(name or form, mean_of(1), nfe)]
    if samples > 1 and form != "regression":
        methods.append(Method(f"{name or form}, mean of {samples}", mean_of(samples), nfe * samples))
    return methods


def methods_of(models: dict[str, Model], steps: int | None = None, samples: int = 8, seed: int = 0) -> list[Method]:
    """`model_methods` of all models {file: model}, named after their form, or form and file where forms repeat."""
    forms = [model.config.task.form for model in models.values()]
    methods = []
    for file, model in models.items():
        form = model.config.task.form
        name = f"{form} ({file})" if forms.count(form) > 1 else form
        methods += model_methods(model, name, steps, samples, seed)
    return methods


def common_size(models: dict[str, Model]) -> int | None:
    """The one size in pixels that all models were trained at, None without models; InputError if there are several."""
    sizes = sorted({model.config.network.image_size for model in models.values()})
    if len(sizes) > 1:
        raise InputError(f"the models were trained at different sizes ({', '.join(map(str, sizes))} px); choose one with --img-size")
    return sizes[0] if sizes else None


# --- figures ---


def evaluate_rows(pairs: PairSet, methods: list[Method]) -> list[Row]:
    """The figures of every method over all pairs; row 1 is the copy. Raises InputError for no pairs, or images that don't fit together."""
    _check_pairs(pairs)
    copy = Method("copy", lambda sources, start: (sources, None))
    return [_row(pairs, method) for method in (copy, *methods)]


def _row(pairs: PairSet, method: Method) -> Row:
    figures, predicted, seconds = [], [], 0.0
    method.retouch(np.array(pairs.sources[:1]), 0)  # not timed: first calls import and warm up
    for start in tqdm(range(0, len(pairs), BATCH), desc=method.name, unit="batch", leave=False, disable=None):
        batch = slice(start, start + BATCH)
        sources = np.array(pairs.sources[batch])  # out of the memory map, which torch may not share
        began = time.perf_counter()
        outputs, where = method.retouch(sources, start)
        seconds += time.perf_counter() - began
        figures += map(_figures, outputs, sources, pairs.images[batch], pairs.masks[batch])
        predicted += [] if where is None else [where]
    summaries = {name: summary([f[name] for f in figures if name in f]) for name, summary in SUMMARIES.items()}
    found = overlap(np.concatenate(predicted), pairs.masks) if predicted else Overlap(np.nan, np.nan, np.nan)
    changed = sum("psnr" in f for f in figures)
    return Row(method.name, len(pairs), changed, **summaries, steps=method.steps, seconds=seconds / len(pairs), **found._asdict())


def _figures(output: np.ndarray, source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Of one image, all that can be measured: (H, W, 3) uint8 each, and its change mask (H, W) bool."""
    if not mask.any():
        return {"false_changes": 1 - bit_identical_share(output, source)}
    return {
        "psnr": psnr(output, target, 255),
        "psnr_in": psnr_in(output, target, mask, 255),
        "psnr_out": psnr_in(output, target, ~mask, 255),
        "identical": bit_identical_share(output, source, ~mask),
        "ssim": ssim(output, target, 255),
        "gradient": gradient_ratio(output, target, mask),
    }


def _over_known(summary: Callable) -> Callable[[list[float]], float]:
    """The summary of those values that aren't NaN; NaN if there is none."""

    def of(values: list[float]) -> float:
        known = [v for v in values if not np.isnan(v)]
        return float(summary(known)) if known else np.nan

    return of


# one image's figures -> the row's
SUMMARIES = {
    **dict.fromkeys(("psnr", "psnr_in", "psnr_out"), mean_psnr),
    **dict.fromkeys(("identical", "ssim", "false_changes"), _over_known(np.mean)),
    "gradient": _over_known(np.median),
}


def _check_pairs(pairs: PairSet) -> None:
    if not len(pairs):
        raise InputError("there are no pairs to evaluate; at least one image with its retouched version is needed")
    if pairs.sources.shape != pairs.images.shape or pairs.masks.shape != pairs.images.shape[:3]:
        raise InputError(
            "sources, targets and change masks must be of one size, got "
            f"{pairs.sources.shape}, {pairs.images.shape} and {pairs.masks.shape}"
        )
    height, width = pairs.images.shape[1:3]
    if min(height, width) < SSIM_WINDOW:
        raise InputError(f"images must be at least {SSIM_WINDOW} px wide and high to be evaluated, got {width} x {height}")


# --- words ---


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, and below it what was measured over what."""
    lines = [
        "| method | PSNR | in mask | outside | bit-identical outside | SSIM | gradient ratio | false changes | steps | s per image |",
        "|---|" + "---:|" * 9,
    ]
    for r in rows:
        psnrs = (_decibels(value) for value in (r.psnr, r.psnr_in, r.psnr_out))
        cells = (r.name, *psnrs, _format(r.identical, ".1%"), _format(r.ssim, ".4f"), _format(r.gradient, ".2f"))
        lines.append("| " + " | ".join((*cells, _format(r.false_changes, ".2%"), str(r.steps), f"{r.seconds:.4f}")) + " |")
    return "\n".join([*lines, "", f"{caption(rows[0])}."])


def write_csv(rows: list[Row], path: Path) -> None:
    """All figures of all rows with all digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def caption(row: Row) -> str:
    """What the figures were measured over, in words."""
    unchanged = row.pairs - row.changed
    left_out = f"; the {unchanged} with an empty change mask count only as false changes (share of pixels touched)" if unchanged else ""
    return f"n = {row.pairs} pairs, {row.changed} of them changed{left_out}; PSNR in dB, mean over images"


def verdicts(rows: list[Row]) -> list[str]:
    """One line for each row of a model: what it gained over the copy, and how well it found the places."""
    copy = rows[0]
    lines = []
    for r in rows:
        if r.steps:
            inside, total = _format(r.psnr_in - copy.psnr_in, "+.2f"), _format(r.psnr - copy.psnr, "+.2f")
            gains = f"{inside} dB in the mask, {total} dB in total against copy"
            found = f"precision {_format(r.precision, '.2f')}, recall {_format(r.recall, '.2f')}, IoU {_format(r.iou, '.2f')}"
            lines.append(f"{r.name}: {gains}; predicted change mask: {found}")
    return lines


def _decibels(value: float) -> str:
    return "exact" if np.isinf(value) else f"≥ {PSNR_CAP:g}" if value >= PSNR_CAP else _format(value, ".2f")


def _format(value: float, spec: str) -> str:
    return "–" if np.isnan(value) else format(value, spec)
