"""The course inside the site: the pages of `make html` with its navigation, ways to the chapters before and after, and an index to search."""

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

import nbformat
import tinycss2
from bs4 import BeautifulSoup
from PIL import Image

STYLE = """<link rel="icon" href="data:,">
<style>
:root { color-scheme: light; }
.site-nav, .site-ways { max-width: 84em; margin: auto; padding: .8em 15px; display: flex; flex-wrap: wrap; gap: .2em 1.4em;
  font: 16px/1.6 system-ui, sans-serif; }
.site-nav { border-bottom: 1px solid #d9d6cf; } .site-ways { border-top: 1px solid #d9d6cf; justify-content: space-between; }
.site-nav a { color: #22252a; } .site-nav a[aria-current] { box-shadow: 0 2px 0 #0b5fae; text-decoration: none; } .site-ways a { color: #0b5fae; }
@media (max-width: 40em) {
  div.prompt { display: none; } div.cell, div.inner_cell, div.output_subarea { min-width: 0; max-width: 100%; }
  #notebook-container { padding: 8px; } .output_area { overflow-x: auto; } .rendered_html table { display: block; overflow-x: auto; }
}
</style>
"""
PICTURE = re.compile(r"data:image/(png|jpeg|webp|svg\+xml);base64,([A-Za-z0-9+/=\s]+)")
# names, brackets, blanks and operators in code: most of its marks, hardly coloured
PLAIN = re.compile(r'<span class="[npwo]">([^<]*)</span>')
SCHEDULES = 'aria-label="schedule"'  # of a menu beside a slider, which needs nothing but arithmetic
SHEET = re.compile(r'<style type="text/css">(.*?)</style>', re.S)
NO_LINK = re.compile(r'<a href="(?:\.\./\.\./[^"]*|[\w]+\.ipynb[^"]*)"[^>]*>(.*?)</a>', re.S)


def export_course(paths: list[Path], out: Path, navigation: str, repository: str) -> list[dict]:
    """One page a notebook into `out`, and search.json; returns each chapter's file, title and first paragraph.

    repository: OWNER/NAME that files beside the notebooks are linked to; without one they are named and not linked.
    """
    from pages import page, title

    out.mkdir(parents=True)
    chapters, sections = [], []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        about = notebook.cells[0].source.split("\n\n")
        chapters.append({"file": f"{path.stem}.html", "title": title(notebook), "about": plain(first_paragraph(about[1:]))})
    stems = {path.stem for path in paths}
    for i, path in enumerate(paths):
        text = page(nbformat.read(path, as_version=4), path, stems)
        sections += sections_of(text, chapters[i])
        ways = way("Previous", chapters[i - 1] if i else None) + way("Next", chapters[i + 1] if i + 1 < len(chapters) else None)
        text = text.replace("</head>", STYLE + "</head>", 1)
        text = text.replace("<body>", f'<body>\n<nav class="site-nav" aria-label="Site">{navigation}</nav>', 1)
        text = text.replace("</body>", f'<nav class="site-ways" aria-label="Chapters">{ways}</nav>\n</body>', 1)
        if SCHEDULES in text:
            text = text.replace("</body>", '<script src="schedule_slider.js"></script>\n</body>', 1)
        (out / chapters[i]["file"]).write_text(outside(linked(text, repository), out))
    (out / "search.json").write_text(json.dumps(sections, ensure_ascii=False, separators=(",", ":")))
    return chapters


def outside(text: str, out: Path) -> str:
    """A page without its weight: pictures and style sheets as files beside the chapters, once each, PNG as WebP without loss; plainer code."""

    classes = {name for names in re.findall(r'class="([^"]*)"', text) for name in names.split()}

    def picture(match: re.Match) -> str:
        data = base64.b64decode(match[2])
        return stored(as_webp(data), ".webp") if match[1] == "png" else stored(data, f".{match[1].removesuffix('+xml')}")

    def sheet(match: re.Match) -> str:
        if len(match[1]) < 1000:
            return match[0]
        return f'<link rel="stylesheet" href="{stored(used_rules(match[1], classes).encode(), ".css")}">'

    def stored(data: bytes, ending: str) -> str:
        path = out / f"{hashlib.sha256(data).hexdigest()[:16]}{ending}"
        path.write_bytes(data)
        return path.name

    return PLAIN.sub(r"\1", SHEET.sub(sheet, PICTURE.sub(picture, text)))


def as_webp(png: bytes) -> bytes:
    """A PNG as a lossless WebP."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).save(file, "WEBP", lossless=True, quality=80, method=4)
    return file.getvalue()


def used_rules(sheet: str, classes: set[str]) -> str:
    """A style sheet without the rules for classes that no page has: nearly all of a notebook's are for its editor."""

    def kept(rule) -> bool:
        if rule.type == "at-rule" and rule.lower_at_keyword == "media" and rule.content:
            rule.content = [part for part in tinycss2.parse_rule_list(rule.content, True, True) if kept(part)]
            return bool(rule.content)
        selectors = tinycss2.serialize(rule.prelude).split(",") if rule.type == "qualified-rule" else [""]
        return any(set(re.findall(r"\.([\w-]+)", selector)) <= classes for selector in selectors)

    return tinycss2.serialize([rule for rule in tinycss2.parse_stylesheet(sheet, True, True) if kept(rule)])


def way(words: str, chapter: dict | None) -> str:
    """A link to a chapter before or after; its empty place where there is none."""
    return f'<a href="{chapter["file"]}">{words}: {html.escape(chapter["title"])}</a>' if chapter else "<span></span>"


def first_paragraph(paragraphs: list[str]) -> str:
    """The first that is prose: no heading, badge or list of goals."""
    return next(p for p in paragraphs if not p.startswith(("#", "[!", "!", "**You")))


def plain(markdown: str) -> str:
    """A paragraph without its marks."""
    return re.sub(r"[*`$]|\[([^\]]*)\]\([^)]*\)", lambda m: m[1] or "", markdown).replace("\n", " ").strip()


def linked(text: str, repository: str) -> str:
    """Links to files beside the notebooks lead to the repository, or become plain words where it has no address."""
    if not repository:
        return NO_LINK.sub(r"\1", text)
    place = f"https://github.com/{repository}/blob/main"
    text = re.sub(r'href="\.\./\.\./', f'href="{place}/', text)
    return re.sub(r'href="(\w+\.ipynb)', rf'href="{place}/notebooks/\1', text)


def sections_of(text: str, chapter: dict) -> list[dict]:
    """What can be found on a page: its prose by headings, each with the address that leads there."""
    found: list[dict] = []
    for cell in BeautifulSoup(text, "html.parser").select(".text_cell_render"):
        for math in cell.select("math"):
            math.decompose()
        for part in cell.find_all(True, recursive=False):
            if part.name in ("h1", "h2", "h3"):
                for mark in part.select("a.anchor-link"):
                    mark.decompose()
                found.append(
                    {"to": f"{chapter['file']}#{part.get('id', '')}", "in": chapter["title"], "is": part.get_text().strip(), "text": ""}
                )
            elif found:
                found[-1]["text"] = f"{found[-1]['text']} {' '.join(part.get_text().split())}".strip()
    return found
