"""Exported pages fetch nothing: formulas are MathML, pictures are inside, sliders need no kernel."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

from ddpm_utils.course.widgets import SLIDER_MIME

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))

spec = importlib.util.spec_from_file_location("pages", ROOT / "notebooks" / "tools" / "pages.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_page_fetches_nothing_and_shows_every_formula_and_slider(path):
    notebook = nbformat.read(path, as_version=4)
    sliders = sum(SLIDER_MIME in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))
    page = pages.page(notebook, path, {p.stem for p in FILES})
    assert not re.findall(r"<script|<link\b|@import|\b(?:src|srcset)=[\"'](?!data:)", page)
    assert page.count('class="ddpm-slider"') == sliders
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert page.count('<div class="equation">') == len(re.findall(r"\$\$.*?\$\$", prose, re.S))
    assert page.count("<details>") == sum("solution" in c.metadata.get("tags", []) for c in notebook.cells)
    for tag in re.findall(r"\\tag\{(.*?)\}", prose):
        assert f"<span>({tag})</span>" in page


def test_formulas_keep_their_numbers_and_unknown_commands_are_named():
    block = pages.formula(r"\begin{aligned}\bar\alpha_t &= \prod_s \alpha_s \\ &\le 1\end{aligned} \tag{01.3}", display=True)
    assert "<span>(01.3)</span>" in block
    assert block.count("<mtr>") == 2
    with pytest.raises(ValueError, match="foo"):
        pages.formula(r"\foo{x}", display=False)


def test_the_caption_and_the_numbers_of_a_filmstrip_go_with_it():
    strip = {"image/png": "", SLIDER_MIME: "<figure>slider</figure>"}
    alt = "A line. " * 30 + "Positions, in reading order: t = 1; t = 5."
    outputs = [
        nbformat.v4.new_output("stream", text="said before\nt = 1: snr = 3\nt = 5\n"),
        nbformat.v4.new_output("display_data", strip, metadata={"image/png": {"alt": alt}}),
        nbformat.v4.new_output("stream", text=pages.textwrap.fill("Figure: " + alt, pages.WRAP) + "\nsaid after\n"),
    ]
    pages.sliders_in_place_of_filmstrips(outputs)
    assert outputs[0].text == "said before\n"
    assert outputs[1].data == {"text/html": "<figure>slider</figure>"}
    assert outputs[2].text == "said after\n"


def test_pictures_of_other_sites_become_their_words():
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# One\n\n[![Badge](https://a.example/b.svg)](https://c.example)")]
    )
    page = pages.page(notebook, ROOT / "notebooks" / "x.ipynb", set())
    assert '<a href="https://c.example">Badge</a>' in page
