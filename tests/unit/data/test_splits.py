"""Folders that hold the splits of a data set: the right one is used and that is said, and none becomes a class."""

import numpy as np
import pytest
from image_folders import write_all

from ddpm_utils.data.pair_folders import match_files
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError


def write_splits(root, photographs, *folders):
    """The k-th folder gets k + 1 pictures, so that sets are told apart by their sizes."""
    for k, folder in enumerate(folders):
        write_all(root / folder, photographs[: k + 1], ".png")


@pytest.mark.parametrize(
    ("folders", "train", "test"),
    [
        (("train", "test"), 1, 2),
        (("Train", "VAL"), 1, 2),
        (("val", "training", "test"), 2, 3),
        (("TRAINING", "validation", "testing"), 1, 3),
        (("train", "valid"), 1, 2),
        (("seg_train", "seg_test"), 1, 2),
        (("train2017", "val2017"), 1, 2),
        (("train_images", "test_images"), 1, 2),
        (("train set", "test"), 1, 2),
        (("seg_train", "seg_test", "seg_pred"), 1, 2),
        (("unlabelled", "train", "test"), 2, 3),
        (("set/train/train", "set/test/test"), 1, 2),
    ],
)
def test_the_split_that_is_asked_for_is_used_and_that_is_said(root, photographs, capsys, folders, train, test):
    write_splits(root, photographs, *folders)
    images = load_images(root, size=8)
    assert (len(images), images.classes) == (train, ())
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "holds the splits" in said
    assert f"only '{folders[train - 1].split('/')[1 if '/' in folders[0] else 0]}' is used" in said
    assert len(load_images(root, size=8, split="test")) == test


def test_classes_inside_a_split_stay_classes(root, photographs):
    write_splits(root, photographs, "train/cat", "train/dog", "test/cat", "test/dog")
    images = load_images(root, size=8)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 1, 1]
    assert load_images(root, size=8, split="test").labels.tolist() == [0] * 3 + [1] * 4


def test_splits_inside_each_class_are_splits_too(root, photographs, capsys):
    write_splits(root, photographs, "cat/train", "cat/test", "train/train", "train/test/deeper")
    images = load_images(root, size=8)
    assert images.classes == ("cat", "train")
    assert images.labels.tolist() == [0] + [1] * 3
    assert "only 'train' is used" in capsys.readouterr().out
    assert load_images(root, size=8, split="test").labels.tolist() == [0] * 2 + [1] * 4


def test_a_lone_train_folder_is_passed_through_without_a_word(root, photographs, capsys):
    write_splits(root, photographs, "train/train/cat", "train/train/dog")
    assert load_images(root, size=8).classes == ("cat", "dog")
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="none to test on"):
        load_images(root, size=8, split="test")


@pytest.mark.parametrize("folders", [("test",), ("val", "test"), ("test/cat", "test/dog")])
def test_without_a_train_folder_nothing_is_trained_on(root, photographs, folders):
    write_splits(root, photographs, *folders)
    with pytest.raises(InputError, match="none to train on; pass the folder to use itself"):
        load_images(root, size=8)
    assert len(load_images(root / "test", size=8)) > 0, "the advice works"


def test_two_folders_of_one_split_are_refused(root, photographs):
    write_splits(root, photographs, "train", "training", "test")
    with pytest.raises(InputError, match="2 folders of one split"):
        load_images(root, size=8)


@pytest.mark.parametrize(
    "folders", [("train", "bus"), ("freight train", "passenger train"), ("trainers", "testers"), ("crash test", "beta test")]
)
def test_other_classes_with_such_words_in_their_names_stay_classes(root, photographs, folders):
    write_splits(root, photographs, *folders)
    assert load_images(root, size=8).classes == tuple(sorted(folders))


def test_what_lies_in_other_splits_is_not_counted_as_left_out(root, photographs, capsys):
    write_splits(root, photographs, "train", "test")
    (root / "test" / "a.heic").write_bytes(b"x")
    (root / "train" / "b.csv").write_bytes(b"x")
    load_images(root, size=8)
    assert capsys.readouterr().out.splitlines()[1:] == ["left out: 1 .csv"]


def test_splits_inside_the_folders_of_pairs_are_said_too(root, photographs, capsys):
    for side, change in (("before", 0), ("after", 60)):
        for split in ("train", "test"):
            write_all(
                root / side / split, [np.minimum(p, 195) + np.uint8(change) for p in photographs[: 2 if split == "train" else 3]], ".png"
            )
    files, orphans = match_files(root / "before", root / "after")
    assert [(name, source.parent.name, target.parent.name) for name, source, target in files] == [(n, "train", "train") for n in "01"]
    assert not orphans
    assert capsys.readouterr().out.count("only 'train' is used") == 2


# --- dim files ---


def test_files_of_16_bits_that_hold_12_are_named_each_time_and_not_changed(root, capsys):
    rng = np.random.default_rng(0)
    for i in range(3):
        values = rng.integers(0, 4096 if i else 65536, (16, 16), dtype=np.uint16)
        write_all(root / str(i), [values], ".png")
    for _ in range(2):  # the second time from the cache
        images = load_images(root, size=16).images
        assert images[1:].max() == 16
        said = capsys.readouterr().out
        assert said.startswith("nearly black: 2 16-bit files hold no value above 4095 of 65535, such as '1/0.png'")
        assert "scale them by 16" in said


def test_what_lies_beside_a_lone_train_folder_is_counted(root, photographs, capsys):
    write_all(root / "train", photographs)
    for name in ("photos/a.heic", "photos/more/b.heic", "train/c.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    load_images(root, 8)
    assert "left out: 2 .heic (convert them to JPEG), 1 .txt" in capsys.readouterr().out
