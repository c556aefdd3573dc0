"""Chapter 08: does an image follow its hint? Edges matched one to one, recall, mean IoU, correlation of depths."""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from torch import Tensor

from ddpm_utils.data.synthetic.vehicles import PARTS
from ddpm_utils.errors import InputError


class EdgeAgreement(NamedTuple):
    """Of each image, (B,): the share of found edges with a partner in the truth, of true edges with one found, their harmonic mean."""

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
    """The share of each hint's ink (B, 1, H, W) that has an edge of the image within `tolerance` pixels: (B,).

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
    """Pearson's correlation of depths (B, 1, H, W) or (B, H, W) over each image: (B,); 0 where one of them is constant."""
    a, b = (x.double().flatten(1) - x.double().flatten(1).mean(1, keepdim=True) for x in (found, truth))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)).float()


def _edge_pixels(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, H, W) twice -> (B, H, W) twice, bool."""
    if found.shape != truth.shape:
        raise InputError(f"edges must have equal shapes, got {tuple(found.shape)} and {tuple(truth.shape)}")
    return found[:, 0] > 0.5, truth[:, 0] > 0.5


def _matched(found: np.ndarray, truth: np.ndarray, tolerance: int) -> int:
    """The largest number of pairs of edge pixels, one of each image (H, W), that can be made without using a pixel twice."""
    near = cdist(np.argwhere(found), np.argwhere(truth)) <= tolerance
    return int((maximum_bipartite_matching(csr_array(near)) >= 0).sum()) if near.any() else 0
