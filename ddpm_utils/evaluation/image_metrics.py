"""Chapter 06: full-reference metrics, how far an image is from its target, as pure functions of arrays.

Images are (H, W, C), uint8 or float, masks (H, W) bool. `data_range` is the distance between black and white, 255 for uint8 and 1 for floats
in [0, 1]; it is never guessed. All arithmetic is float64: uint8 differences would wrap around.

Equations: PSNR = 10 log10(data_range^2 / MSE); SSIM of Wang et al. 2004 (Gaussian window, sigma 1.5).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from skimage import metrics as skimage_metrics  # lazy: costs nothing until used

from ddpm_utils.errors import InputError

PSNR_CAP = 60.0  # dB; below the error of rounding to 8 bits (1/12 of a squared level: 58.9 dB) no difference can be seen
SSIM_WINDOW = 11  # pixels: a Gaussian of sigma 1.5, cut at 3.5 sigma


class Overlap(NamedTuple):
    """How well a predicted mask meets the true one, each 0..1, NaN for a share of nothing."""

    precision: float  # share of the predicted pixels that are true
    recall: float  # share of the true pixels that are predicted
    iou: float  # of the pixels in either mask, the share in both


def psnr(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio of two images in dB; inf for equal ones."""
    return psnr_in(a, b, np.ones(a.shape[:2], bool), data_range)


def psnr_in(a: np.ndarray, b: np.ndarray, mask: np.ndarray, data_range: float) -> float:
    """PSNR over the pixels where `mask` is true, and over nothing else; NaN for an empty mask.

    The mean square error is divided by the number of masked values. Setting the others to zero and dividing by all of them would
    flatter a mask that covers the share s of the image by 10 log10(1/s): 13 dB at 5 %.
    """
    check_same_shape(a, b, mask)
    if data_range <= 0:
        raise InputError(f"data_range must be positive (255 for uint8, 1 for values in 0..1), got {data_range}")
    if not mask.any():
        return np.nan
    mse = np.square(a[mask].astype(np.float64) - b[mask]).mean()
    return np.inf if mse == 0 else 10 * np.log10(data_range**2 / mse)


def mean_psnr(values: Iterable[float]) -> float:
    """The field's convention, the mean over images of each image's PSNR, with every value above PSNR_CAP counted as PSNR_CAP.

    So an exact image (inf) can't hide the others, and making one image better never lowers the mean. NaN (an empty mask) is left out:
    count those. inf ("exact") if every image is exact, NaN if there is none.
    """
    values = np.array([v for v in values if not np.isnan(v)], np.float64)
    if not len(values):
        return np.nan
    return np.inf if np.isinf(values).all() else np.minimum(values, PSNR_CAP).mean()


def ssim(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    """Structural similarity of two images, mean over channels, 1 for equal ones; scikit-image's, set as in Wang et al. 2004."""
    check_same_shape(a, b)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise InputError(f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {a.shape[1]} x {a.shape[0]}")
    # float64 first: scikit-image would compute float32 images in float32
    a, b = a.astype(np.float64), b.astype(np.float64)
    return skimage_metrics.structural_similarity(
        a, b, data_range=data_range, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


def gradient_ratio(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Gradient energy of the output over that of the target inside the mask: sum |grad output|^2 / sum |grad target|^2.

    1 is right, below 1 the output is smoother than the target (weave and prints are gone too), above 1 something is still there that should
    not be. A blur that halves every gradient gives 0.25. NaN for an empty mask or a target without any gradient in it.
    """
    check_same_shape(output, target, mask)
    of_target = _gradient_energy(target)[mask].sum()
    return _gradient_energy(output)[mask].sum() / of_target if of_target > 0 else np.nan


def bit_identical_share(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Share of the pixels whose channels are all equal, of those in the mask if there is one; NaN for an empty mask."""
    check_same_shape(a, b, mask)
    equal = (a == b).all(-1)
    equal = equal if mask is None else equal[mask]
    return equal.mean() if equal.size else np.nan


def overlap(predicted: np.ndarray, true: np.ndarray) -> Overlap:
    """Precision, recall and IoU of masks of any one shape, all images' pixels pooled."""
    both = np.count_nonzero(predicted & true)
    sizes = np.count_nonzero(predicted), np.count_nonzero(true), np.count_nonzero(predicted | true)
    return Overlap(*(both / size if size else np.nan for size in sizes))


def check_same_shape(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> None:
    """InputError unless both images, and the mask, are of one size."""
    if a.shape != b.shape:
        raise InputError(f"images that are compared must be of one shape, got {a.shape} and {b.shape}")
    if mask is not None and (mask.shape != a.shape[:2] or mask.dtype != bool):
        raise InputError(f"a mask must be bool of shape {a.shape[:2]}, got {mask.dtype} of shape {mask.shape}")


def _gradient_energy(image: np.ndarray) -> np.ndarray:
    """|grad|^2 by central differences, summed over channels: (H, W, C) -> (H, W)."""
    down, right = np.gradient(image.astype(np.float64), axis=(0, 1))
    return (down**2 + right**2).sum(-1)
