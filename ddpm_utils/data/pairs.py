"""Chapter 06: pairs of images, one as taken and the same one retouched; where they differ, and which of the two is smoother."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from ddpm_utils.data.images import ImageSet

CHANGE_THRESHOLD = 4  # levels of 255; below lies what JPEG alone changes
LEAST_CHANGED = 16  # pixels of a change mask that say something about direction


@dataclass(frozen=True)
class PairSet(ImageSet):
    """An ImageSet whose `images` are the targets; beside them the sources (N, H, W, C) uint8 and the change masks (N, H, W) bool."""

    sources: np.ndarray | None = None
    masks: np.ndarray | None = None

    @cached_property
    def digest(self) -> str:
        """Like ImageSet's, of targets and sources; the masks follow from them."""
        sources = ImageSet(self.sources).digest
        return hashlib.sha256((ImageSet(self.images).digest + sources).encode()).hexdigest()


def spread(pairs: PairSet, n: int) -> PairSet:
    """n of the pairs, spread evenly: neighbours may be crops of one photograph."""
    if n >= len(pairs):
        return pairs
    rows = np.arange(n) * len(pairs) // n
    labels = None if pairs.labels is None else pairs.labels[rows]
    return replace(pairs, images=pairs.images[rows], labels=labels, sources=pairs.sources[rows], masks=pairs.masks[rows])


def change_mask(source: np.ndarray, target: np.ndarray, threshold: float = CHANGE_THRESHOLD) -> np.ndarray:
    """Where a retoucher worked: (H, W) bool from two (H, W, C) uint8 images.

    Pixels whose largest channel differs by more than `threshold` levels, after an opening with a 3x3 square that takes away the single
    pixels of JPEG noise.
    """
    differs = np.abs(source.astype(np.int16) - target.astype(np.int16)) > threshold
    differs = np.logical_or.reduce([differs[..., c] for c in range(differs.shape[-1])])  # (H, W); ten times as fast as .any(-1)
    return ndimage.binary_opening(differs, np.ones((3, 3), bool))


def roughness_ratio(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """How much rougher the target is than the source inside the mask (H, W): mean |grad target|^2 / mean |grad source|^2.

    Of the grey images after a Gaussian of one pixel, which hides the noise of JPEG: `image_metrics.gradient_ratio`, where every
    thread counts, does without. Below 1: wrinkles were taken away. NaN for an empty mask.
    """
    if not mask.any():
        return float("nan")

    def energy(image: np.ndarray) -> float:
        return np.square(ndimage.gaussian_gradient_magnitude(image.mean(-1, dtype=np.float32), 1.0))[mask].mean(dtype=np.float64)

    return energy(target) / max(energy(source), 1e-12)


def direction_fault(ratios: list[float], majority: float = 0.5) -> str | None:
    """A sentence if more than this share of the roughness ratios of a whole set say that source and target were swapped; else None."""
    rougher = sum(ratio > 1 for ratio in ratios)
    if rougher <= majority * len(ratios):
        return None
    return (
        f"source and target seem to be swapped: in {rougher} of {len(ratios)} pairs the target is rougher than the source where they differ, "
        "and retouching smooths; swap the two folders or arguments"
    )
