"""Chapter 07: distribution metrics, how close a set of generated images comes to real ones, as pure functions of their features.

Features are (n, D) arrays, a row an image, from one network for both sets (features.py). Every result carries its n: all of these
depend on it, and on the network, so that numbers compare only with the same of both. None of them is the FID, whose network isn't here.

Equations: Binkowski et al. 2018 (1801.01401) for KID; Naeem et al. 2020 (2002.09797) for density and coverage.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from ddpm_utils.errors import InputError

ROWS = 1000  # real images at a time, to bound the memory of their distances


class KID(NamedTuple):
    """Squared maximum mean discrepancy: 0 on average for two sets from one distribution, above 0 otherwise; single values may lie below 0."""

    mean: float  # over random subsets
    std: float
    subsets: int
    subset_size: int
    n_real: int
    n_generated: int

    def __str__(self) -> str:
        drawn = f"{self.subsets} subsets of {self.subset_size} out of n = {self.n_real} real and {self.n_generated} generated"
        return f"KID {self.mean:.4f} ± {self.std:.4f} ({drawn})"


class LabelKID(NamedTuple):
    """Squared maximum mean discrepancy within each label, averaged over them."""

    mean: float
    error: float  # of the mean, from the spread between labels
    labels: int
    n_real: int
    n_generated: int

    def __str__(self) -> str:
        return f"KID by label {self.mean:.4f} ± {self.error:.4f} ({self.labels} labels, n = {self.n_real} real and {self.n_generated} generated)"


class Coverage(NamedTuple):
    """What share of the real images has a generated one close by, and how densely the generated ones lie where real ones are."""

    coverage: float  # 0 .. 1, falls when modes are missing
    density: float  # 1 on average for two sets from one distribution, falls when images are unlike any real one
    k: int
    n_real: int
    n_generated: int

    def __str__(self) -> str:
        return f"coverage {self.coverage:.3f}, density {self.density:.3f} (k = {self.k}, n = {self.n_real} real and {self.n_generated} generated)"


class Agreement(NamedTuple):
    """How often a classifier predicts for a generated image the label that it was drawn for."""

    share: float
    n: int

    def __str__(self) -> str:
        return f"label agreement {self.share:.3f} (n = {self.n})"


def kid(real: np.ndarray, generated: np.ndarray, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> KID:
    """Kernel inception distance, with whatever features these are: `mmd2` over random subsets of both sets, mean and standard deviation.

    real (N, D), generated (M, D). subset_size is lowered to the smaller set's; without replacement within a subset.
    """
    real, generated = checked(real, generated)
    if subsets < 1 or subset_size < 2:
        raise InputError(f"KID needs at least 1 subset of at least 2 images, got {subsets} of {subset_size}")
    size, generator = min(subset_size, len(real), len(generated)), np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        a, b = (features[generator.choice(len(features), size, replace=False)] for features in (real, generated))
        values.append(mmd2(a, b))
    return KID(float(np.mean(values)), float(np.std(values)), subsets, size, len(real), len(generated))


def kid_by_label(real: np.ndarray, real_label: np.ndarray, generated: np.ndarray, label: np.ndarray) -> LabelKID:
    """`mmd2` of real (N, D) and generated (M, D) of the same label, (N,) and (M,), averaged over the labels; at least 2 of each in both.

    For sets that hold each label equally often. `kid` takes its images for drawn by chance: between balanced sets it comes out below 0, since
    two images of one set then share their label less often than two of different sets. An image of the wrong label also counts as one.
    """
    real, generated = checked(real, generated)
    real_label, label = np.asarray(real_label), np.asarray(label)
    if real_label.shape != real.shape[:1] or label.shape != generated.shape[:1]:
        shapes = f"{real_label.shape} and {label.shape} for {len(real)} real and {len(generated)} generated images"
        raise InputError(f"KID by label needs a label for each image, got labels of shape {shapes}")
    names, counts = np.unique(real_label, return_counts=True)
    if not np.array_equal(names, np.unique(label)) or min(*counts, *np.unique(label, return_counts=True)[1]) < 2:
        raise InputError("KID by label needs at least 2 real and 2 generated images of each label, and the same labels in both sets")
    values = [mmd2(real[real_label == name], generated[label == name]) for name in names]
    return LabelKID(float(np.mean(values)), float(np.std(values) / len(names) ** 0.5), len(names), len(real), len(generated))


def mmd2(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of (n, D) and (m, D), for the kernel (x . y / D + 1)^3.

    Mean kernel of different images within a, plus the same within b, minus twice that of an image of a and one of b. The pairs
    of an image with itself are left out: they would add a bias of 1/n that rewards nothing but large sets.
    """
    n, m = len(a), len(b)
    within_a, within_b, across = kernel(a, a), kernel(b, b), kernel(a, b)
    mean_a = (within_a.sum() - within_a.trace()) / (n * (n - 1))
    mean_b = (within_b.sum() - within_b.trace()) / (m * (m - 1))
    return mean_a + mean_b - 2 * across.mean()


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(x . y / D + 1)^3 of every row of (n, D) with every row of (m, D): (n, m)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def coverage(real: np.ndarray, generated: np.ndarray, k: int = 5) -> Coverage:
    """Coverage and density (Naeem et al., eq. 3 and 4). real (N, D), generated (M, D).

    Around each real image lies a ball that reaches to its k-th nearest real neighbour. Coverage is the share of balls that hold a
    generated image, density the number of balls that hold it, for a generated image on average, divided by k. Two sets of N from one
    distribution have a coverage of about 1 - 2^-k: k = 5 leaves 3 % to be missed.
    """
    real, generated = checked(real, generated)
    if not 1 <= k < len(real):
        raise InputError(f"k must lie between 1 and {len(real) - 1}, one less than the real images, got {k}")
    covered = hits = 0
    for rows in blocks(len(real)):
        among_real = cdist(real[rows], real)  # (r, N), 0 for an image and itself
        radius = np.partition(among_real, k, axis=1)[:, k]  # (r,)
        inside = cdist(real[rows], generated) < radius[:, None]  # (r, M)
        covered += inside.any(1).sum()
        hits += inside.sum()
    return Coverage(covered / len(real), hits / (k * len(generated)), k, len(real), len(generated))


def label_agreement(log_prob: np.ndarray, label: np.ndarray) -> Agreement:
    """Share of images whose likeliest class, by a classifier's (n, classes), is the label (n,) that they were made for."""
    log_prob, label = np.asarray(log_prob), np.asarray(label)
    if log_prob.ndim != 2 or label.shape != log_prob.shape[:1] or not len(label):
        raise InputError(f"label agreement needs (n, classes) and (n,) with n of at least 1, got shapes {log_prob.shape} and {label.shape}")
    return Agreement(float((log_prob.argmax(1) == label).mean()), len(label))


def checked(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64: sums of cubes lose digits in float32. Raises InputError unless both are (n, D) of one D, n at least 2, and finite."""
    real, generated = (np.asarray(features, dtype=np.float64) for features in (real, generated))
    shapes = f"{real.shape} and {generated.shape}"
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1]:
        raise InputError(f"features must be (n, D) arrays with the same D for real and generated images, got shapes {shapes}")
    if min(len(real), len(generated)) < 2:
        raise InputError(f"at least 2 real and 2 generated images are needed, got shapes {shapes}")
    if not (np.isfinite(real).all() and np.isfinite(generated).all()):
        raise InputError("features must be finite numbers, these hold NaN or infinite ones; look at the images that they come from")
    return real, generated


def blocks(n: int) -> Iterator[slice]:
    """0 .. n-1 in slices of ROWS."""
    return (slice(start, start + ROWS) for start in range(0, n, ROWS))
