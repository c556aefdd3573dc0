"""The API's pages: built without a warning, nothing fetched, every public name there, every equation rendered and linked to its chapter."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import ddpm_utils.api

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def api_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "notebooks" / "tools"))
        import api_pages

        yield api_pages
    for name in ("api_pages", "pages"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def built(api_pages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("html") / "api"
    api_pages.export_api(NOTEBOOKS, folder)
    return folder


class Elements(HTMLParser):
    """The elements of a page that has an identifier each, and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.fetched, self.links, self.math = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.ids += [known["id"]] if "id" in known else []
        self.math += tag == "math"
        if tag == "a":
            self.links.append(known.get("href") or "")
        else:
            self.fetched += [known[name] for name in ("src", "href", "srcset") if name in known]


def page(built, name):
    return (built / f"ddpm_utils/{name.replace('.', '/')}.html").read_text("utf-8")


def test_no_page_asks_another_host_for_anything(api_pages, built):
    for name in api_pages.MODULES:
        text = page(built, name)
        assert not [address for address in Elements(text).fetched if "//" in address and not address.startswith("data:")], name
        assert not re.findall(r"@import|url\([\"']?(?:https?:)?//", text), name


def test_every_public_name_of_the_face_and_of_the_chapters_files_is_there(api_pages, built):
    assert {"api", "schedules", "diffusion", "unet", "sampling", "ideal", "guidance"} <= set(api_pages.MODULES)
    assert set(ddpm_utils.api.__all__) <= set(Elements(page(built, "api")).ids)
    for name in api_pages.MODULES:
        source = (ROOT / "ddpm_utils" / f"{name.replace('.', '/')}.py").read_text("utf-8")
        public = set(re.findall(r"^(?:def|class) ([A-Za-z]\w*)", source, re.M))
        if name != "api":
            assert public <= set(Elements(page(built, name)).ids), name


def test_every_equation_stands_beside_its_function_with_a_link_to_its_chapter(api_pages, built):
    chapters = {path.stem for path in NOTEBOOKS}
    for module in api_pages.MODULES:
        tags = [tag for name, of in api_pages.EQUATIONS.items() if name.startswith(f"{module}.") for tag in of]
        text = page(built, module)
        elements = Elements(text)
        assert elements.math >= len(tags)
        assert elements.math == 0 or tags
        leads = [link for link in elements.links if re.search(r"\.\./\d\d_\w+\.html$", link)]
        assert len(leads) == len(tags)
        for link in leads:
            leads_to = (built / "ddpm_utils" / module.replace(".", "/")).parent / link
            assert leads_to.resolve().parent == built.parent, link
            assert leads_to.stem in chapters
        assert "$$" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)
    ddim = page(built, "sampling").split('id="ddim"')[1].split("</section>")[0]
    assert "(05.4)" in ddim
    assert "<msqrt>" in ddim


def test_the_index_of_the_course_leads_to_it():
    assert 'href="api/index.html"' in (ROOT / "notebooks" / "tools" / "pages.py").read_text("utf-8")
