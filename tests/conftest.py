import numpy as np
import pytest
from cases import TIMES
from hypothesis import settings
from PIL import Image

settings.register_profile("seeded", derandomize=TIMES == 0, deadline=None, database=None, print_blob=True)  # timed by nobody
settings.load_profile("seeded")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Decoded images go into the test's own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DDPM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def photographs():
    """Five colour photographs, made small, as (H, W, 3) uint8, none of them square."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    originals = [skimage.data.astronaut()[:, :400], skimage.data.chelsea(), skimage.data.coffee()]
    originals += [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    return [np.asarray(Image.fromarray(a).reduce(4)) for a in originals]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pictures"
