"""Measures of adherence on images whose truth is known, and the reader that stands in for a truth."""

import numpy as np
import pytest
import torch

from ddpm_utils.control.hinted_images import with_hints
from ddpm_utils.data.images import to_float
from ddpm_utils.data.synthetic.cars import toy_cars
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.car_reader import Reading, train_reader
from ddpm_utils.evaluation.control import MEASURES, agreement, four_rows, hints_of
from ddpm_utils.evaluation.hint_metrics import depth_correlation, mean_iou


@pytest.fixture(scope="module")
def cars():
    return toy_cars(24, 32, seed=5)


def all_knowing(cars):
    """A reader that looks its answers up: for the real images and those in another order."""
    known = {to_float(image[None]).numpy().tobytes(): i for i, image in enumerate(np.array(cars.images))}

    def reader(images):
        rows = [known[image[None].numpy().tobytes()] for image in images]
        return Reading(torch.from_numpy(cars.segmentation[rows]).long(), torch.from_numpy(cars.depth[rows]))

    return reader


@pytest.mark.parametrize("hint", MEASURES)
def test_real_pictures_agree_with_their_hints_and_others_do_not(cars, hint):
    data, images = with_hints(cars, hint), to_float(np.array(cars.images))
    rows = four_rows(hint, images.roll(7, 0), images, data, all_knowing(cars))
    assert all(row.shape == (24,) for row in rows.values())
    assert torch.equal(rows["right"], rows["real"])
    assert torch.equal(four_rows(hint, images, images.roll(7, 0), data, all_knowing(cars))["real"], rows["real"])
    least = {"canny": 1.0, "segmentation": 1.0, "depth": 0.99, "lines": 0.98, "scribble": 0.9}[hint]  # a hand draws beside the edge
    assert rows["real"].mean() >= least
    for other in ("shuffled", "uncontrolled"):
        assert rows[other].mean() < 0.8 * rows["real"].mean()


def test_measures_that_need_a_reader_and_kinds_without_a_measure_say_so(cars):
    data = with_hints(cars, "depth")
    with pytest.raises(InputError, match="a reader must predict the depth"):
        agreement("depth", to_float(np.array(cars.images)), hints_of(data))
    with pytest.raises(InputError, match="not for 'smell'"):
        agreement("smell", to_float(np.array(cars.images)), hints_of(data))


def test_a_reader_learns_parts_and_depths_of_cars_it_has_not_seen():
    """160 steps at 16 px: far from done, but beyond what the same answer for every image scores (0.29 and 0)."""
    cars, others = toy_cars(200, 16, seed=6), toy_cars(40, 16, seed=7)
    images, parts, depth = to_float(np.array(others.images)), torch.tensor(others.segmentation).long(), torch.tensor(others.depth)
    found = train_reader(cars, steps=160)(images)  # scores 0.34 and 0.54
    typical = torch.tensor(cars.segmentation).long().mode(0).values.expand_as(parts)
    assert mean_iou(found.parts, parts).mean() > mean_iou(typical, parts).mean() + 0.02
    mean = torch.tensor(cars.depth).mean(0)
    assert depth_correlation(found.depth - mean, depth - mean).mean() > 0.3
    assert torch.equal(*(train_reader(cars, steps=2)(images[:2]).depth for _ in range(2)))
