"""Chapter 06: where the cloth is in photographs of single garments, for fold-pairs: the command cloth-masks.

GrabCut (Rother et al. 2004) fits mixtures of colours to garment and ground, beginning from a guess: a garment lies in the middle, the border is
ground. It is begun twice, from a large and a small rectangle; where both ends agree, the mask is right (of 4,494 photographs of the CC0 set
"clothes" three in four; 144 of these were looked at, nearly all right). The others are left out. Needs OpenCV.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from ddpm_utils.data.folders import find_images
from ddpm_utils.data.images import read_rgb
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import atomic_write, check_folder_can_be
from ddpm_utils.runtime.processes import process_pool

SHORT = 192  # pixels of the short side that masks are made at
INSETS = (0.12, 0.25)  # of the rectangle that a garment is looked for in first, as shares of height and width
CENTRE, RIM = 0.16, 0.03  # shares of the frame that are cloth and ground for certain: its middle, its border
ROUNDS = 5  # of GrabCut
AGREED = 0.93  # least intersection over union of the two ends
SHARES = (0.12, 0.8)  # of the frame that a garment fills at least and at most
UNSURE, BROKEN, MADE = "unsure", "broken", "made"


def cloth_masks(photographs: Path, out: Path) -> str:
    """Write a mask of each garment into `out`, NAME.png, white where its cloth is; returns a sentence. Those that are there already are kept.

    photographs: a folder of photographs of single garments, laid flat or hung up. The same photograph gives the same mask, in any process.
    Raises InputError for no photograph, for two of one name, and where OpenCV isn't installed.
    """
    _check_opencv()
    files = find_images(photographs).files
    [(name, count)] = Counter(path.stem for path in files).most_common(1)
    if count > 1:
        raise InputError(f"masks are named after their photographs, and {count} photographs in {str(photographs)!r} are named {name!r}")
    check_folder_can_be(out)
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(path, out / f"{path.stem}.png") for path in files if not (out / f"{path.stem}.png").exists()]
    with process_pool() as pool:
        ends = Counter(tqdm(pool.map(_write_mask, jobs, chunksize=8), "making masks", len(jobs), leave=False, disable=None))
    masks = len(files) - ends[UNSURE] - ends[BROKEN]
    broken = f", {ends[BROKEN]} can't be read" if ends[BROKEN] else ""
    return f"{masks} masks of {len(files)} photographs; of {ends[UNSURE]} it isn't clear where the garment ends{broken}"


def _check_opencv() -> None:
    try:
        import cv2  # noqa: F401  only here: nothing else needs it installed
    except ModuleNotFoundError as error:
        raise InputError(
            "cloth-masks needs the package opencv-python-headless, which is not installed; run `pip install opencv-python-headless`"
        ) from error


def _write_mask(job: tuple[Path, Path]) -> str:
    """Make the mask of a photograph and write it, where it is clear; how that ended."""
    photograph, place = job
    try:
        image = read_rgb(photograph)
    except (InputError, OSError):
        return BROKEN
    mask = garment_mask(image)
    if mask is None:
        return UNSURE
    with atomic_write(place) as file:
        Image.fromarray(mask).save(file, "PNG")
    return MADE


def garment_mask(image: Image.Image) -> np.ndarray | None:
    """(h, w) bool at a short side of SHORT pixels, True on the garment; None where two starts disagree, or find next to nothing."""
    size = tuple(round(side * SHORT / min(image.size)) for side in image.size)
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
    wide, narrow = (_grabcut(pixels, inset) for inset in INSETS)
    both, either = (wide & narrow).sum(), (wide | narrow).sum()
    return wide if both > AGREED * either and SHARES[0] < wide.mean() < SHARES[1] else None


def _grabcut(pixels: np.ndarray, inset: float) -> np.ndarray:
    """(h, w) bool: what GrabCut takes for the garment in pixels (h, w, 3) uint8, from a rectangle with this inset; without crumbs and holes."""
    import cv2

    height, width = pixels.shape[:2]

    def middle(share: float) -> tuple[slice, slice]:
        return tuple(slice(int(side * share), int(side * (1 - share))) for side in (height, width))

    guess = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    guess[middle(inset)] = cv2.GC_PR_FGD
    border = np.ones((height, width), bool)
    border[middle(RIM)] = False
    guess[border] = cv2.GC_BGD
    guess[middle((1 - CENTRE) / 2)] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # its first mixtures are drawn
    cv2.setNumThreads(1)
    cv2.grabCut(pixels, guess, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = ndimage.binary_opening((guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD), np.ones((5, 5)))
    parts, _ = ndimage.label(found)
    largest = np.bincount(parts.ravel())[1:]
    return ndimage.binary_closing(parts == 1 + largest.argmax(), np.ones((7, 7))) if largest.size else found
