import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from retouched import smoothed_pairs, truncate, write_pairs, write_png

from ddpm_utils.__main__ import main
from ddpm_utils.data.crops import LEAST_SHARE
from ddpm_utils.data.pair_folders import load_pairs
from ddpm_utils.data.pairs import change_mask
from ddpm_utils.data.prepare_pairs import prepare_pairs
from ddpm_utils.data.prepare_settings import PrepareSettings
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.files import locked

SIZE = 48
SETTINGS = PrepareSettings(size=SIZE, crops=6, test_share=0.3)


@pytest.fixture(scope="module")
def pairs(photographs):
    """Ten pairs of some 300 x 450 pixels."""
    return smoothed_pairs(photographs, scale=3, seed=1) + smoothed_pairs([p[:, ::-1] for p in photographs], scale=3, seed=2)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(*args, **options):
    """The one sentence with which prepare_pairs refuses."""
    with pytest.raises(InputError) as caught:
        prepare_pairs(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(path):
    return np.asarray(Image.open(path))


# --- what comes out ---


def test_crops_are_windows_of_both_photographs_at_several_zooms(root, out, pairs):
    folders = write_pairs(root, pairs)
    prepare_pairs(*folders, out, SETTINGS)
    zooms, unchanged, total = set(), 0, 0
    for i in range(10):
        photographs = [Image.open(folder / f"{i}.jpg") for folder in folders]
        record = json.loads((out / "records" / f"{i}.json").read_text())
        for k, crop in enumerate(record["crops"]):
            x, y, side = crop["window"]
            assert 0 <= x <= photographs[0].width - side
            assert 0 <= y <= photographs[0].height - side
            assert SIZE <= side <= min(photographs[0].size)
            files = [out / folder / f"{i}_{k:02d}.png" for folder in ("source", "target", "mask")]
            for file, photograph in zip(files, photographs):
                expected = photograph.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
                assert (pixels(file) == np.asarray(expected)).all()
            mask = change_mask(pixels(files[0]), pixels(files[1]))
            assert (pixels(files[2]) == mask).all()
            assert not mask.any() or mask.mean() >= LEAST_SHARE
            zooms.add(round(np.log2(side / SIZE)))
            unchanged += not mask.any()
            total += 1
    assert zooms == {0, 1, 2, 3}
    assert 0.08 < unchanged / total < 0.25
    assert total > 50


def test_no_photograph_has_crops_in_both_splits_and_all_crops_are_loaded(root, out, pairs):
    prepare_pairs(*write_pairs(root, pairs), out, SETTINGS)
    split = json.loads((out / "split.json").read_text())
    assert len(split["test"]) == 3
    assert len(split["train"]) == 7
    assert not split["test"].keys() & split["train"].keys()
    for part in ("train", "test"):
        loaded = load_pairs(out, split=part)
        names = [f"{name}_{i:02d}.png" for name, n in sorted(split[part].items()) for i in range(n)]
        assert loaded.sources.shape == (len(names), SIZE, SIZE, 3)
        for i, name in enumerate(names):
            assert (loaded.sources[i] == pixels(out / "source" / name)).all()
            assert (loaded.images[i] == pixels(out / "target" / name)).all()
            assert (loaded.masks[i] == pixels(out / "mask" / name)).all()
    assert load_pairs(out, 32).size == 32
    with pytest.raises(InputError, match="fewer than the 64"):
        load_pairs(out, 64)


def test_the_same_images_give_the_same_bytes_on_one_core_or_many(root, tmp_path, pairs, monkeypatch):
    folders = write_pairs(root, pairs)
    trees = []
    for cores in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        prepare_pairs(*folders, tmp_path / str(cores), SETTINGS)
        trees.append(tree(tmp_path / str(cores)))
    assert trees[0] == trees[1]
    prepare_pairs(*folders, tmp_path / "other", replace(SETTINGS, seed=1))
    assert tree(tmp_path / "other")["split.json"] != trees[0]["split.json"]
    assert tree(tmp_path / "other")["source/0_00.png"] != trees[0]["source/0_00.png"]


def test_the_report_says_what_was_found(root, out, pairs, capsys):
    source, target = write_pairs(root, pairs)
    copy = (source / "3.jpg").read_bytes()
    (target / "3.jpg").write_bytes(copy)
    assert main(["prepare-pairs", str(source), str(target), str(out), "--size", str(SIZE)]) == 0
    report = (out / "report.txt").read_text()
    assert report in capsys.readouterr().out
    assert "10 pairs, 9 of them cut" in report
    assert "nothing differs, no crops: 1\n  3\n" in report
    assert "smoother where they differ in 9 of 9" in report
    decibels = []
    for i in set(range(10)) - {3}:
        a, b = (pixels(folder / f"{i}.jpg").astype(float) for folder in (source, target))
        decibels.append(10 * np.log10(255**2 / np.square(a - b).mean()))
    assert f"{np.median(decibels):.1f} dB ({min(decibels):.1f} dB to {max(decibels):.1f} dB), where" in report
    assert Image.open(out / "report.png").width > 6 * SIZE


# --- what is refused ---


def test_swapped_arguments_are_refused(root, out, pairs):
    source, target = write_pairs(root, pairs)
    assert "swap" in refusal(target, source, out, SETTINGS)
    assert not (out / "split.json").exists()
    with pytest.raises(InputError, match="unfinished"):
        load_pairs(out)
    prepare_pairs(source, target, out, SETTINGS)  # the same folder, now in order
    assert len(load_pairs(out)) > 10


def test_bad_pairs_are_named_and_the_others_are_kept(root, out, pairs, tmp_path):
    """Truncated and shifted ones are found on the way; what was cut before stays, and stays the same."""
    source, target = write_pairs(root, pairs)
    whole = target / "4.jpg"
    content = whole.read_bytes()
    truncate(whole)
    Image.fromarray(np.roll(pairs[6][1], 5, axis=1)).save(target / "6.jpg", quality=95)
    sentence = refusal(source, target, out, SETTINGS)
    assert sentence.startswith("2 of 10 pairs can't be used, the first is '4'")
    assert "truncated" in sentence
    assert "8 are cut and kept" in sentence
    before = tree(out)
    report = prepare_pairs(source, target, out, SETTINGS, skip_broken=True)
    assert "left out: 2\n  4: " in report
    assert "6: the target is shifted by 5.0 pixels" in report
    after = tree(out)
    assert all(after[name] == content for name, content in before.items())
    assert load_pairs(out).sources.shape[0] + load_pairs(out, split="test").sources.shape[0] == len(os.listdir(out / "source"))
    whole.write_bytes(content)
    (source / "6.jpg").unlink()
    (target / "6.jpg").unlink()
    assert "left out" not in prepare_pairs(source, target, out, SETTINGS)
    prepare_pairs(source, target, tmp_path / "fresh", SETTINGS)
    assert tree(out) == tree(tmp_path / "fresh")
    truncate(whole)
    assert "'4'" in refusal(source, target, out, SETTINGS)
    assert not (out / "split.json").exists()  # no longer says that all is there


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_the_headers_say_is_refused_before_any_work(root, out, pairs):
    source, target = write_pairs(root, pairs)
    (source / "7.jpg").rename(source / "extra.jpg")
    assert "2 images have no partner" in refusal(source, target, out, SETTINGS)
    (source / "extra.jpg").rename(source / "7.jpg")
    Image.fromarray(pairs[1][1][:, 2:]).save(target / "1.jpg")
    assert "'1': the source has" in refusal(source, target, out, SETTINGS)
    (source / "1.jpg").unlink()
    (target / "1.jpg").unlink()
    for side, words in ((1, "1x1 pixels"), (20_000, "178,956,970 pixels"), (13_000, "it needs 3.4 GB of memory")):
        for folder in (source, target):
            write_png(folder / "huge.png", side)
        assert words in refusal(source, target, out, SETTINGS)
        assert not out.exists()
    assert "left out: 1\n  huge: it needs" in prepare_pairs(source, target, out, SETTINGS, skip_broken=True)


def test_letter_boxed_photographs_lose_their_bars_and_are_reported(root, out, pairs):
    boxed = [tuple(np.pad(image, ((37, 41), (0, 0), (0, 0))) for image in pair) for pair in pairs[:2]]
    report = prepare_pairs(*write_pairs(root, boxed), out, SETTINGS)
    assert "black bars cut off: 2\n  0 (top 3" in report
    for path in (out / "source").iterdir():
        rows = pixels(path).max((1, 2))
        assert (rows > 24).all()


def test_identical_folders_and_folders_too_small_are_refused(root, out, pairs):
    source, _ = write_pairs(root, pairs[:2])
    assert "fewer than the 1024" in refusal(source, source, out, PrepareSettings(size=1024))
    assert "same images" in refusal(source, source, out, SETTINGS)


def test_other_settings_and_foreign_folders_are_refused(root, out, pairs):
    source, target = write_pairs(root, pairs[:3])
    prepare_pairs(source, target, out, SETTINGS)
    assert "--size 48 (now 64)" in refusal(source, target, out, replace(SETTINGS, size=64))
    assert "--seed 0 (now 3)" in refusal(source, target, out, replace(SETTINGS, seed=3))
    assert "holds other things" in refusal(source, target, root, SETTINGS)
    assert "where the photographs are" in refusal(source, target, source / "crops", SETTINGS)
    for wrong in ({"size": 0}, {"crops": 0}, {"test_share": 1.0}, {"seed": -1}):
        with pytest.raises(InputError):
            PrepareSettings(**wrong)


# --- going on ---


def test_a_folder_that_is_being_prepared_is_refused(root, out, pairs):
    folders = write_pairs(root, pairs[:1])
    with locked(out):
        assert f"'{out}' is in use by process {os.getpid()} on " in refusal(*folders, out, SETTINGS)
    assert not out.exists()


def test_a_run_killed_twice_ends_with_the_same_bytes(root, tmp_path, pairs):
    folders = write_pairs(root, pairs * 2)  # twenty photographs
    command = [sys.executable, "-m", "ddpm_utils", "prepare-pairs", *map(str, folders), str(tmp_path / "killed")]
    command += ["--size", str(SIZE), "--crops", "6", "--test-share", "0.3"]
    records = tmp_path / "killed" / "records"
    for finished in (2, 6):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (not records.is_dir() or len(list(records.glob("*.json"))) < finished):
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed" / "split.json").exists()
    times = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 6 <= len(times) < 20
    (tmp_path / "killed" / "source" / ".0_00.png.tmp").write_bytes(b"half")
    prepare_pairs(*folders, tmp_path / "killed", SETTINGS)
    assert all(path.stat().st_mtime_ns == written for path, written in times.items())  # not done again
    prepare_pairs(*folders, tmp_path / "alone", SETTINGS)
    assert tree(tmp_path / "killed") == tree(tmp_path / "alone")


def test_new_changed_and_removed_photographs_are_seen(root, out, pairs, tmp_path):
    source, target = write_pairs(root, pairs[:6])
    out.mkdir()
    (out / ".prepare_settings.json.tmp").write_bytes(b"")  # killed while it wrote its very first file
    prepare_pairs(source, target, out, SETTINGS)
    for folder, k in ((source, 0), (target, 1)):
        (folder / "2.jpg").unlink()
        Image.fromarray(pairs[8][k]).save(folder / "3.jpg", quality=95)
        Image.fromarray(pairs[9][k]).save(folder / "9.jpg", quality=95)
    prepare_pairs(source, target, out, SETTINGS)
    prepare_pairs(source, target, tmp_path / "fresh", SETTINGS)
    assert tree(out) == tree(tmp_path / "fresh")
    assert not list(out.glob("*/2*"))


def test_two_pairs_of_24_megapixels_fit_into_two_gigabytes(root, tmp_path, pairs):
    """Peak resident memory of the whole command, on its own, PyTorch included."""
    for folder, k in (("src", 0), ("gt", 1)):
        (root / folder).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(pairs[i][k]).resize((6000, 4000)).save(root / folder / f"{i}.jpg")
    program = "import resource, sys; from ddpm_utils.__main__ import main; code = main(sys.argv[1:]); "
    program += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    command = [sys.executable, "-c", program, "prepare-pairs", str(root / "src"), str(root / "gt"), str(tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    kilobytes = int(done.stdout.splitlines()[-1]) / (1000 if sys.platform == "darwin" else 1)
    assert "2 pairs, 2 of them cut" in done.stdout
    assert kilobytes < 2e6


# --- names and other files ---


def test_names_that_are_no_utf8_are_cut_and_loaded_and_the_rest_is_counted_once(root, out, pairs, capsys):
    folders = write_pairs(root, pairs[:3])
    for folder in folders:
        first = sorted(folder.iterdir())[0]
        first.rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9" + os.fsencode(first.suffix)))
        (folder / "notes.txt").write_text("x")
        (folder / "a.heic").write_bytes(b"x")
        (folder / "Thumbs.db").write_bytes(b"x")
    prepare_pairs(*folders, out, SETTINGS)
    assert capsys.readouterr().out == "left out: 2 .heic (convert them to JPEG), 2 .txt\n"
    before = tree(out)
    prepare_pairs(*folders, out, SETTINGS)
    assert tree(out) == before
    crops = json.loads((out / "split.json").read_text("utf-8"))
    assert "caf\udce9" in crops["train"] | crops["test"]
    assert sum(len(load_pairs(out, split=split)) for split in ("train", "test")) == sum((crops["train"] | crops["test"]).values())


def test_a_link_to_nowhere_is_a_pair_to_skip(root, out, pairs):
    folders = write_pairs(root, pairs[:3])
    target = sorted(folders[1].iterdir())[1]
    target.unlink()
    target.symlink_to(root / "nothing.png")
    assert "can't be read: FileNotFoundError" in refusal(*folders, out, SETTINGS)
    assert "2 pairs" in prepare_pairs(*folders, out, SETTINGS, skip_broken=True)
