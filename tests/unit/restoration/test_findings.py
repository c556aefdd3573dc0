"""What is told of a photograph is what retouching goes by."""

import numpy as np
import skimage.data
import torch

from ddpm_utils.restoration.findings import BLUE, findings
from ddpm_utils.restoration.full_resolution import Change


def change(height, width, company=None):
    nothing = torch.zeros(1, height, width)
    return Change(nothing.expand(3, -1, -1), nothing, nothing, company)


def test_faces_are_counted_and_framed():
    image = skimage.data.astronaut()
    told, picture = findings(image, change(512, 512), people=True, cloth=False)
    assert told == "2 faces found", "a glove is taken for one"
    framed = (picture == BLUE).all(-1)
    assert framed[20:210, 120:330].sum() > 4 * 100, "about the astronaut's head"
    assert not framed[80:150, 190:260].any(), "her face itself can be seen"
    assert findings(skimage.data.gravel()[..., None], change(512, 512), True, False)[0] == "no face was found"


def test_cloth_is_where_wrinkles_count():
    company = torch.zeros(1, 64, 96)
    company[:, :, :48] = 0.3
    image = np.full((128, 192, 3), 100, np.uint8)
    told, picture = findings(image, change(64, 96, company), people=False, cloth=True)
    assert told == "wrinkles count on 50.0% of the photograph"
    assert (picture[:, :90, 1] > picture[:, :90, 0]).all(), "green"
    assert (picture[:, 102:] == 100).all()
