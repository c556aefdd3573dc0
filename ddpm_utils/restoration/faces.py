"""Faces in a photograph, which retouching wrinkles of cloth must not touch: found by scikit-image's cascade of local binary patterns.

The cascade (Liao et al. 2007, trained by OpenCV) knows faces that look at the camera; one seen from the side, or half hidden, it doesn't find.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

DETECTION_SIDE = 512  # pixels of the short side that faces are looked for at
LEAST_FACE = 24  # pixels there, the size that the cascade was trained at
ROOM = (0.45, 0.2, 0.3)  # of a found square's size: the forehead and hair above, the chin below, the ears on either side
SOFT = 0.15  # of its size: over which the untouched ground ends


@cache
def _cascade():
    from skimage.data import lbp_frontal_face_cascade_filename  # a second that other commands needn't wait for
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def find_faces(image: np.ndarray) -> list[tuple[int, int, int]]:
    """Faces in image (H, W, 3) uint8: (row, column, size) of a square each, from the eyebrows to the chin."""
    if min(image.shape[:2]) <= LEAST_FACE:
        return []
    found = _cascade().detect_multi_scale(
        img=np.ascontiguousarray(image), scale_factor=1.2, step_ratio=1.2, min_size=(LEAST_FACE,) * 2, max_size=(min(image.shape[:2]),) * 2
    )
    return [(face["r"], face["c"], face["width"]) for face in found]


def away_from_faces(faces: list[tuple[int, int, int]], height: int, width: int) -> Tensor:
    """(height, width): 0 on every head, 1 away from all, a ramp between. faces: as `find_faces` gives them in an image of this size."""
    allowed = torch.ones(height, width)
    above, below, beside = ROOM
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5
    for row, column, size in faces:
        middle_y, middle_x = row + size * (1 + below - above) / 2, column + size / 2
        over_y, over_x = (rows - middle_y).abs() - size * (1 + above + below) / 2, (columns - middle_x).abs() - size * (0.5 + beside)
        allowed = torch.minimum(allowed, (torch.maximum(over_y, over_x) / (SOFT * size)).clamp(0, 1))  # distance to the box
    return allowed
