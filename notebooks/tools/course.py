"""What the Makefile does with notebooks: run them in place, export them, point their badges at a fork, list their equations.

python notebooks/tools/course.py run [NOTEBOOK …] | html | badges OWNER/NAME | equations
"""

import argparse
import re
import sys
import time
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[1]
ROOT = NOTEBOOKS.parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TAG = re.compile(r"\\tag\{(\d\d\.\d+)\}")
HELD_BY = re.compile(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)")


def notebooks() -> list[Path]:
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def source(name: str = "setup_cell.py") -> str:
    return (NOTEBOOKS / name).read_text().strip()


# --- run ---


def run(paths: list[Path]) -> None:
    """Execute in place, outputs and counts 1..n kept, everything that varies from run to run or breaks viewers removed."""
    from nbclient import NotebookClient

    for path in paths or notebooks():
        notebook = nbformat.read(path, as_version=4)
        clean(notebook, path.name)
        started = time.monotonic()
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            record_timing=False,
        )
        client.execute()
        clean(notebook, path.name)
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - started:.0f} s, {path.stat().st_size / 1e6:.2f} MB")


def clean(notebook, name: str) -> None:
    """One kernel name, the set-up cell of setup_cell.py, no widget state and no output that only a live kernel can show."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    address_it(notebook, name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = joined(o for o in cell.outputs if WIDGET_VIEW not in o.get("data", {}))


def joined(outputs) -> list:
    """Printed lines that follow each other as one output: a kernel cuts them wherever it happens to flush."""
    kept = []
    for output in outputs:
        if kept and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


# --- the repository's address, which stands in setup_cell.py ---

BADGE = re.compile(r"^\[!\[Open in \w+\]\(.*\)\]\(.*\)\n", re.M)


def badges(repository: str) -> None:
    """Write the GitHub repository OWNER/NAME into the set-up cell, and by that into every notebook."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        sys.exit(f"REPO must be OWNER/NAME as on GitHub, got {repository!r}")
    path, old = NOTEBOOKS / "setup_cell.py", address()
    path.write_text(path.read_text().replace(f'ADDRESS = "https://github.com/{old}"', f'ADDRESS = "https://github.com/{repository}"'))
    for path in all_notebooks():
        notebook = nbformat.read(path, as_version=4)
        address_it(notebook, path.name)
        nbformat.write(notebook, path)
    print(f"the notebooks name {repository}, they named {old}")
    if not is_placeholder():
        print(f"publish the version that they fetch: git tag {tag()} && git push origin {tag()}")


def all_notebooks() -> list[Path]:
    """The chapters, and the notebook that trains on Colab."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def address() -> str:
    """OWNER/NAME of the repository that the badges and the set-up cell name."""
    return re.search(r'ADDRESS = "https://github\.com/([^"]+)"', source())[1]


def tag() -> str:
    """The version that a set-up cell fetches."""
    return re.search(r'TAG = "([^"]+)"', source())[1]


def is_placeholder() -> bool:
    return address().startswith("OWNER/")


def address_it(notebook, name: str) -> None:
    """The set-up cell of setup_cell.py, and badges under the title that lead to this repository; none while it has no address."""
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = source()
            cell.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
    title, _, rest = notebook.cells[0].source.partition("\n\n")
    rest = BADGE.sub("", rest).lstrip("\n")
    place = f"{address()}/blob/main/notebooks/{name}"
    colab, kaggle = (
        f"https://colab.research.google.com/github/{place}",
        f"https://kaggle.com/kernels/welcome?src=https://github.com/{place}",
    )
    shown = (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
        f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({kaggle})\n\n"
    )
    notebook.cells[0].source = f"{title}\n\n{'' if is_placeholder() else shown}{rest}"


# --- equations ---


def equations() -> str:
    r"""tests/EQUATIONS.md: which test holds each equation that a notebook numbers with \tag{NN.K}."""
    rows = []
    for path in notebooks():
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "markdown":
                continue
            _, *parts = TAG.split(cell.source)  # tag, what follows it, tag, what follows it, …
            tests = ""
            found = []
            for tag, text in reversed(list(zip(parts[::2], parts[1::2]))):  # without tests of its own, it shares those of the next
                tests = ", ".join(f"[`{name}`]({file.removeprefix('tests/')})" for name, file in HELD_BY.findall(text)) or tests
                found.append(f"| {tag} | [{path.stem}](../notebooks/{path.name}) | {tests} |")
            rows += reversed(found)
    head = "# Which test holds which equation\n\nGenerated from the notebooks by `make equations`.\n\n"
    return head + "| equation | notebook | held by |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run").add_argument("paths", nargs="*", type=lambda p: Path(p).resolve())
    commands.add_parser("html")
    commands.add_parser("badges").add_argument("repository")
    commands.add_parser("equations")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.paths)
    elif arguments.command == "html":
        from api_pages import export_api
        from pages import export

        export(notebooks(), ROOT / "build" / "html")
        export_api(notebooks(), ROOT / "build" / "html" / "api")
    elif arguments.command == "badges":
        badges(arguments.repository)
    else:
        (ROOT / "tests" / "EQUATIONS.md").write_text(equations())


if __name__ == "__main__":
    main()
