"""The site retouches as Python does, faces apart: what surrounds the network, against the package's with the same network's output."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from javascript import javascript
from scipy import ndimage

from ddpm_utils.data.images import to_float
from ddpm_utils.models import load_model, shipped
from ddpm_utils.restoration import company as python
from ddpm_utils.restoration.formulations import gate
from ddpm_utils.restoration.full_resolution import Change, apply_change, fitted, working_size
from ddpm_utils.restoration.settings import RetouchSettings


@pytest.fixture(scope="module")
def around():
    """What the build tells the page of the shipped model."""
    sys.path.append(str(Path(__file__).parents[2] / "site"))
    from site_models import around

    return around(load_model(shipped("retouch")).config)


@pytest.fixture(scope="module")
def seen():
    """A photograph (H, W, 3) at the network's scale and a mask with patches in it."""
    import skimage.data
    from PIL import Image

    image = np.array(Image.fromarray(skimage.data.coffee()).reduce(2))
    noise = np.random.default_rng(0).standard_normal(image.shape[:2])
    smooth = ndimage.gaussian_filter(noise, 12)
    return image, (0.5 + 0.5 * np.tanh(3 * smooth / smooth.std())).astype(np.float32)


def test_a_gaussian_is_scipys(seen):
    field = seen[1]
    height, width = field.shape
    for sigma in (0.8, 6.0, 24.0):
        mine = javascript("return (await load('company.js')).gaussian(field, w, h, s);", field=field, w=width, h=height, s=sigma)
        np.testing.assert_allclose(mine.reshape(height, width), ndimage.gaussian_filter(field, sigma), rtol=0, atol=1e-6)


def test_company_is_pythons(seen, around):
    image, mask = seen
    height, width = mask.shape
    mine = javascript(
        "return (await load('company.js')).company(mask, rgb, w, h, fixed);", mask=mask, rgb=image, w=width, h=height, fixed=around
    )
    expected = python.company(mask, image)
    assert 0.05 < (expected > 0).mean() < 0.95, "a case that decides nothing"
    np.testing.assert_allclose(mine.reshape(height, width), expected, rtol=0, atol=1e-4)


def test_the_change_of_a_networks_output_is_pythons(seen, around):
    image, mask = seen
    height, width = mask.shape
    random = np.random.default_rng(1)
    residual = ndimage.gaussian_filter(random.standard_normal((3, height, width)), (0, 3, 3)).astype(np.float32)
    output = np.concatenate([2 * residual, np.log(mask / (1 - mask))[None].clip(-9, 9)]).astype(np.float32)
    source = to_float(image[None])
    # this network says the same whatever it is shown, of a photograph as of its mirror image
    fields = (gated(output, source) + gated(output, source.flip(-1)).flip(-1)) / 2
    change = Change(*fields.split([3, 1, 1]))
    expected = fitted(change, source, image, RetouchSettings(faces=True))
    multiple = [side + -side % 16 for side in (height, width)]
    padded = np.pad(output, ((0, 0), (0, multiple[0] - height), (0, multiple[1] - width)), mode="edge")
    rgba = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    mine = javascript(
        """const { predictChange, applyChange } = await load('restoration.js'); const photograph = { rgba, width, height };
        const change = await predictChange(photograph, async () => output, around);
        return [change.residual, change.mask, applyChange(photograph, change, 0.7, null)];""",
        rgba=rgba,
        width=width,
        height=height,
        output=padded,
        around=around,
    )
    np.testing.assert_allclose(mine[0].reshape(3, height, width), expected.residual.numpy(), rtol=0, atol=2e-5)
    np.testing.assert_allclose(mine[1].reshape(1, height, width), expected.mask.numpy(), rtol=0, atol=1e-4)
    after, should = mine[2]["rgba"].reshape(height, width, 4), apply_change(image, expected.residual, 0.7)
    differs = np.abs(after[..., :3].astype(int) - should)
    assert differs.max() <= 1
    assert (differs > 0).mean() <= 1e-4
    assert mine[2]["changed"] == (after[..., :3] != image).any(2).sum()


def gated(output: np.ndarray, source: torch.Tensor) -> torch.Tensor:
    """(5, h, w): the residual through its gate, the mask and no spread, of a network's output (4, h, w)."""
    probability = torch.from_numpy(output[3:]).sigmoid()
    residual = (source[0] + 0.1 * torch.from_numpy(output[:3])).clamp(-1, 1) - source[0]
    return torch.cat([gate(probability) * residual, probability, torch.zeros_like(probability)])


def test_the_residual_is_enlarged_and_kept_where_it_is_allowed():
    random = np.random.default_rng(2)
    image = random.integers(0, 256, (90, 140, 3), dtype=np.uint8)
    residual = (0.1 * random.standard_normal((3, 18, 28))).astype(np.float32)
    allowed = np.zeros((9, 14), np.uint8)
    allowed[:, 5:] = 255
    mine = javascript(
        """const { applyChange } = await load('restoration.js');
        const change = { residual, mask: residual, width: 28, height: 18 };
        return applyChange({ rgba, width: 140, height: 90 }, change, 1, { values: allowed, width: 14, height: 9 }).rgba;""",
        rgba=np.dstack([image, np.full((90, 140), 255, np.uint8)]),
        residual=residual,
        allowed=allowed,
    ).reshape(90, 140, 4)[..., :3]
    mask = np.repeat(np.repeat(allowed, 10, 0), 10, 1) / np.float32(255)
    differs = np.abs(mine.astype(int) - apply_change(image, torch.from_numpy(residual), 1.0, mask))
    assert differs.max() <= 1
    assert (differs > 0).mean() <= 1e-4
    np.testing.assert_array_equal(mine[:, :50], image[:, :50])


def test_sizes_are_pythons_and_what_is_too_large_or_too_small_is_refused(around):
    sizes = [(6000, 4000), (512, 512), (300, 200), (1025, 517), (4032, 3024), (20000, 512)]
    mine = javascript(
        "const { workingSize } = await load('restoration.js'); return sizes.map(([w, h]) => workingSize(w, h, 512));", sizes=sizes
    )
    assert [SimpleNamespace(**size) for size in mine] == [
        SimpleNamespace(width=w, height=h) for h, w in (working_size(height, width, 512) for width, height in sizes)
    ]
    refused = javascript(
        "const { refusal } = await load('restoration.js'); return sizes.map(([w, h]) => refusal(w, h, around));",
        around=around,
        sizes=[(6000, 4000), (10_000, 10_000), (8, 100), (5000, 512)],
    )
    assert refused[0] == ""
    assert "100 megapixels" in refused[1]
    assert "8 × 100" in refused[2]
    assert "panorama" in refused[3]
