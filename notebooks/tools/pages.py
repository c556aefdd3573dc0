"""Notebooks as pages that need no network: formulas as MathML, sliders without a kernel, nothing fetched from anywhere."""

import html
import re
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from ddpm_utils.course.widgets import SLIDER_MIME

TAG = re.compile(r"\\tag\{([^}]*)\}")
FOLDED = {"solution": "Solution", "setup": "Set-up, the same in every notebook"}  # cells whose code opens on a click, by tag
OPEN, CLOSE = "A-RESULT-BEGINS-HERE", "A-RESULT-ENDS-HERE"  # what becomes the ends of a fold around outputs
STYLE = """<style>
body { background: white; } #notebook-container { width: auto; max-width: 84em; box-shadow: none; }
.rendered_html :is(p, li, figcaption) { max-width: 60em; } .rendered_html :is(td, th) { text-align: left; } .rendered_html table { margin-left: 0; }
div.input_area pre, div.output_area pre { font-size: 12px; word-break: normal; overflow-wrap: anywhere; }
.equation { display: flex; align-items: center; gap: 1em; overflow-x: auto; margin: 1em 0; max-width: 60em; }
.equation math { flex: 1; font-size: 1.1em; } .rendered_html img { max-width: 100%; margin-left: 0; }
summary { cursor: pointer; color: #1c5fa8; margin: 0.3em 0; } .output_svg svg { max-width: 100%; height: auto; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math; }
</style>
"""


def formula(tex: str, display: bool) -> str:
    r"""MathML for a formula, its \tag{…} at the right. Raises ValueError for what can't be translated, and names it."""
    tag = TAG.search(tex)
    tex = TAG.sub("", tex).strip().replace("{aligned}", "{align*}")
    tex = re.sub(r"\\(?:big|Big|bigg|Bigg)[lrm]?(?=[^a-z])", "", tex)  # sizes are the browser's business
    mathml = convert(tex, display="block" if display else "inline").replace("negativethinmathspace", "-0.167em")
    if "\\" in mathml or re.search(r"<m\w+>&<", mathml):
        raise ValueError(f"this formula has a command that can't be exported: {tex}")
    mathml = mathml.replace("\N{MATHEMATICAL SCRIPT CAPITAL N}", "N").replace("&#x1D4A9;", "N")  # missing in most fonts
    mathml = re.sub(r"(<mi>(?:log|exp|min|max)</mi>)(?!<mo)", r'\1<mspace width="0.167em"/>', mathml)
    if not display:
        return mathml
    return f'<div class="equation">{mathml}{f"<span>({tag[1]})</span>" if tag else ""}</div>'


class Renderer(IPythonRenderer):
    """Markdown with its formulas as MathML, and images of other sites as their alt text."""

    def block_math(self, body: str) -> str:
        return formula(body, display=True)

    def inline_math(self, body: str) -> str:
        return formula(body, display=False)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return html.escape(text) if url.startswith("http") else super().image(text, url, title)


class Exporter(HTMLExporter):
    """nbconvert's classic page, without its scripts."""

    @pass_context
    def markdown2html(self, context, source):
        return MarkdownWithMath(renderer=Renderer(escape=False, embed_images=True, path=str(self.folder))).render(source)


def export(paths: list[Path], target: Path) -> None:
    """One self-contained page per notebook, and an index."""
    target.mkdir(parents=True, exist_ok=True)
    entries = []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        (target / f"{path.stem}.html").write_text(page(notebook, path, {p.stem for p in paths}))
        entries.append(f'<li><a href="{path.stem}.html">{html.escape(title(notebook))}</a></li>')
    (target / "index.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>Denoising diffusion, chapter by chapter</title>"
        '<body style="font-family:sans-serif;max-width:40em;margin:2em auto;padding:0 1em;line-height:1.6">'
        f"<h1>Denoising diffusion, chapter by chapter</h1><ol style='list-style:none;padding:0'>{''.join(entries)}</ol>"
        '<p><a href="api/index.html">The package, function by function</a></p></body></html>'
    )
    print(f"{len(entries)} pages; open {target / 'index.html'}")


def page(notebook, path: Path, stems: set[str]) -> str:
    """The HTML of one notebook. stems: the notebooks that have pages of their own, to link to."""
    for cell in notebook.cells:
        sliders_in_place_of_filmstrips(cell.get("outputs", []))
    for cell in results_of_predictions(notebook):
        gate(cell)
    exporter = Exporter(template_name="classic", mathjax_url="", require_js_url="", jquery_url="")
    exporter.folder = path.parent
    text, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title(notebook)}})
    text = re.sub(r"<script\b.*?</script>", "", text, flags=re.S)  # MathJax and Mermaid, which are fetched; sliders need none
    for tag, name in FOLDED.items():
        code = rf'(celltag_{tag}.*?)(<div class="\s*highlight.*?</pre></div>)'
        text = re.sub(code, rf"\1<details><summary>{name}</summary>\2</details>", text, flags=re.S)
    area = r'<div class="output_area">(?:(?!<div class="output_area">).)*?'
    text = re.sub(
        area + OPEN + r".*?</div>\s*</div>",
        '<details class="gate"><summary>Your guess is written down? Open the result.</summary>',
        text,
        flags=re.S,
    )
    text = re.sub(area + CLOSE + r".*?</div>\s*</div>", "</details>", text, flags=re.S)
    text = text.replace("<html>", '<html lang="en">', 1).replace("</head>", STYLE + "</head>", 1)
    text = re.sub(r'href="(\d\d_\w+)\.ipynb', lambda m: f'href="{m[1]}.html' if m[1] in stems else m[0], text)
    return re.sub(r'href="\.\./', 'href="../../', text)  # build/html lies one folder deeper than notebooks


def results_of_predictions(notebook) -> list:
    """The code cells that show what a prediction was about: the first below it that names the guess, or else the next one with outputs."""
    found = []
    for i, cell in enumerate(notebook.cells):
        if "prediction" in cell.metadata.get("tags", []):
            names = re.findall(r"^(\w+) = ", cell.source, re.M)
            below = [c for c in notebook.cells[i + 1 :] if c.cell_type == "code" and c.get("outputs")]
            found += [next((c for c in below if any(name in c.source for name in names)), None) or below[0]] if below else []
    return found


def gate(cell) -> None:
    """Have the outputs of a cell open on a click."""
    marks = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in (OPEN, CLOSE)]
    cell.outputs = [marks[0], *cell.outputs, marks[1]]


def sliders_in_place_of_filmstrips(outputs: list) -> None:
    """Show a slider where its filmstrip was, and take away its numbers and caption: as many lines before and after it as its metadata says."""
    for before, output, after in zip([None, *outputs], outputs, [*outputs[1:], None]):
        slider = output.get("data", {}).pop(SLIDER_MIME, None)
        if slider:
            count = output.metadata.get(SLIDER_MIME, {})  # of older outputs: none, and all that was printed stays
            if before is not None and "text" in before:
                lines = before.text.splitlines(keepends=True)
                before.text = "".join(lines[: len(lines) - count.get("lines_before", 0)])
            if after is not None and "text" in after:
                after.text = "".join(after.text.splitlines(keepends=True)[count.get("lines_after", 0) :])
            output.update(data={"text/html": slider}, metadata={})
    outputs[:] = [o for o in outputs if o.get("text") != ""]


def title(notebook) -> str:
    """The notebook's one H1."""
    return re.search(r"^# (.+)$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)[1]
