"""Two folders of photographs that belong together, laid out as people have them, also broken, unequal, swapped or drawn."""

import kagglehub
import numpy as np
import pytest
from PIL import Image
from retouched import smoothed_pairs, truncate, write_pairs, write_png

from ddpm_utils.data import folders, pair_folders
from ddpm_utils.data.images import fit, read_rgb
from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.data.pairs import change_mask
from ddpm_utils.errors import InputError
from ddpm_utils.runtime import cache


@pytest.fixture(scope="module")
def pairs(photographs):
    return smoothed_pairs(photographs)


def refusal(*args, **options):
    """The one sentence with which load_pairs refuses."""
    with pytest.raises(InputError) as caught:
        load_pairs(*args, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# --- folders ---

LAYOUTS = [
    ("CRHD-3K_src", "CRHD-3K_gt"),
    ("CHRD-3K_src/CHRD-3K_src", "CHRD-3K_gt/CHRD-3K_gt"),
    ("data/CRHD-3K/CRHD-3K_src", "data/CRHD-3K/CRHD-3K_gt"),
    ("source", "target"),
    ("Input", "Ground Truth"),
    ("before", "after"),
    ("wrinkled", "clean"),
]


@pytest.mark.parametrize(("source", "target"), LAYOUTS)
def test_two_folders_are_told_apart_by_their_names(root, pairs, source, target):
    folders = write_pairs(root, pairs, source, target)
    loaded = load_pairs(root, 32)
    assert loaded.images.shape == loaded.sources.shape == (5, 32, 32, 3)
    assert loaded.masks.shape == (5, 32, 32)
    assert loaded.masks.dtype == bool
    for i in range(5):
        for images, folder in zip((loaded.sources, loaded.images), folders):
            assert (images[i] == np.asarray(fit(read_rgb(folder / f"{i}.jpg", 32), 32))).all()
        assert (loaded.masks[i] == change_mask(loaded.sources[i], loaded.images[i])).all()


def test_both_folders_can_be_passed_whatever_their_names(root, pairs):
    source, target = write_pairs(root, pairs, "one", "two")
    assert load_pairs(source, 32, target).digest == load_pairs(str(source), 32, str(target)).digest
    assert "one" in refusal(root, 32)


def test_a_kaggle_data_set_is_taken_apart_like_a_folder(root, pairs, monkeypatch):
    write_pairs(root, pairs, "CRHD-3K_src", "CRHD-3K_gt")
    monkeypatch.setattr(kagglehub, "dataset_download", {"someone/wrinkles": str(root)}.__getitem__)
    assert load_pairs("kaggle:someone/wrinkles", 32).digest == load_pairs(root, 32).digest


def test_files_belong_together_by_their_names_without_the_ending(root, pairs):
    source, target = write_pairs(root, pairs)
    whole = load_pairs(root, 32)
    for path in target.iterdir():
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    again = load_pairs(root, 32)
    assert len(again) == len(whole)
    assert (again.sources == whole.sources).all()
    Image.open(source / "1.jpg").save(source / "1.png")
    assert "'1.jpg'" in refusal(root, 32)


def test_a_foreign_split_file_beside_the_folders_is_left_alone(root, pairs):
    write_pairs(root, pairs)
    (root / "split.json").write_text('{"val": ["0.jpg"]}')
    assert len(load_pairs(root, 32)) == 5


def test_ambiguous_and_missing_folders_are_named(root, pairs):
    source, target = write_pairs(root, pairs)
    (root / "before").mkdir()
    assert "'before', 'src'" in refusal(root)
    (root / "before").rmdir()
    target.rename(root / "something")
    assert "target folder" in refusal(root)
    assert "'something'" in refusal(root)
    assert "no folder" in refusal(root / "nowhere")
    assert "no folder" in refusal(source, 32, root / "nowhere")


def test_an_empty_folder_is_refused(root, pairs):
    _, target = write_pairs(root, pairs)
    for path in target.iterdir():
        path.unlink()
    assert str(target) in refusal(root)


def test_files_without_partner_are_counted_and_the_first_is_named(root, pairs):
    source, target = write_pairs(root, pairs)
    (source / "1.jpg").unlink()
    (target / "4.jpg").unlink()
    sentence = refusal(root, 32)
    assert sentence.startswith("2 images have no partner")
    assert repr(str(source / "4.jpg")) in sentence
    assert len(load_pairs(root, 32, skip_broken=True)) == 3
    for path in source.iterdir():
        path.rename(path.with_stem(f"photo{path.stem}"))
    assert "same name" in refusal(root, 32, skip_broken=True)


def test_swapped_folders_are_refused(root, pairs):
    source, target = write_pairs(root, pairs)
    load_pairs(source, 48, target)
    assert "swapped" in refusal(target, 48, source)
    assert "swapped" in refusal(target, 48, source)  # from the cache too


# --- files ---


def test_pairs_of_different_sizes_are_refused_or_left_out(root, pairs, capsys):
    source, _ = write_pairs(root, pairs)
    Image.fromarray(pairs[2][0][:-1]).save(source / "2.jpg")
    sentence = refusal(root, 32)
    height, width = pairs[2][1].shape[:2]
    assert "1 of 5" in sentence
    assert f"{width}x{height - 1}" in sentence
    assert f"{width}x{height}" in sentence
    assert len(load_pairs(root, 32, skip_broken=True)) == 4
    assert "skipping 1 pairs: 2\n" in capsys.readouterr().out


def test_an_image_that_exif_turns_has_the_size_that_one_sees(root, pairs):
    source, _ = write_pairs(root, pairs[:1])
    whole = load_pairs(root, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pairs[0][0])).save(source / "0.jpg", exif=exif, quality=95)
    turned = load_pairs(root, 32)
    assert np.abs(turned.sources.astype(int) - whole.sources).mean() < 3


def test_truncated_files_are_named_and_cost_nothing_else(root, pairs):
    _, target = write_pairs(root, pairs)
    truncate(target / "3.jpg")
    for _ in range(2):  # decoded, then from the cache
        sentence = refusal(root, 32)
        assert "'3'" in sentence
        assert "truncated" in sentence
    kept = load_pairs(root, 32, skip_broken=True)
    assert len(kept) == 4
    assert (kept.masks[3] == change_mask(kept.sources[3], kept.images[3])).all()
    (target / "3.jpg").write_bytes(b"")
    assert "'3'" in refusal(root, 32)


def test_too_small_and_too_large_images_are_refused_in_one_sentence(root, pairs):
    folders = write_pairs(root, pairs)
    for side, words in ((1, "1x1 pixels, fewer than the 32"), (20_000, "more than the 178,956,970 pixels")):
        for folder in folders:
            (folder / "2.jpg").unlink(missing_ok=True)
            write_png(folder / "2.png", side)
        assert words in refusal(root, 32)
        assert len(load_pairs(root, 32, skip_broken=True)) == 4


def test_16_bit_and_cmyk_pairs_are_read_and_mixed_colours_refused(root, pairs):
    source, target = write_pairs(root, pairs)
    for k, folder in enumerate((source, target)):
        (folder / "0.jpg").unlink()
        grey = pairs[0][k][..., 1]
        Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "0.png")
        Image.fromarray(pairs[1][k]).convert("CMYK").save(folder / "1.jpg", quality=95)
    loaded = load_pairs(root, 32)
    expected = np.asarray(fit(Image.fromarray(pairs[0][1][..., 1]).convert("RGB"), 32))
    assert (loaded.images[0] == expected).all()
    assert np.abs(loaded.images[1].astype(int) - np.asarray(fit(Image.fromarray(pairs[1][1]), 32))).mean() < 2
    Image.fromarray(pairs[1][1]).save(target / "1.jpg")
    assert "CMYK" in refusal(root, 32)


# --- the cache ---


def test_the_second_load_decodes_and_compares_nothing(root, pairs, monkeypatch):
    write_pairs(root, pairs)
    first = load_pairs(root, 32)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("opened an image again"))
    monkeypatch.setattr("ddpm_utils.data.pair_folders.change_mask", lambda *_: pytest.fail("compared again"))
    second = load_pairs(root, 32)
    assert isinstance(second.images, np.memmap)
    assert second.digest == first.digest


def test_a_load_that_was_cut_off_before_the_masks_is_completed(root, pairs, cache):
    write_pairs(root, pairs)
    first = load_pairs(root, 32)
    masks, [record] = np.array(first.masks), cache.rglob("pairs.json")
    record.unlink()
    (record.parent / "masks.npy").write_bytes(b"half")
    assert (load_pairs(root, 32).masks == masks).all()


@pytest.mark.parametrize("name", ["masks.npy", "pairs.json", "images.npy", "meta.json"])
def test_damaged_masks_and_pixels_of_pairs_are_made_again(root, pairs, cache, capsys, name):
    write_pairs(root, pairs)
    first = load_pairs(root, 32)
    digest, masks = first.digest, np.array(first.masks)
    [path] = cache.rglob(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = load_pairs(root, 32)
    assert again.digest == digest
    assert np.array_equal(again.masks, masks)
    assert f"its {name} isn't as it was written; it is made again" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["the header", "the pixels"])
def test_a_passing_error_of_a_pair_is_not_remembered(root, pairs, monkeypatch, where):
    source, _ = write_pairs(root, pairs)
    sick = sorted(source.iterdir())[1]
    module, name = (pair_folders.Image, "open") if where == "the header" else (folders, "read_rgb")
    well = getattr(module, name)

    def failing(path, *args, **options):
        if path == sick:
            raise OSError(5, "Input/output error", str(path))
        return well(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing)
        with pytest.raises(InputError, match=r"can't be read.*Input/output error"):
            load_pairs(root, 32)
        assert len(load_pairs(root, 32, skip_broken=True)) == len(pairs) - 1
    assert len(load_pairs(root, 32)) == len(pairs)


def test_sources_count_in_the_digest(root, pairs):
    source, _ = write_pairs(root, pairs)
    first = load_pairs(root, 32).digest
    Image.fromarray(pairs[0][0][::-1]).save(source / "0.jpg")
    assert load_pairs(root, 32).digest != first


# --- names ---


def test_synthetic_pairs_come_by_name_and_the_test_split_has_others():
    train, again, test = load_pairs("wrinkles:20", 32), load_pairs("wrinkles:20", 32), load_pairs("wrinkles:20", 32, split="test")
    assert train.images.shape == (20, 32, 32, 3)
    assert train.digest == again.digest
    assert len(test) == 2
    assert not any((image == other).all() for image in train.images for other in test.images)


@pytest.mark.parametrize("name", ["wrinkles:", "wrinkles:0", "wrinkles:-3", "wrinkles:many"])
def test_malformed_synthetic_names_are_refused(name):
    assert "wrinkles:N" in refusal(name)


def test_splits_and_sizes_are_checked(root, pairs):
    write_pairs(root, pairs)
    assert "prepare-pairs" in refusal(root, split="test")
    assert "split" in refusal(root, split="validation")
    assert "size" in refusal(root, 0)


def test_decoding_reuses_what_data_py_does(root, pairs, monkeypatch):
    """A full disk is told before anything is decoded, as for other folders."""
    write_pairs(root, pairs)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    assert "DDPM_CACHE" in refusal(root, 32)
