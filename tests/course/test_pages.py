"""Exported pages fetch nothing: formulas are MathML, pictures are inside, sliders need no kernel."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure

from ddpm_utils.course import widgets
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
    tags = [tag for c in notebook.cells for tag in c.metadata.get("tags", [])]
    assert page.count("<summary>Solution</summary>") == tags.count("solution")
    assert page.count('<details class="gate">') == tags.count("prediction")
    assert page.count("<details") == page.count("</details>")
    for tag in re.findall(r"\\tag\{(.*?)\}", prose):
        assert f"<span>({tag})</span>" in page


def test_formulas_keep_their_numbers_and_unknown_commands_are_named():
    block = pages.formula(r"\begin{aligned}\bar\alpha_t &= \prod_s \alpha_s \\ &\le 1\end{aligned} \tag{01.3}", display=True)
    assert "<span>(01.3)</span>" in block
    assert block.count("<mtr>") == 2
    with pytest.raises(ValueError, match="foo"):
        pages.formula(r"\foo{x}", display=False)


@pytest.fixture
def explored(monkeypatch, capsys):
    """explored(render=…) -> the outputs that a cell keeps which prints before and after it explores."""

    def outputs(render) -> list:
        made = []

        def printed():
            if text := capsys.readouterr().out:
                made.append(nbformat.v4.new_output("stream", text=text))

        def display(data, raw, metadata):
            printed()
            made.append(nbformat.v4.new_output("display_data", data, metadata=metadata))

        monkeypatch.setattr(widgets, "display", display)
        monkeypatch.setattr(widgets, "_live", lambda *_: None)  # it needs a kernel and leaves nothing behind
        print("t = 1 is said before")
        widgets.explore(render, {"t": widgets.Slider(1, 3, 1)}, question="Which?", alt="A line. " * 30, frames=3)
        print("said after")
        printed()
        return made

    return outputs


def drawing(t):
    figure = Figure(figsize=(1, 1), dpi=50)
    figure.subplots().plot([0, t])
    return figure, f"{t},\nin two lines"


@pytest.mark.parametrize("reworded", [False, True])
def test_the_caption_and_the_numbers_of_a_filmstrip_go_with_it_however_they_are_worded(explored, monkeypatch, reworded):
    if reworded:
        monkeypatch.setattr(widgets, "WITHOUT", "Ohne Regler:\nvier Stellen")
        monkeypatch.setattr(widgets, "_said", lambda state, text: f"bei {state['t']}: {text}")
        monkeypatch.setattr(widgets, "_named", lambda state: f"Stelle {state['t']}")
        monkeypatch.setattr(widgets, "_caption", lambda alt: f"Bild\n{alt}\n\nEnde")
    outputs = explored(drawing)
    slider = outputs[1].data[SLIDER_MIME]
    assert "two lines" in outputs[0].text
    assert "A line." in outputs[2].text
    pages.sliders_in_place_of_filmstrips(outputs)
    assert [o.get("text") for o in outputs] == ["t = 1 is said before\n", None, "said after\n"]
    assert outputs[1].data == {"text/html": slider}


def test_a_filmstrip_of_an_older_notebook_keeps_its_words(explored):
    outputs = explored(drawing)
    outputs[1].metadata.pop(SLIDER_MIME)
    texts = [o.get("text") for o in outputs]
    pages.sliders_in_place_of_filmstrips(outputs)
    assert [o.get("text") for o in outputs] == texts
    assert "text/html" in outputs[1].data


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_filmstrip_says_which_lines_go_with_it(path):
    for cell in nbformat.read(path, as_version=4).cells:
        outputs = cell.get("outputs", [])
        for before, output, after in zip(outputs, outputs[1:], outputs[2:]):
            if SLIDER_MIME in output.get("data", {}):
                count, alt = output.metadata[SLIDER_MIME], output.metadata["image/png"]["alt"]
                assert before.text.splitlines()[-count["lines_before"]] == widgets.WITHOUT
                assert after.text.startswith(widgets._caption(alt) + "\n")
                assert count["lines_after"] == len(widgets._caption(alt).splitlines())


def test_pictures_of_other_sites_become_their_words():
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# One\n\n[![Badge](https://a.example/b.svg)](https://c.example)")]
    )
    page = pages.page(notebook, ROOT / "notebooks" / "x.ipynb", set())
    assert '<a href="https://c.example">Badge</a>' in page
