"""Measures of adherence on hand-made cases, and against another algorithm."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from ddpm_utils.control.hints import canny
from ddpm_utils.data.images import to_float
from ddpm_utils.data.synthetic.cars import toy_cars
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.hint_metrics import depth_correlation, edge_agreement, edge_recall, mean_iou


@pytest.fixture
def cars():
    return toy_cars(12, 32, seed=2)


def dots(*places, size=12):
    edges = torch.zeros(1, 1, size, size)
    for row, column in places:
        edges[0, 0, row, column] = 1
    return edges


@pytest.mark.parametrize(
    ("found", "truth", "precision", "recall", "f1"),
    [
        (dots((3, 3)), dots((3, 3)), 1, 1, 1),
        (dots((3, 3)), dots((3, 4)), 1, 1, 1),  # one pixel off
        (dots((3, 3)), dots((4, 4)), 0, 0, 0),  # diagonally: 1.4 pixels off
        (dots((3, 3)), dots((3, 5)), 0, 0, 0),  # two pixels off
        (dots((3, 3), (8, 8)), dots((3, 3)), 0.5, 1, 2 / 3),
        (dots((3, 3)), dots((3, 3), (8, 8), (9, 1), (1, 9)), 1, 0.25, 0.4),
        (dots((3, 2), (3, 3), (3, 4)), dots((3, 3)), 1 / 3, 1, 0.5),  # all three are near, only one has a partner
        (dots((3, 3), (3, 4)), dots((3, 2), (3, 3)), 1, 1, 1),  # only if (3, 3) leaves (3, 3) to (3, 4)
        (dots((3, 3)), dots(), 0, 0, 0),
        (dots(), dots((3, 3)), 0, 0, 0),
        (dots(), dots(), 1, 1, 1),
    ],
)
def test_edge_agreement_by_hand(found, truth, precision, recall, f1):
    agreement = edge_agreement(found, truth)
    assert [v.item() for v in agreement] == pytest.approx([precision, recall, f1])
    assert edge_recall(found, truth).item() == pytest.approx(recall)


def test_edges_are_matched_as_by_an_assignment_of_least_cost(cars):
    """Another algorithm: the Hungarian one, where a pair within a pixel costs 0 and any other 1."""
    edges = canny(to_float(np.array(cars.images)))
    found, truth = edges.roll(1, 0), edges
    for a, b, f1 in zip(found[:, 0].numpy(), truth[:, 0].numpy(), edge_agreement(found, truth).f1, strict=True):
        rows, columns = np.argwhere(a > 0.5), np.argwhere(b > 0.5)
        costs = np.abs(rows[:, None] - columns).sum(-1) > 1
        matched = (~costs[linear_sum_assignment(costs)]).sum()
        assert f1.item() == pytest.approx(2 * matched / (len(rows) + len(columns)), abs=1e-6)


def test_ink_is_met_by_edges_within_a_pixel_however_many_there_are():
    found, hint = dots((3, 3), (9, 9)), dots((3, 2), (3, 3), (3, 4), (4, 4))
    assert edge_recall(found, hint).item() == pytest.approx(3 / 4)
    assert edge_recall(torch.cat([found, dots(), dots()]), torch.cat([dots(), dots(), hint])).tolist() == [0, 1, 0]


def test_edge_agreement_is_of_each_picture_and_counts_edges_above_a_half():
    found, truth = torch.cat([dots((3, 3)), 0.4 * dots((3, 3))]), torch.cat([dots((3, 3))] * 2)
    assert edge_agreement(found, truth).f1.tolist() == [1, 0]
    assert edge_agreement(dots((3, 3)), dots((3, 5)), tolerance=2).f1.item() == 1
    with pytest.raises(InputError, match="equal shapes"):
        edge_agreement(dots(), dots(size=8))


def test_mean_iou_by_hand():
    """Halves against quarters: class 0 has 1 of 2 quarters in common, class 1 has 2 of 3; class 2 is in neither."""
    truth = torch.tensor([[[0, 0], [1, 1]]])
    found = torch.tensor([[[0, 1], [1, 1]]])
    assert mean_iou(found, truth, 3).item() == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert mean_iou(truth, truth, 3).item() == 1
    assert mean_iou(1 - truth, truth, 3).item() == 0
    assert mean_iou(torch.cat([found, truth]), torch.cat([truth, truth]), 2).tolist() == pytest.approx([7 / 12, 1])


def test_depth_correlation_by_hand():
    depth = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert depth_correlation(0.3 * depth + 0.2, depth).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert depth_correlation(1 - depth, depth).tolist() == pytest.approx([-1, -1, -1], abs=1e-6)
    assert depth_correlation(torch.full_like(depth, 0.5), depth).tolist() == [0, 0, 0]
    expected = np.corrcoef(depth[0].ravel(), depth[1].ravel())[0, 1]
    assert depth_correlation(depth[:1, 0], depth[1:2, 0]).item() == pytest.approx(expected, abs=1e-6)
