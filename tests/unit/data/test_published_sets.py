"""Stanford Cars with its devkit, and the clothing data set: folders laid out as they are published, whole, damaged and incomplete."""

import csv

import kagglehub
import numpy as np
import pytest
from image_folders import write
from PIL import Image
from scipy.io import savemat

from ddpm_utils.data.published_sets import body_of, is_held_out
from ddpm_utils.data.reading import Reading
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError

NAMES = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Audi S4 Sedan 2012", "Infiniti G Coupe IPL 2012"]
BOX = (11, 21, 90, 60)  # x1, y1, x2, y2 as the devkit has them: from 1, the last included


def refusal(*args, **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        load_images(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Stanford Cars ---


def write_cars(root, photographs, classes=(2, 1, 3, 4), boxes=(BOX,) * 4, names=NAMES, folder="devkit"):
    """cars_train/cars_train/*.jpg, and the devkit as Matlab writes it."""
    for i, photograph in enumerate(photographs[:4]):
        write(root / "cars_train" / "cars_train" / f"{i + 1:05d}.jpg", photograph, quality=95)
    fields = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O"), ("class", "O"), ("fname", "O")]
    rows = [(*box, number, f"{i + 1:05d}.jpg") for i, (box, number) in enumerate(zip(boxes, classes))]
    (root / folder).mkdir(exist_ok=True, parents=True)
    savemat(root / folder / "cars_train_annos.mat", {"annotations": np.array(rows, dtype=fields)})
    savemat(root / folder / "cars_meta.mat", {"class_names": np.array(names, dtype=object)})
    (root / folder / "README.txt").write_text("This file gives documentation for the cars 196 dataset.")


@pytest.mark.parametrize("folder", ["devkit", "car_devkit/devkit", "."])
def test_cars_are_labelled_by_make_model_and_year_where_the_devkit_lies_beside_them(root, photographs, folder, capsys):
    write_cars(root, photographs, folder=folder)
    cars = load_images(root, size=16)
    assert cars.classes == tuple(sorted(NAMES))
    assert [cars.classes[k] for k in cars.labels] == [NAMES[1], NAMES[0], NAMES[2], NAMES[3]]
    assert ".mat" not in capsys.readouterr().out, "the devkit is used, not left out"


def test_cars_are_labelled_by_their_bodies_if_asked_to(root, photographs):
    write_cars(root, photographs)
    cars = load_images(root, size=16, reading=Reading(labels="body"))
    assert cars.classes == ("SUV", "coupe", "sedan")
    assert [cars.classes[k] for k in cars.labels] == ["sedan", "SUV", "sedan", "coupe"]


def test_cars_cut_to_their_boxes_hold_exactly_those_pixels(root, photographs):
    """A box counts pixels of the file, not of a JPEG that was decoded smaller."""
    large = [np.asarray(Image.fromarray(p).resize((640, 480))) for p in photographs]
    write_cars(root, large, boxes=[(101, 51, 420, 290)] * 4)
    cars = load_images(root, size=32, reading=Reading(fit="squash", crop="boxes"))
    for image, photograph in zip(cars.images, large):
        expected = Image.fromarray(photograph[50:290, 100:420]).resize((32, 32), Image.Resampling.LANCZOS)
        assert np.abs(image.astype(int) - np.asarray(expected)).mean() < 2  # of JPEG
    assert not np.array_equal(load_images(root, size=32, reading=Reading(fit="squash")).images, cars.images), "another cache entry"


@pytest.mark.parametrize(
    ("box", "fits"), [((1, 1, 102, 60), True), ((1, 1, 103, 60), False), ((500, 1, 600, 60), False), ((0, 0, 9, 9), True)]
)
def test_a_box_outside_of_its_image_is_refused_and_named(root, photographs, box, fits):
    narrow = [p[:100, :100] for p in photographs]
    write_cars(root, narrow, boxes=[(*BOX[:2], 90, 60)] * 3 + [box])
    reading = Reading(crop="boxes")
    if fits:
        assert len(load_images(root, size=8, reading=reading)) == 4
        return
    sentence = refusal(root, size=8, reading=reading)
    assert f"({box[0] - 1}, {box[1] - 1}) to ({box[2]}, {box[3]})" in sentence
    assert "00004.jpg" in sentence
    assert "100 x 100" in sentence
    assert len(load_images(root, size=8, reading=reading, skip_broken=True)) == 3


def test_without_a_devkit_cars_have_no_labels_and_one_is_told_what_is_missing(root, photographs, capsys):
    for i, photograph in enumerate(photographs):
        write(root / "cars_train" / f"{i:05d}.jpg", photograph)
    assert load_images(root, size=8).labels is None
    assert "'cars_train_annos.mat'" in capsys.readouterr().out
    for reading in (Reading(crop="boxes"), Reading(labels="body"), Reading(labels="model")):
        assert "'cars_train_annos.mat'" in refusal(root, size=8, reading=reading)


def test_test_images_have_boxes_without_labels_unless_these_were_published_too(root, photographs, capsys):
    write_cars(root, photographs)
    (root / "cars_train").rename(root / "cars_test")
    (root / "devkit" / "cars_train_annos.mat").rename(root / "devkit" / "cars_test_annos_withlabels.mat")
    assert len(load_images(root, size=8, split="test").classes) == 4
    fields = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O"), ("fname", "O")]
    rows = np.array([(*BOX, f"{i + 1:05d}.jpg") for i in range(4)], dtype=fields)
    (root / "devkit" / "cars_test_annos_withlabels.mat").unlink()
    savemat(root / "devkit" / "cars_test_annos.mat", {"annotations": rows})
    assert load_images(root, size=8, split="test", reading=Reading(crop="boxes")).labels is None
    assert "no labels" in capsys.readouterr().out


def test_what_a_devkit_lacks_can_be_put_beside_it(root, photographs, tmp_path):
    write_cars(root, photographs, names=["Lada Niva 1990", *NAMES[1:]])
    assert "pass --labels model" in refusal(root, size=8, reading=Reading(labels="body"))
    assert len(load_images(root, size=8, reading=Reading(labels="model")).classes) == 4
    kept = (root / "devkit" / "cars_meta.mat").rename(tmp_path / "cars_meta.mat")
    assert f"put it into {str(root)!r}" in refusal(root, size=8)
    kept.rename(root / "cars_meta.mat")
    assert len(load_images(root, size=8).classes) == 4


def test_a_devkit_that_does_not_fit_its_images_is_refused_in_a_sentence(root, photographs):
    write_cars(root, photographs, classes=(1, 2, 3, 5))
    assert "classes up to 5" in refusal(root)
    write_cars(root, photographs, classes=(1, 2, 3))
    assert "no row for 1 of 4 images, the first is '00004.jpg'" in refusal(root)
    write_cars(root, photographs, names=["Lada Niva 1990", *NAMES[1:]])
    assert "'Lada Niva 1990'" in refusal(root, reading=Reading(labels="body"))
    (root / "devkit" / "cars_meta.mat").unlink()
    assert "'cars_meta.mat'" in refusal(root)
    savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": np.array([(1,)], dtype=[("bbox_x1", "O")])})
    assert "bbox_y1" in refusal(root)
    (root / "devkit" / "cars_train_annos.mat").write_bytes(b"<html>404 Not Found</html>")
    assert "download it again" in refusal(root)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Ford E-Series Wagon Van 2012", "van"),
        ("Ram C/V Cargo Van Minivan 2012", "minivan"),
        ("Ford Ranger SuperCab 2011", "pickup"),
        ("Rolls-Royce Phantom Drophead Coupe Convertible 2012", "convertible"),
        ("Chevrolet Corvette ZR1 2012", "coupe"),
        ("Chevrolet Silverado 1500 Classic Extended Cab 2007", "pickup"),
    ],
)
def test_the_last_word_that_names_a_body_counts(name, body):
    assert body_of(name) == body


@pytest.mark.parametrize("reading", [Reading(crop="boxes"), Reading(labels="body")])
def test_boxes_and_labels_of_cars_are_refused_for_other_images(root, photographs, reading):
    write(root / "a.jpg", photographs[0])
    assert "Stanford Cars" in refusal(root, reading=reading)


# --- clothes ---


def write_clothes(root, photographs, folders=("images_compressed", "images_original"), rows=None):
    """The layout of agrigorev/clothing-dataset-full: photographs by their ids, and a table."""
    ids = [f"{k:08x}-3f84-4eb3-9099-23e623fc1018" for k in range(40)]
    labels = [("T-Shirt", "Dress", "Not sure", "Skip")[k % 4] for k in range(40)]
    for k, name in enumerate(ids):
        for folder in folders:
            write(root / folder / f"{name}.jpg", photographs[k % 5][:64, :48])
    with open(root / "images.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "sender_id", "label", "kids"])
        table.writerows(rows or [(name, 4, label, "False") for name, label in zip(ids, labels)])
    return ids


@pytest.mark.parametrize("folders", [("images_compressed", "images_original"), ("images_compressed",), ("images_original",)])
def test_clothes_take_their_labels_from_the_table_and_each_photograph_once(root, photographs, monkeypatch, capsys, folders):
    ids = write_clothes(root, photographs, folders)
    monkeypatch.setattr(kagglehub, "dataset_download", {"agrigorev/clothing-dataset-full": str(root)}.__getitem__)
    train, test = load_images("clothes", size=16), load_images("clothes", size=16, split="test")
    assert train.classes == test.classes == ("Dress", "T-Shirt")
    assert len(train) + len(test) == 20, "'Not sure' and 'Skip' are no kinds of clothes"
    expected = [1 - k % 4 for k, name in enumerate(ids) if k % 4 < 2 and not is_held_out(name)]
    assert train.labels.tolist() == expected
    said = capsys.readouterr().out
    assert "10 labelled 'Not sure'" in said
    assert f"{len(test)} of 20" in said
    assert ".csv" not in said


def test_the_photographs_kept_for_testing_are_the_same_everywhere_and_a_tenth():
    held = [is_held_out(f"photograph {k}") for k in range(10_000)]
    assert abs(sum(held) / 10_000 - 26 / 256) < 4 * (0.1 * 0.9 / 10_000) ** 0.5
    assert [k for k in range(60) if held[k]] == [k for k in range(60) if is_held_out(f"photograph {k}")] != []


def test_a_table_without_its_images_is_refused_and_rows_without_them_are_counted(root, photographs, capsys):
    ids = write_clothes(root, photographs)
    for name in ids[4:]:
        for folder in ("images_compressed", "images_original"):
            (root / folder / f"{name}.jpg").unlink()
    load_images(root, size=8, split="train")
    assert "36 rows of images.csv without an image" in capsys.readouterr().out
    for name in ids[:2]:
        (root / "images_compressed" / f"{name}.jpg").unlink()
    assert "none of their images" in refusal(root)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "image;label\n", "image\nx\n"])
def test_a_table_without_the_columns_is_refused(root, photographs, content):
    write_clothes(root, photographs)
    (root / "images.csv").write_text(content)
    assert "images.csv" in refusal(root)


def test_a_table_beside_class_folders_changes_nothing(root, photographs):
    write(root / "cats" / "a.jpg", photographs[0])
    write(root / "dogs" / "b.jpg", photographs[1])
    (root / "images.csv").write_text("image,label\n")
    assert load_images(root, size=8).classes == ("cats", "dogs")
