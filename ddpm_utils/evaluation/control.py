"""Chapter 08: do generated toy cars follow their hints?

Four rows are compared: the base without a control and the right hint, which must differ; shuffled hints, the same images measured against
the hints of other cars, for what chance gives; real images, for what is possible.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ddpm_utils.control.controlnet import ControlNet, controlled
from ddpm_utils.control.hinted_images import HintedSet
from ddpm_utils.control.hints import canny
from ddpm_utils.data.images import to_float
from ddpm_utils.errors import InputError
from ddpm_utils.evaluation.car_reader import CarReader
from ddpm_utils.evaluation.hint_metrics import depth_correlation, edge_agreement, edge_recall, mean_iou
from ddpm_utils.generate import generate, start_noise
from ddpm_utils.models import Model

MEASURES = {
    "canny": "edge F1 at 1 px",
    "lines": "line recall at 1 px",
    "scribble": "ink recall at 1 px",
    "segmentation": "mIoU of parts",
    "depth": "correlation of depths, less their mean",
}


def agreement(hint: str, images: Tensor, hints: Tensor, reader: CarReader | None = None) -> Tensor:
    """How well each image (B, 3, H, W) in [-1, 1] follows its hint (B, c, H, W), by the measure of this kind of hint: (B,).

    Depths are compared after the mean of all hints is taken away: what every image has, near below and far above, is no merit.
    reader: predicts parts and depths, needed for segmentation and depth.
    """
    if hint == "canny":
        return edge_agreement(canny(images), hints).f1
    if hint == "lines":
        return edge_recall(canny(images, sigma=1.0), hints)  # the edges that lines are found in
    if hint == "scribble":
        return edge_recall(canny(images, sigma=1.5), hints)  # nearly those that scribbles are drawn after
    if hint not in MEASURES:
        raise InputError(f"there are measures for {', '.join(MEASURES)}, not for {hint!r}")
    if reader is None:
        raise InputError(f"a reader must predict the {hint} of generated images; train one with train_reader")
    found = reader(images)
    if hint == "segmentation":
        return mean_iou(found.parts, hints.argmax(1))
    typical = hints.mean(0)  # (1, H, W)
    return depth_correlation(found.depth - typical, hints[:, 0] - typical)


def hints_of(cars: HintedSet) -> Tensor:
    """(N, c, H, W) float32 in [0, 1]."""
    return to_float(cars.hints, (0.0,), (1.0,))


@torch.no_grad()
def draw(base: Model, labels: Tensor, controls: Sequence[tuple[ControlNet, Tensor, float]] = (), steps: int = 20, seed: int = 0) -> Tensor:
    """Images (N, 3, H, W) in [-1, 1] of these labels (N,), drawn by DDIM with the controls; the noise depends on the seed alone."""
    network = controlled(base.network, controls) if controls else base.network
    *_, last = generate(network, base.config, start_noise(base.config, len(labels), seed), labels, steps=steps)
    return last.x.cpu()


def four_rows(hint: str, plain: Tensor, right: Tensor, cars: HintedSet, reader: CarReader | None = None) -> dict[str, Tensor]:
    """The agreement (N,) of each row. plain: drawn without the control, right: with the hints of `cars`, both (N, 3, H, W)."""
    hints = hints_of(cars)
    return {
        "uncontrolled": agreement(hint, plain, hints, reader),
        "right": agreement(hint, right, hints, reader),
        "shuffled": agreement(hint, right.roll(1, 0), hints, reader),
        "real": agreement(hint, to_float(np.array(cars.images)), hints, reader),
    }
