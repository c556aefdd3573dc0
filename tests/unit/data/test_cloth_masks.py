"""Masks of garments by GrabCut: right where the garment is known, left out where it isn't clear, the same each time; and pairs made with them."""

import sys

import numpy as np
import pytest
from drawn_garments import photograph
from PIL import Image

from ddpm_utils.__main__ import main
from ddpm_utils.data.cloth_masks import cloth_masks, garment_mask
from ddpm_utils.errors import InputError


@pytest.fixture
def wardrobe(tmp_path):
    root = tmp_path / "photographs"
    root.mkdir()
    for seed in range(3):
        photograph(seed)[0].save(root / f"shirt {seed}.jpg", quality=92)
    return root


def test_a_garment_is_found_where_it_is():
    for seed in range(3):
        image, shirt = photograph(seed)
        mask = garment_mask(image)
        there = np.asarray(Image.fromarray(shirt).resize(mask.shape[::-1]))
        assert (mask & there).sum() > 0.95 * (mask | there).sum()


def test_what_is_not_clear_has_no_mask():
    ramp = np.linspace(60, 200, 200 * 200 * 3).reshape(200, 200, 3).astype(np.uint8)
    for unclear in (ramp, np.full((200, 200, 3), 130, np.uint8)):
        assert garment_mask(Image.fromarray(unclear)) is None


def test_masks_are_the_same_each_time_and_those_that_are_there_are_kept(wardrobe, tmp_path):
    (wardrobe / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (100, 100), "grey").save(wardrobe / "nothing.png")
    said = cloth_masks(wardrobe, tmp_path / "masks")
    assert said == "3 masks of 5 photographs; of 1 it isn't clear where the garment ends, 1 can't be read"
    first = {path.name: path.read_bytes() for path in (tmp_path / "masks").iterdir()}
    assert sorted(first) == [f"shirt {seed}.png" for seed in range(3)]
    (tmp_path / "masks" / "shirt 0.png").unlink()
    (tmp_path / "masks" / "shirt 1.png").write_bytes(b"painted by hand")
    assert cloth_masks(wardrobe, tmp_path / "masks") == said
    assert (tmp_path / "masks" / "shirt 0.png").read_bytes() == first["shirt 0.png"]
    assert (tmp_path / "masks" / "shirt 1.png").read_bytes() == b"painted by hand"


def test_pairs_are_made_of_photographs_alone(wardrobe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["cloth-masks", "photographs", "masks"]) == 0
    assert "3 masks of 3 photographs" in capsys.readouterr().out
    assert main(["fold-pairs", "photographs", "masks", "pairs", "--n", "4", "--size", "64"]) == 0
    assert len(list((tmp_path / "pairs" / "source").iterdir())) == 4


def test_what_no_masks_can_be_made_of_is_refused_in_a_sentence(wardrobe, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images in"):
        cloth_masks(tmp_path / "empty", tmp_path / "masks")
    photograph(0)[0].save(wardrobe / "shirt 0.png")
    with pytest.raises(InputError, match=r"2 photographs in .* are named 'shirt 0'"):
        cloth_masks(wardrobe, tmp_path / "masks")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match="needs the package opencv-python-headless"):
        cloth_masks(wardrobe, tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
