"""A folder that prepare-pairs made is repaired by prepare-pairs, whatever was lost or damaged in it."""

import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image
from retouched import smoothed_pairs, write_pairs

from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.data.prepare_pairs import prepare_pairs
from ddpm_utils.data.prepare_settings import PrepareSettings
from ddpm_utils.errors import InputError

SETTINGS = PrepareSettings(size=32, crops=3, test_share=0.4)


@pytest.fixture(scope="module")
def made(photographs, tmp_path_factory):
    """(sources, targets, what prepare-pairs made of them)."""
    root = tmp_path_factory.mktemp("made")
    folders = write_pairs(root, smoothed_pairs(photographs, scale=1, seed=1))
    prepare_pairs(*folders, root / "out", SETTINGS)
    return *folders, root / "out"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def repaired(made, out):
    prepare_pairs(*made[:2], out, SETTINGS)
    return tree(out) == tree(made[2])


@pytest.fixture
def out(made, tmp_path):
    return shutil.copytree(made[2], tmp_path / "out")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


SPOIL = {"lost": lambda path: path.unlink(), "cut": lambda path: path.write_bytes(path.read_bytes()[:30]), "flipped": flip}


@pytest.mark.parametrize("spoil", SPOIL)
@pytest.mark.parametrize("folder", ["source", "target", "mask", "records"])
def test_a_crop_or_record_that_was_lost_or_damaged_is_made_anew_and_that_is_said(made, out, capsys, folder, spoil):
    SPOIL[spoil](sorted((out / folder).iterdir())[0])
    assert repaired(made, out)
    said = capsys.readouterr().out
    assert ("is cut anew: a crop or the record of it is lost, damaged" in said) == (spoil != "lost" or folder != "records")
    assert len(load_pairs(out)) > 0


@pytest.mark.parametrize("content", ["", "[]", '{"x', "5", '{"files": 3}', "[" * 100_000])
def test_records_that_are_no_records_are_made_anew(made, out, content):
    sorted((out / "records").iterdir())[1].write_text(content)
    assert repaired(made, out)


@pytest.mark.parametrize("content", ["", "[]", '{"size', "\ufffd"])
def test_damaged_settings_cost_the_time_to_cut_all_anew_and_that_is_said(made, out, capsys, content):
    (out / "prepare_settings.json").write_text(content)
    assert repaired(made, out)
    assert "prepare_settings.json is damaged; all photographs are cut anew" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", "5", '{"train": 3, "test": {}, "size": 32}', '{"train": {"a": -1}, "test": {}, "size": 32}'])
def test_a_damaged_split_is_told_and_written_again(made, out, content):
    (out / "split.json").write_text(content)
    with pytest.raises(InputError, match=r"or their split\.json is damaged; run prepare-pairs again"):
        load_pairs(out)
    assert repaired(made, out)


def test_no_flipped_bit_in_a_split_is_accepted(out):
    content = (out / "split.json").read_bytes()
    random.seed(1)
    for at in random.sample(range(len(content) * 8), 60):
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        if flipped.translate(None, b" \n\t\r") == content.translate(None, b" \n\t\r"):
            continue  # one white space for another
        (out / "split.json").write_bytes(flipped)
        with pytest.raises(InputError, match="damaged"):
            load_pairs(out)


def test_a_split_of_an_older_version_has_no_checksum_and_is_read(made, out):
    split = json.loads((out / "split.json").read_text())
    del split["sha256"]
    (out / "split.json").write_text(json.dumps(split))
    assert np.array_equal(load_pairs(out).images, load_pairs(made[2]).images)


def test_what_prepare_pairs_accepted_is_not_called_swapped_for_the_sake_of_a_few_crops(made, out):
    """In the only test photograph the target is the rougher one; photographs voted when they were cut."""
    split = json.loads((out / "split.json").read_text())
    name = next(iter(split["test"]))
    for path in sorted((out / "source").glob(f"{name}_*")):
        source, target = Image.open(path).copy(), Image.open(out / "target" / path.name).copy()
        target.save(path)
        source.save(out / "target" / path.name)
    assert len(load_pairs(out, split="test")) > 0
