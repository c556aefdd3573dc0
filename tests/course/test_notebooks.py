"""Each notebook as a file: in order, readable everywhere, self-contained; its exercises solvable; its equations held by a test."""

import ast
import base64
import importlib.util
import io
import re
import symtable
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import nbformat
import pytest
from PIL import Image
from pyflakes import checker, messages

from ddpm_utils.course.widgets import SLIDER_MIME

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MAGICS: set[str] = set()  # none is needed; add one here with a reason
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)[^)]*\)")

spec = importlib.util.spec_from_file_location("course", ROOT / "notebooks" / "tools" / "course.py")
course = importlib.util.module_from_spec(spec)
spec.loader.exec_module(course)

every_notebook = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook, tag=None):
    return [c for c in notebook.cells if c.cell_type == "code" and (tag is None or tag in c.metadata.get("tags", []))]


def prose(notebook):
    return "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def links(text):
    """(is an image, words or alt, address), also of images inside links."""
    for bang, words, address in LINK.findall(text):
        yield bool(bang), words, address
        yield from links(words)


def test_there_are_notebooks():
    assert FILES


@every_notebook
def test_is_valid_small_and_has_one_title(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size <= 1_000_000
    without_code = re.sub(r"```.*?```", "", prose(notebook), flags=re.S)
    assert len(re.findall(r"^# ", without_code, re.M)) == 1
    assert notebook.cells[0].source.startswith("# ")


@every_notebook
def test_was_executed_in_order_or_not_at_all(path):
    notebook = read(path)
    counts = [c.execution_count for c in code_cells(notebook)]
    executed = counts == list(range(1, len(counts) + 1))
    clean = counts == [None] * len(counts) and not any(c.outputs for c in code_cells(notebook))
    assert executed or clean, counts
    assert not [o for c in code_cells(notebook) for o in c.outputs if o.output_type == "error"]


@every_notebook
def test_holds_nothing_that_only_a_live_kernel_can_show(path):
    notebook = read(path)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert not [o for c in code_cells(notebook) for o in c.outputs if course.WIDGET_VIEW in o.get("data", {})]


@every_notebook
def test_every_picture_has_alt_text(path):
    notebook = read(path)
    for cell in code_cells(notebook):
        for output in cell.outputs:
            for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                assert output.metadata.get(kind, {}).get("alt", "").strip(), cell.source
                Image.open(io.BytesIO(base64.b64decode(output.data[kind]))).verify()
            if "image/svg+xml" in output.get("data", {}):
                assert re.match(r'<svg role="img" aria-label="[^"]+"', output.data["image/svg+xml"]), cell.source
            for page in (output.get("data", {}).get(kind, "") for kind in ("text/html", SLIDER_MIME)):
                assert all(re.search(r'\balt="[^"]+"', tag) for tag in re.findall(r"<img\b[^>]*>", page)), cell.source
                assert all("aria-label=" in tag for tag in re.findall(r"<input\b[^>]*>", page)), cell.source
    assert all(words.strip() for image, words, _ in links(prose(notebook)) if image)
    assert "<img" not in prose(notebook)


@every_notebook
def test_starts_with_the_one_setup_cell(path):
    cells = code_cells(read(path))
    assert [i for i, c in enumerate(cells) if "setup" in c.metadata.get("tags", [])] == [0]
    assert cells[0].source == course.source()
    assert cells[0].metadata["jupyter"]["source_hidden"]


@every_notebook
def test_uses_no_magic_and_no_shell(path):
    for cell in code_cells(read(path)):
        for line in cell.source.splitlines():
            if re.match(r"\s*[%!]", line):
                assert line.split()[0] in MAGICS, line


@every_notebook
def test_names_are_defined_above_their_use(path):
    source = "\n\n".join(c.source for c in code_cells(read(path)))
    bad = (messages.UndefinedName, messages.UnusedImport, messages.UndefinedLocal)
    assert not [str(m) for m in checker.Checker(ast.parse(source), path.name).messages if isinstance(m, bad)]


def globals_read(table):
    """Names of the module that a function, or a function within it, reads; of its symtable."""
    return {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}.union(
        *map(globals_read, table.get_children())
    )


@every_notebook
def test_no_later_cell_gives_another_meaning_to_what_a_slider_draws_with(path):
    """A reader runs all cells, scrolls back and moves the slider: its function looks its names up only then."""
    cells = code_cells(read(path))
    drawing = set(re.findall(r"\bexplore\(\s*(\w+)", "\n".join(cell.source for cell in cells)))
    needs = {}  # what each function above reads, itself or through others
    for cell in cells:
        table = symtable.symtable(cell.source, path.name, "exec")
        changed = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        for function in drawing & set(needs):
            assert not changed & needs[function], f"{function} draws with {changed & needs[function]}, which cell {cell.id} changes"
        for function in table.get_children():
            read_here = globals_read(function)
            needs[function.get_name()] = read_here.union(*(needs.get(name, set()) for name in read_here))


@every_notebook
def test_links_and_badges_lead_to_files_of_this_repository(path):
    badges = []
    for _, _, address in links(prose(read(path))):
        url = urlparse(address)
        if not url.scheme:
            assert url.path == "" or (path.parent / url.path).resolve().exists(), address
            assert (path.parent / url.path).resolve().is_relative_to(ROOT), address
        elif url.netloc == "colab.research.google.com" and url.path.startswith("/github/"):
            badges.append(url.path.removeprefix("/github/"))
        elif url.netloc == "kaggle.com" and url.path == "/kernels/welcome":
            badges.append(parse_qs(url.query)["src"][0].removeprefix("https://github.com/"))
    assert badges == ([] if course.is_placeholder() else [f"{course.address()}/blob/main/notebooks/{path.name}"] * 2)


@every_notebook
def test_has_predictions_exercises_and_the_parts_of_a_chapter(path):
    notebook = read(path)
    assert len(code_cells(notebook, "prediction")) >= 2
    assert len(code_cells(notebook, "exercise")) >= 2
    assert "expect_failure(" in "\n".join(c.source for c in code_cells(notebook))
    for part in ("You will", "You need", "| minutes | tiny | demo | full |", "## What to take along", "## References"):
        assert part in prose(notebook), part
    for word in ("CPU", "T4", "P100"):
        assert re.search(rf"^\| {word}", prose(notebook), re.M), word


LATER = ("06",)  # chapters that are still to follow these
settled = pytest.mark.parametrize("path", [p for p in FILES if not p.stem.startswith(LATER)], ids=lambda p: p.stem)


@settled
def test_lines_of_code_have_at_most_a_hundred_columns(path):
    lines = [line for cell in code_cells(read(path))[1:] for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > 100]


@settled
def test_the_question_of_every_slider_is_answered_in_a_fold_below(path):
    cells = read(path).cells
    asked = [i for i, cell in enumerate(cells) if cell.cell_type == "code" and re.search(r"^explore\(", cell.source, re.M)]
    assert asked
    for i in asked:
        assert cells[i + 1].source.startswith("<details>\n<summary>Answer</summary>\n\n"), cells[i].source
        assert cells[i + 1].source.endswith("\n\n</details>")


@settled
def test_every_exercise_says_how_long_and_how_hard_it_is_one_takes_ten_to_twenty_minutes_and_one_question_is_open(path):
    text = prose(read(path))
    stated = re.findall(r"\*\*Exercise (\d\d\.\d)\*\* \((\d+) minutes, (?:easy|medium|hard)\)\.", text)
    assert [name for name, _ in stated] == [name_of(cell) for cell in code_cells(read(path), "exercise")]
    assert any(10 <= int(minutes) <= 20 for _, minutes in stated)
    assert re.search(r"\*\*(?:Open question|Exercise without a check, and an open question)", text)


# --- exercises: the solution passes, the stub fails ---


def definitions_above(notebook, cell):
    """Imports, functions, classes and CONSTANTS of the cells above, without what they compute: exercises need no more."""
    kept = []
    for above in code_cells(notebook)[1:]:
        if above is cell:
            break
        for node in ast.parse(above.source).body:
            constant = isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) and t.id.isupper() for t in node.targets)
            if constant or isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
                kept.append(node)
    return ast.Module(kept, [])


def said_by(notebook, cell, capsys):
    namespace = {"__name__": "notebook"}
    exec(compile(definitions_above(notebook, cell), "above", "exec"), namespace)
    capsys.readouterr()
    exec(compile(cell.source, "cell", "exec"), namespace)
    return capsys.readouterr().out


def name_of(cell):
    return re.search(r'check\("(\d\d\.\d+)"', cell.source)[1]


def exercises(tag):
    return [pytest.param(p, i, id=f"{p.stem}-{i}") for p in FILES for i in range(len(code_cells(read(p), tag)))]


@every_notebook
def test_each_exercise_has_one_hidden_solution(path):
    notebook = read(path)
    asked, solved = ([name_of(c) for c in code_cells(notebook, tag)] for tag in ("exercise", "solution"))
    assert asked == solved == [f"{path.stem[:2]}.{i + 1}" for i in range(len(asked))]
    assert all(c.metadata.get("jupyter", {}).get("source_hidden") for c in code_cells(notebook, "solution"))


@pytest.mark.parametrize(("path", "i"), exercises("solution"))
def test_the_solution_passes_its_check(path, i, capsys):
    notebook = read(path)
    cell = code_cells(notebook, "solution")[i]
    assert f"{name_of(cell)}: right" in said_by(notebook, cell, capsys)


@pytest.mark.parametrize(("path", "i"), exercises("exercise"))
def test_the_stub_runs_and_fails_its_check(path, i, capsys):
    notebook = read(path)
    cell = code_cells(notebook, "exercise")[i]
    assert f"{name_of(cell)}: not yet" in said_by(notebook, cell, capsys)


# --- equations and symbols ---


def test_each_equation_is_held_by_a_test_and_the_table_is_up_to_date():
    table = course.equations()
    for name, file in re.findall(r"\[`(test_\w+)`\]\(([\w/]+\.py)\)", table):
        assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.M), f"{file} has no {name}"
    assert not re.findall(r"^\|.*\|  \|$", table, re.M), "an equation is held by no test"
    tags = re.findall(r"^\| (\d\d\.\d+)", table, re.M)
    assert len(tags) == len(set(tags))
    assert (ROOT / "tests" / "EQUATIONS.md").read_text() == table, "run: make equations"


def test_the_symbol_table_names_real_attributes_with_their_shapes():
    from ddpm_utils.schedules import NoiseSchedule

    (cell,) = [c for p in FILES for c in read(p).cells if "symbols" in c.metadata.get("tags", [])]
    schedule = NoiseSchedule.linear(300)
    rows = re.findall(r"^\| .*? \| `(\w+)` \| (\(.*?\)) \|", cell.source, re.M)
    assert len(rows) >= 9
    for name, shape in rows:
        assert shape == "(T,)", name
        assert getattr(schedule, name).shape == (300,), name
