"""What a reader sees: the notebooks in JupyterLab with live sliders, and the exported pages from disk without a network.

Run by `make test-browser`; named so that `make test`, which needs no browser, passes it over.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from playwright.sync_api import expect

ROOT = Path(__file__).resolve().parents[2]
ALL = sorted(p.stem for p in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
SECONDS = 1000

IS_MENU = "e => e.tagName === 'SELECT'"
AT_END = f"e => ({IS_MENU})(e) ? e.selectedIndex === e.length - 1 : e.ariaValueNow === e.ariaValueMax"
COUNTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(e => e.textContent.trim())"


def run_all(page, lab, screenshot, stem):
    page.add_locator_handler(page.locator(".jp-Dialog .jp-mod-accept"), lambda accept: accept.click())  # which kernel? the suggested one
    page.goto(lab(f"{stem}.ipynb"))
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("| Idle").first.wait_for()  # in the status bar, once the kernel answers
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        f"() => {COUNTS}.length && ({COUNTS}.every(c => /\\d/.test(c)) || document.querySelector('[data-mime-type$=\"jupyter.error\"]'))",
        timeout=240 * SECONDS,
    )
    errors = page.locator('[data-mime-type$="jupyter.error"]')
    assert errors.count() == 0, errors.first.inner_text()
    whole = page.locator(".jp-WindowedPanel-outer").first
    page.set_viewport_size({"width": 1400, "height": min(whole.evaluate("e => e.scrollHeight") + 120, 16_000)})
    whole.evaluate("e => { e.scrollTop = 0 }")
    expect(page.locator(".jp-Notebook .jp-CodeCell").first).to_be_in_viewport()
    screenshot(page, f"{stem[:2]}-lab")
    page.set_viewport_size({"width": 1400, "height": 1000})


def move_sliders(page, screenshot, stem):
    boxes = page.locator(".jp-OutputArea-output .widget-vbox")
    expect(boxes.first).to_be_visible()
    for i in range(boxes.count()):
        box = boxes.nth(i)
        box.scroll_into_view_if_needed()
        handle = box.get_by_role("slider").or_(box.get_by_role("combobox")).first
        # a menu in JupyterLab stays as it is under arrows
        forth, back = ("End", "Home") if handle.evaluate(IS_MENU) else ("ArrowRight", "ArrowLeft")
        picture, numbers = box.locator("img").first, box.locator("pre").first
        expect(picture).to_be_visible()
        assert picture.get_attribute("alt"), "the live picture has no alt text"
        screenshot(box, f"{stem[:2]}-slider-{i}-before")
        seen, said = picture.get_attribute("src"), numbers.inner_text()
        at_end = handle.evaluate(AT_END)
        handle.focus()
        handle.press("Home" if at_end else "End")
        expect(numbers).not_to_have_text(said)
        expect(picture).not_to_have_attribute("src", seen)
        said = numbers.inner_text()
        handle.press(forth if at_end else back)  # one position, or a menu's other end
        expect(numbers).not_to_have_text(said)
        screenshot(box, f"{stem[:2]}-slider-{i}-after")


def click_the_pad(page, screenshot):
    """A click inks a cell, another clears it; what is drawn goes into the next cell's pictures."""
    answer = page.locator(".jp-CodeCell", has_text="from_pad = pad.hint(SIZE)").first
    picture, cell = answer.locator(".jp-OutputArea-output img").first, page.locator(".widget-gridbox button").first
    seen = picture.get_attribute("src")
    expect(cell).not_to_have_class(re.compile("mod-info"))
    cell.click()
    expect(cell).to_have_class(re.compile("mod-info"))
    screenshot(page.locator(".widget-gridbox").first, "08-pad")
    answer.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(picture).not_to_have_attribute("src", seen)
    screenshot(picture, "08-pad-answer")
    cell.click()
    expect(cell).not_to_have_class(re.compile("mod-info"))


@pytest.mark.parametrize("stem", ALL)
def test_a_notebook_runs_in_jupyterlab_and_its_sliders_move_by_keyboard(page, lab, screenshot, stem):
    run_all(page, lab, screenshot, stem)
    move_sliders(page, screenshot, stem)
    if stem.startswith("08"):
        click_the_pad(page, screenshot)


@pytest.fixture(scope="session")
def pages():
    subprocess.run([sys.executable, ROOT / "notebooks" / "tools" / "course.py", "html"], check=True)
    return ROOT / "build" / "html"


@pytest.mark.parametrize("stem", ALL)
def test_an_exported_page_works_from_disk_without_a_network(page, pages, screenshot, stem):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    page.goto((pages / f"{stem}.html").as_uri())
    assert not [url for url in asked if not url.startswith(("file:", "data:"))], "the page fetches something"
    formulas = page.locator("math")
    assert formulas.count() > 0
    for formula in formulas.all():
        shape = formula.bounding_box()
        assert shape["width"] > 1, formula.inner_html()
        assert shape["height"] > 1, formula.inner_html()
    prose = " ".join(page.locator(".text_cell_render").all_inner_texts())
    assert "$" not in prose
    screenshot(page, f"{stem[:2]}-page", full_page=True)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")  # results that a prediction gates
    figures = page.locator("figure.ddpm-slider")
    for i in range(figures.count()):
        controls, picture, numbers = (figures.nth(i).locator(s) for s in ("input[type=range], select", "div", "output"))
        controls.first.scroll_into_view_if_needed()
        for control in controls.all():
            seen, said = picture.first.screenshot(), numbers.inner_text()
            if control.evaluate("c => c.tagName") == "SELECT":
                control.select_option(index=1)
            else:
                control.focus()
                control.press("End" if control.input_value() == "0" else "Home")
            expect(numbers).not_to_have_text(said)
            assert control.get_attribute("aria-valuetext") == numbers.inner_text()
            assert picture.first.screenshot() != seen or stem.startswith("01"), "beyond its last step, T = 300 looks alike"
        screenshot(figures.nth(i), f"{stem[:2]}-page-slider-{i}")


def test_the_index_leads_to_every_page(page, pages, screenshot):
    page.goto((pages / "index.html").as_uri())
    links = page.get_by_role("link")
    assert [link.get_attribute("href") for link in links.all()] == [*(f"{stem}.html" for stem in ALL), "api/index.html"]
    screenshot(page, "index")
    links.first.click()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)


def test_a_folder_is_judged_by_key_and_what_is_rejected_is_put_back(page, tmp_path, screenshot):
    image, photos, out = skimage.data.coffee(), tmp_path / "photos", tmp_path / "out"
    retouched = image.copy()
    retouched[100:200, 100:300] //= 2
    for folder, pixels in ((photos, image), (out, retouched)):
        folder.mkdir()
        for name in ("a.png", "b #1.jpg", "c.tiff"):
            Image.fromarray(pixels).save(folder / name)
    command = [sys.executable, "-m", "ddpm_utils", "retouch", photos, "--out", out]
    subprocess.run([*command, "--report", tmp_path / "report.html"], check=True)
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.context.set_offline(True)
    page.goto((tmp_path / "report.html").as_uri())
    said = page.locator("#said")
    expect(said).to_contain_text("1 of 3; 8.3 % of its pixels changed; 0 accepted, 0 rejected")
    page.keyboard.press("a")
    expect(said).to_contain_text("1 accepted, 0 rejected")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_have_text("b #1.jpg")
    page.keyboard.press("r")
    expect(said).to_contain_text("1 accepted, 1 rejected")
    page.get_by_role("button", name="100 %", exact=True).click()
    page.get_by_role("button", name="Show changes").click()
    page.wait_for_timeout(300)  # the photograph comes from the disk
    screenshot(page, "report")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_have_text("c.tiff")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save decisions").click()
    saving.value.save_as(tmp_path / "decisions.json")
    assert not faults
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))], "the page fetches something"
    subprocess.run([*command, "--restore", tmp_path / "decisions.json"], check=True)
    same = {p.name: p.read_bytes() == (photos / p.name).read_bytes() for p in out.iterdir()}
    assert same == {"a.png": False, "b #1.jpg": True, "c.tiff": False}
