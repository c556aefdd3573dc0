"""Folders as nobody would make them: any names, files, folders and links. Every file is used, or counted with a reason; nothing else is raised."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cases import cases, check_sentence
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddpm_utils.data.folders import find_images
from ddpm_utils.data.listing import LEFT_BEHIND, files_below, is_hidden, is_image
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError, printable

ODD = (
    "train",
    "test",
    "Val",
    "a",
    "b",
    ".hidden",
    "$1_$2",
    "<b>&",
    "-n",
    " ",
    "~",
    "%s",
    "ä",
    "a\nb",
    "\x1b[31m",
    "\udce9",
    "__MACOSX",
    "..a",
)
ENDINGS = ("", ".png", ".JPG", ".gif", ".tif", ".txt", ".heic", ".npz")
CONTENTS = ("image", "image", "image", "empty", "text", "cut")
NAMES = st.sampled_from(ODD) | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
FOLDERS = st.lists(NAMES, max_size=3)
FILES = st.tuples(FOLDERS, NAMES, st.sampled_from(ENDINGS), st.sampled_from(CONTENTS))
LINKS = st.tuples(FOLDERS, NAMES, st.sampled_from(("", ".png")), FOLDERS)


def image_bytes() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        Image.effect_noise((9, 6), 50).convert("RGB").save(path)
        return path.read_bytes()


IMAGE = image_bytes()
CONTENT = {"image": IMAGE, "empty": b"", "text": b"no image\n", "cut": IMAGE[: len(IMAGE) // 2]}


def make(root: Path, files, links=()) -> None:
    """The tree, as far as the disk takes it: names that are too long, taken, or of the folder itself are passed over."""
    root.mkdir()
    for folders, name, ending, content in files:
        path = root.joinpath(*folders, name + ending)
        if has_room(path):
            path.write_bytes(CONTENT[content])
    for folders, name, ending, target in links:
        path = root.joinpath(*folders, name + ending)
        if has_room(path):
            path.symlink_to(root.joinpath(*target))


def has_room(path: Path) -> bool:
    """Whether there is room for a file of this name; its folder is there then."""
    if path.name in (".", "..") or not {".", ".."}.isdisjoint(path.parts) or len(os.fsencode(path.name)) > 200:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:  # a file is in the way, or a link in a circle
        return False
    return not os.path.lexists(path)


def reachable(root: Path) -> set[tuple[Path, str]]:
    """Every file that can be reached without passing through something hidden, by its real folder and its name."""
    found, todo, seen = set(), [root], set()
    while todo:
        folder = todo.pop().resolve()
        if folder in seen:
            continue
        seen.add(folder)
        for entry in os.scandir(folder):
            if is_hidden(Path(entry.name)):
                continue
            if os.path.isdir(entry.path):
                todo.append(Path(entry.path))
            elif os.path.isfile(entry.path) or (not os.path.exists(entry.path) and is_image(Path(entry.name))):
                found.add((folder, entry.name))
    return found


@cases(150)
@given(st.lists(FILES, max_size=12), st.lists(LINKS, max_size=5))
def test_a_listing_holds_every_file_that_can_be_reached_once(files, links):
    with TemporaryDirectory() as folder:
        make(root := Path(folder) / "root", files, links)
        listed = [(path.parent.resolve(), path.name) for path in files_below(root).files]
        assert len(listed) == len(set(listed))
        assert set(listed) == reachable(root)


@cases(150)
@given(st.lists(FILES, min_size=1, max_size=12))
def test_every_file_is_an_image_of_the_set_or_counted_with_a_reason(files):
    with TemporaryDirectory() as folder:
        make(root := Path(folder) / "root", files)
        try:
            found = find_images(root)
        except InputError as error:
            check_sentence(error)
            return
        reasons = [reason for reason in found.left_out if not reason.startswith("folder without images")]
        inside = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        seen = [path for path in inside if not is_hidden(path.parent) and path.name.lower() not in LEFT_BEHIND]
        if "splits" in found.said:  # what lies in the others isn't counted
            assert len(found.files) + len(reasons) <= len(seen)
        else:
            assert len(found.files) + len(reasons) == len(seen)
        for path, label in zip(found.files, found.labels if found.labels is not None else ()):
            assert found.classes[label] in path.relative_to(root).parts
        assert all(printable(line).isprintable() for line in found.notes())


@cases(60)
@given(st.lists(FILES, min_size=1, max_size=8), st.lists(LINKS, max_size=3), st.booleans())
def test_a_folder_becomes_a_set_or_one_sentence_and_the_second_time_the_same(files, links, skip_broken):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDPM_CACHE", str(Path(folder) / "cache"))
        make(root := Path(folder) / "root", files, links)
        told = []
        for _ in range(2):
            try:
                images = load_images(root, 4, skip_broken=skip_broken)
                assert images.images.shape[1:] == (4, 4, 3)
                assert images.labels is None or (len(images.labels) == len(images) and images.labels.max() < len(images.classes))
                told.append(images.digest)
            except InputError as error:
                told.append(str(error))
        assert told[0] == told[1]
