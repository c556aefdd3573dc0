"""Chapter 08: hints, pictures that say what a generated image should look like, and measures of how well it follows them.

A hint is (B, c, H, W) float32 in [0, 1] at the size of the image that it belongs to. `HINTS` names those that are drawn from an image
(B, 3, H, W) in [-1, 1]; each is a function of the image alone, whatever else is in the batch. Segmentation and depth are exact, so that
they need images whose parts are known: the toy cars. Any other function of images will do, and a folder of hint images.
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from torch import Tensor
from tqdm import tqdm

from ddpm_utils.data import ImageSet, fit, list_images, to_float
from ddpm_utils.errors import InputError
from ddpm_utils.synthetic.cars import CarSet
from ddpm_utils.synthetic.vehicles import PARTS

Hint = Callable[[Tensor], Tensor]  # (B, C, H, W) in [-1, 1] -> (B, c, H, W) in [0, 1]


# --- hints drawn from images ---


def canny(images: Tensor, sigma: float = 2.0) -> Tensor:
    """Edges as Canny (1986) finds them on the grey image: (B, C, H, W) -> (B, 1, H, W), 0 or 1.

    sigma: of the Gaussian before it, in pixels; more gives fewer edges. At 1, edges cover a seventh of a picture of 32 px, so that those of
    any two pictures agree by chance for a good part, and a measure can hardly tell whether a hint is followed.
    """
    return _stacked([_edges(grey, sigma) for grey in _grey(images)])


def lines(images: Tensor) -> Tensor:
    """Straight pieces of the edges, found by the probabilistic Hough transform and drawn antialiased: (B, C, H, W) -> (B, 1, H, W)."""
    from skimage.draw import line_aa
    from skimage.transform import probabilistic_hough_line

    drawn = []
    for grey in _grey(images):
        side, canvas = min(grey.shape), np.zeros(grey.shape, np.float32)
        least = max(4, side // 6)
        found = probabilistic_hough_line(_edges(grey, 1.0), threshold=least, line_length=least, line_gap=1 + side // 64, rng=0)
        for (x0, y0), (x1, y1) in found:
            row, column, value = line_aa(y0, x0, y1, x1)
            inside = (row >= 0) & (row < grey.shape[0]) & (column >= 0) & (column < grey.shape[1])
            row, column = row[inside], column[inside]
            canvas[row, column] = np.maximum(canvas[row, column], value[inside])
        drawn.append(canvas)
    return _stacked(drawn)


def scribble(images: Tensor, seed: int = 0) -> Tensor:
    """Edges as a hand would draw them: the long ones, smoothed, a little off, with a pen of random thickness. -> (B, 1, H, W).

    The hand's randomness depends on (seed, image) alone.
    """
    drawn = []
    for grey in _grey(images):
        rng = np.random.default_rng([seed, zlib.crc32((grey * 255).round().astype(np.uint8).tobytes())])
        side = min(grey.shape)
        pieces, n = ndimage.label(_edges(grey, 1.2 + side / 128), np.ones((3, 3)))
        lengths = np.bincount(pieces.ravel(), minlength=n + 1)
        kept = (lengths >= side / 6)[pieces] & (pieces > 0)
        away = ndimage.distance_transform_edt(~kept) if kept.any() else np.full(grey.shape, np.inf)
        waver = [ndimage.gaussian_filter(rng.standard_normal(grey.shape), side / 10, mode="wrap") for _ in range(2)]
        waver = [w / (w.std() + 1e-9) * side / 80 for w in waver]  # pixels
        away = ndimage.map_coordinates(away, np.indices(grey.shape) + waver, order=1, mode="nearest") if kept.any() else away
        thickness = rng.uniform(0.4, 1.3) * max(1.0, side / 48)
        drawn.append(np.clip(thickness + 0.5 - away, 0, 1))
    return _stacked(drawn)


HINTS: dict[str, Hint] = {"canny": canny, "lines": lines, "scribble": scribble}
EXACT = ("segmentation", "depth")  # of toy cars


def one_hot(segmentation: np.ndarray, classes: int = len(PARTS)) -> Tensor:
    """Part numbers (B, H, W) -> (B, classes, H, W), 1 in the channel of the pixel's part."""
    return torch.nn.functional.one_hot(torch.from_numpy(np.asarray(segmentation, np.int64)), classes).permute(0, 3, 1, 2).float()


def _grey(images: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> (B, H, W) in [0, 1], as bright as an eye sees it."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"hints are drawn from images (B, 3, H, W) or (B, 1, H, W), got shape {tuple(images.shape)}")
    weights = torch.tensor([0.299, 0.587, 0.114] if images.shape[1] == 3 else [1.0])
    grey = (images.detach().float().cpu() * weights[:, None, None]).sum(1)
    return (grey.clamp(-1, 1) / 2 + 0.5).numpy()


def _edges(grey: np.ndarray, sigma: float) -> np.ndarray:
    from skimage.feature import canny as detect

    return detect(grey, sigma, low_threshold=0.1, high_threshold=0.2, mode="nearest")


def _stacked(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures).astype(np.float32))[:, None]


# --- hints that a user brings ---


def user_scribble(picture: np.ndarray, size: int) -> Tensor:
    """What somebody drew, as a hint (1, 1, size, size): white on black, whatever the colours were.

    picture: (H, W), (H, W, 3) or (H, W, 4), uint8 or float in 0 .. 1. With transparency the ink is what isn't transparent; without, what
    differs from the most frequent brightness, which is taken for the paper.
    """
    picture = np.asarray(picture)
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (3, 4)) or min(picture.shape[:2]) < 1:
        raise InputError(f"a scribble must be (H, W), (H, W, 3) or (H, W, 4), got shape {picture.shape}")
    values = picture / 255 if picture.dtype == np.uint8 else picture.astype(np.float64)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise InputError(f"a scribble must be uint8 or lie in 0 .. 1, got values from {values.min():g} to {values.max():g}")
    if picture.ndim == 3 and picture.shape[2] == 4 and values[..., 3].min() < 1:
        ink = values[..., 3]
    else:
        grey = values[..., :3].mean(-1) if picture.ndim == 3 else values
        paper = np.bincount((grey * 255).round().astype(int).ravel()).argmax() / 255
        ink = np.abs(grey - paper)
        ink = ink / max(ink.max(), 1e-9) if ink.max() > 0.05 else np.zeros_like(ink)  # less is paper's own unevenness
    small = np.asarray(fit(Image.fromarray(ink.astype(np.float32)), size)).clip(0, 1)
    return _stacked([small / max(small.max(), 1e-9) if small.max() > 0.05 else small])


def folder_hints(folder: str | Path, images: str | Path, size: int) -> np.ndarray:
    """The hint image of each image, matched by the names without their endings: (N, size, size, c) uint8, c = 1 if all are grey, else 3.

    images: the folder that the images were loaded from; the order is that of `load_images`. Pictures with a palette, as segmentations
    often are, keep their colours (nearest neighbour); others are scaled as images are. Raises InputError for a missing or doubled name.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"a hint must be one of {', '.join([*HINTS, *EXACT])} or a folder of hint images, got {str(folder)!r}")
    images = Path(images).expanduser()
    if not images.is_dir():
        raise InputError(f"a folder of hint images needs a folder of images, got {str(images)!r}")
    by_stem: dict[str, Path] = {}
    for path in list_images(folder)[0]:
        if by_stem.setdefault(path.stem, path) != path:
            raise InputError(f"{str(folder)!r} holds two hint images named {path.stem!r}; rename one of them")
    wanted = [path.stem for path in list_images(images)[0]]
    if missing := [stem for stem in wanted if stem not in by_stem]:
        raise InputError(
            f"{len(missing)} images have no hint image of the same name in {str(folder)!r}, the first is {missing[0]!r}; add them"
        )
    pictures = []
    for stem in wanted:
        with Image.open(by_stem[stem]) as image:
            small = fit(image.convert("RGB"), size) if image.mode != "P" else _nearest(image, size)
            pictures.append(np.asarray(small))
    stack = np.stack(pictures)
    return stack[..., :1] if (stack == stack[..., :1]).all() else stack


def _nearest(image: Image.Image, size: int) -> Image.Image:
    """Like data.fit, with nearest neighbours."""
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    scaled = image.convert("RGB").resize((wide, high), Image.Resampling.NEAREST)
    left, top = (wide - size) // 2, (high - size) // 2
    return scaled.crop((left, top, left + size, top + size))


# --- images with their hints ---


@dataclass(frozen=True)
class HintedSet(ImageSet):
    """An ImageSet with the hint of each image, (N, H, W, c) uint8; training hides this share of them, each by itself."""

    hints: np.ndarray | None = None
    dropout: float = 0.0

    @property
    def hint_channels(self) -> int:
        return self.hints.shape[3]

    @cached_property
    def digest(self) -> str:
        """Like ImageSet's, of images and hints."""
        parts = ImageSet(self.images, self.labels).digest, ImageSet(self.hints).digest, repr(self.dropout)
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def with_hints(data: ImageSet, hint: str | Hint, dropout: float = 0.0, images: str | Path = "") -> HintedSet:
    """The images with their hints: a name of HINTS or EXACT, a function like those of HINTS, or a folder of hint images.

    images: where `data` came from, needed for a folder.
    """
    if not 0 <= dropout < 1:
        raise InputError(f"the share of hints that are dropped must lie in [0, 1), got {dropout}")
    if hint in EXACT:
        if not isinstance(data, CarSet):
            raise InputError(f"the hint {hint!r} is known exactly of toy-cars only; for other images pass a folder of hint images")
        hints = _uint8(one_hot(data.segmentation)) if hint == "segmentation" else (data.depth * 255).round().astype(np.uint8)[..., None]
    elif callable(hint) or hint in HINTS:
        draw = HINTS[hint] if isinstance(hint, str) else hint
        chunks = range(0, len(data), 256)
        bar = tqdm(chunks, desc="drawing hints", unit="chunk", leave=False, disable=None)
        hints = np.concatenate([_uint8(draw(to_float(np.array(data.images[i : i + 256])))) for i in bar])
    else:
        hints = folder_hints(hint, images, data.size)
    if hints.shape[:3] != data.images.shape[:3]:
        raise InputError(f"hints must have the number and size of the images, {data.images.shape[:3]}, got {hints.shape[:3]}")
    return HintedSet(data.images, data.labels, data.classes, hints, dropout)


def _uint8(hint: Tensor) -> np.ndarray:
    """(B, c, H, W) in [0, 1] -> (B, H, W, c) uint8."""
    return (hint * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


# --- adherence: does the image do what the hint says? ---


class EdgeAgreement(NamedTuple):
    """Of each picture, (B,): the share of found edges with a partner in the truth, of true edges with one found, their harmonic mean."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def edge_agreement(found: Tensor, truth: Tensor, tolerance: int = 1) -> EdgeAgreement:
    """How well thin edges agree, (B, 1, H, W) each, an edge being above 0.5: pixels are matched one to one, as many as can be, at
    distances of at most `tolerance` pixels (as Martin, Fowlkes, Malik 2004 score boundaries). So one edge can't stand for two beside it.

    A distance of 1 reaches the four neighbours, and not the diagonal ones. No edges in both is perfect agreement, none in one of them is 0.
    """
    found, truth = _edge_pixels(found, truth)
    matched = torch.tensor([_matched(a, b, tolerance) for a, b in zip(found.cpu().numpy(), truth.cpu().numpy(), strict=True)])
    n_found, n_truth = found.sum((1, 2)).cpu(), truth.sum((1, 2)).cpu()
    shares = [(matched / n.clamp(min=1)).where(n_found + n_truth > 0, torch.ones(())) for n in (n_found, n_truth, (n_found + n_truth) / 2)]
    return EdgeAgreement(*shares)


def edge_recall(found: Tensor, hint: Tensor, tolerance: int = 1) -> Tensor:
    """The share of each hint's ink (B, 1, H, W) that has an edge of the picture within `tolerance` pixels: (B,).

    For hints that leave things out or are thick, as lines and scribbles are: what is found beside them is no mistake.
    """
    found, hint = _edge_pixels(found, hint)
    near = [ndimage.distance_transform_edt(~edges) <= tolerance if edges.any() else edges for edges in found.cpu().numpy()]
    met, ink = (hint & torch.from_numpy(np.stack(near)).to(hint.device)).sum((1, 2)), hint.sum((1, 2))
    return torch.where(ink > 0, met / ink.clamp(min=1), (~found.any(2).any(1)).float())


def mean_iou(found: Tensor, truth: Tensor, classes: int = len(PARTS)) -> Tensor:
    """Intersection over union of part numbers (B, H, W), averaged over the classes that are in either: (B,)."""
    ids = torch.arange(classes)[:, None, None, None]
    a, b = found[None] == ids, truth[None] == ids  # (classes, B, H, W)
    both, either = (a & b).sum((2, 3)).double(), (a | b).sum((2, 3)).double()
    return ((both / either.clamp(min=1)).sum(0) / (either > 0).sum(0)).float()


def depth_correlation(found: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation of depths (B, 1, H, W) or (B, H, W) over each picture: (B,); 0 where one of them is constant."""
    a, b = (x.double().flatten(1) - x.double().flatten(1).mean(1, keepdim=True) for x in (found, truth))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)).float()


def _edge_pixels(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, H, W) twice -> (B, H, W) twice, bool."""
    if found.shape != truth.shape:
        raise InputError(f"edges must have equal shapes, got {tuple(found.shape)} and {tuple(truth.shape)}")
    return found[:, 0] > 0.5, truth[:, 0] > 0.5


def _matched(found: np.ndarray, truth: np.ndarray, tolerance: int) -> int:
    """The largest number of pairs of edge pixels, one of each picture (H, W), that can be made without using a pixel twice."""
    near = cdist(np.argwhere(found), np.argwhere(truth)) <= tolerance
    return int((maximum_bipartite_matching(csr_array(near)) >= 0).sum()) if near.any() else 0
