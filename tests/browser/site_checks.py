"""The site as a reader has it: numbers equal to Python's of the same run, by keyboard, on a phone, offline, with files of every kind.

Run by `make test-browser`, which builds it first.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from site_pages import SECONDS, SITE, apart_from_command, choose, draw, encoded, pixels, served

from ddpm_utils.data.synthetic.wrinkles import wrinkle_pair
from ddpm_utils.models import load_model, shipped
from ddpm_utils.restoration import retouch
from ddpm_utils.restoration.settings import RetouchSettings
from ddpm_utils.schedules import NoiseSchedule

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("index.html", "course/index.html", "play.html", "points.html", "retouch.html", "licences.html")
AXE = ROOT / "site" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def address():
    with served() as address:
        yield address


@pytest.fixture
def visit(page, address):
    """visit("play.html"): the page opened; at the end it must have asked no other host, and shown no error."""
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))

    def opened(name):
        page.goto(address + name)
        return page

    yield opened
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert errors == []


def axe(page, what: str) -> None:
    """No rule of accessibility is broken."""
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 120))]))")
    assert found == [], what


@pytest.fixture(scope="module")
def photograph():
    """A picture (H, W, 3) in which the model finds something to change."""
    return wrinkle_pair(600, 5, "figure").source[:560]


@pytest.mark.parametrize(
    ("model", "sampler", "guidance"),
    [("digits", "ddim", 1), ("digits", "ddpm", 3), ("digits", "dpm", 1), ("toy-cars", "ddim", 2), ("clothes", "ddim", 1)],
)
def test_the_page_draws_what_its_command_draws(visit, tmp_path, model, sampler, guidance):
    page = visit("play.html")
    page.locator("#draw-model").select_option(model)
    draw(page, sampler=sampler, guidance=guidance, steps=10, seed=7)
    assert page.locator("#draw-rounded").is_visible() == (model == "clothes")
    differs = apart_from_command(page, tmp_path)
    if model == "clothes":  # the page's weights are rounded
        assert differs.max() <= 2
        assert (differs > 1).mean() <= 1e-3
        assert (differs > 0).mean() <= 0.25
        return
    assert differs.max() <= 1
    at_borders_of_levels = 0 if (model, sampler) == ("digits", "ddim") else 1e-3
    assert (differs > 0).mean() <= at_borders_of_levels


def test_the_steps_can_be_gone_back_through_and_a_later_run_needs_no_network(visit, screenshot):
    page = visit("play.html")
    draw(page, steps=4)
    last = pixels(page.locator("#draw-xt"))
    page.locator("#draw-moment").focus()
    page.keyboard.press("Home")
    expect(page.locator("#draw-at")).to_contain_text("Step 1")
    assert np.abs(pixels(page.locator("#draw-xt")).astype(int) - last).mean() > 20, "the first step is still noise"
    page.context.set_offline(True)
    draw(page, steps=3, seed=5)
    screenshot(page, "site-play", full_page=True)
    page.context.set_offline(False)


def test_another_model_takes_away_what_the_last_one_drew_or_draws(visit):
    page = visit("play.html")
    draw(page, steps=2)
    digits = pixels(page.locator("#draw-xt"))
    page.locator("#draw-steps").evaluate("e => { e.value = 100; e.dispatchEvent(new Event('input')); }")
    page.locator("#draw-go").click()
    expect(page.locator("#draw-status")).to_contain_text("Step")
    page.locator("#draw-model").select_option("toy-cars")
    page.wait_for_timeout(500)  # in which a step of the run before would have come
    assert page.locator("#draw-status").inner_text() == ""
    assert page.locator("#draw-moment").is_disabled()
    assert pixels(page.locator("#draw-x0")).max() == 0
    assert pixels(page.locator("#draw-xt")).shape != digits.shape, "noise of the size that will be drawn"


def test_a_digit_drawn_by_keyboard_is_noised_and_denoised(visit):
    page = visit("play.html")
    page.locator("#own-clear").press("Enter")
    page.locator("#own-pad").focus()
    for _ in range(9):
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Space")
    page.locator("#own-noise").focus()
    page.keyboard.press("Home")
    page.locator("#own-go").press("Enter")
    expect(page.locator("#own-status")).to_contain_text("Denoised from timestep 19", timeout=60 * SECONDS)
    drawn, result = (pixels(page.locator(f"#own-{name}"))[..., 0].astype(int) for name in ("pad", "result"))
    assert np.abs(drawn - result).mean() < 15, "with so little noise the drawing comes back"
    page.locator("#own-clear").press("Enter")
    assert pixels(page.locator("#own-pad")).max() == 0


def test_a_scribble_is_followed(visit):
    page = visit("play.html")
    page.locator("#scribble-go").click()
    expect(page.locator("#scribble-status")).to_contain_text("Four cars", timeout=120 * SECONDS)
    assert pixels(page.locator("#scribble-result")).std() > 20


def test_the_single_file_draws_from_disk_without_a_network(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    page.goto((ROOT / "build" / "play.html").as_uri())
    draw(page, steps=3)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_training_on_points_lowers_the_loss_and_makes_points(visit, screenshot):
    page = visit("points.html")
    page.locator("#points-go").press("Enter")
    page.wait_for_function("Number(document.body.dataset.step) > 150", timeout=90 * SECONDS)
    page.locator("#points-go").press("Enter")
    expect(page.locator("#points-go")).to_have_text("Go on")
    loss = float(re.search(r"loss ([\d.]+)", page.locator("#points-status").inner_text() + " loss 0.9")[1])
    assert loss < 1.0, "that of guessing nothing"
    assert pixels(page.locator("#points-samples")).std() > 1
    screenshot(page, "site-points", full_page=True)
    page.locator("#points-again").press("Enter")
    expect(page.locator("#points-status")).to_contain_text("Not trained")


def test_the_page_retouches_as_python_does(visit, photograph, screenshot):
    page = visit("retouch.html")
    choose(page, "shirt.png", encoded(photograph))
    expect(page.locator("#photo-status")).to_contain_text("of its pixels changed", timeout=120 * SECONDS)
    expected = retouch(load_model(shipped("retouch")), photograph, RetouchSettings(faces=True))
    assert (expected != photograph).mean() > 0.001, "a case that decides nothing"
    with page.expect_download() as saved:
        page.locator("#photo-save").click()
    after = np.asarray(Image.open(saved.value.path()).convert("RGB"))
    assert saved.value.suggested_filename == "shirt-retouched.png"
    differs = np.abs(after.astype(int) - expected)
    assert differs.max() <= 1
    assert (differs > 0).mean() <= 1e-4
    screenshot(page, "site-retouch", full_page=True)


def test_strokes_keep_pixels_as_they_were_and_are_undone(visit, photograph):
    page = visit("retouch.html")
    choose(page, "shirt.png", encoded(photograph))
    expect(page.locator("#photo-status")).to_contain_text("of its pixels changed", timeout=120 * SECONDS)
    said = page.locator("#photo-status").inner_text()
    page.get_by_role("button", name="leave this alone").click()
    page.locator("#photo-size").evaluate("e => { e.value = 80; e.dispatchEvent(new Event('input')); }")
    page.locator("#photo-viewer canvas").evaluate("e => e.scrollIntoView({ block: 'center' })")
    box = page.locator("#photo-viewer canvas").bounding_box()
    for row in range(20):
        y = box["y"] + box["height"] * (row + 0.5) / 20
        page.mouse.move(box["x"] + 5, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 5, y)
        page.mouse.up()
    expect(page.locator("#photo-status")).to_contain_text("painted over")
    assert "--exclude shirt-exclude.png" in page.locator("#photo-command").inner_text()
    with page.expect_download() as saved:
        page.locator("#photo-exclude").click()
    assert np.asarray(Image.open(saved.value.path()).convert("L")).min() == 255
    while page.locator("#photo-undo").is_enabled():
        page.locator("#photo-undo").press("Enter")
        page.wait_for_timeout(50)
    assert page.locator("#photo-status").inner_text().split(";")[0] == said.split(";")[0]


def test_a_photograph_with_a_hostile_name_lies_upright_and_its_command_names_it_whole(visit, photograph):
    page = visit("retouch.html")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "<script>alert(1)</script>"  # turned by a quarter; description
    name = "<img src=x onerror=alert(1)>'$(touch x); a.jpg"
    choose(page, name, encoded(photograph, "JPEG", quality=95, exif=exif))
    height, width = photograph.shape[:2]
    expect(page.locator("#photo-status")).to_contain_text(f"{name}, {height} × {width}", timeout=120 * SECONDS)
    words = shlex.split(page.locator("#photo-command").inner_text())
    assert words[4:7] == [name, "--out", name.replace(".jpg", "-retouched.jpg")]


def test_what_is_no_photograph_is_refused_in_a_sentence_and_the_last_one_stays(visit, photograph):
    page = visit("retouch.html")
    choose(page, "first.png", encoded(photograph[:200, :200]))
    expect(page.locator("#photo-status")).to_contain_text("first.png, 200 × 200", timeout=120 * SECONDS)
    whole = encoded(photograph, "PNG")
    for name, data, words in (
        ("cut.png", whole[: len(whole) // 2], "damaged"),
        ("text.jpg", b"not a picture at all", "damaged"),
        ("empty.png", b"", "damaged"),
        ("huge.png", encoded(np.zeros((10_000, 10_000), bool), "PNG"), "100 megapixels"),
        ("tiny.png", encoded(photograph[:8, :8]), "at least 16"),
        ("wide.png", encoded(np.zeros((20, 400, 3), np.uint8)), "panorama"),
    ):
        choose(page, name, data)
        expect(page.locator("#photo-status")).to_contain_text(re.compile(f"{re.escape(name)}.*{words}"))
        assert page.locator("#photo-work").is_visible(), name


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_page_breaks_no_rule_of_accessibility_and_fits_a_phone(visit, screenshot, name, colours):
    page = visit("index.html")
    page.emulate_media(color_scheme=colours)
    page.set_viewport_size({"width": 390, "height": 844})
    page = visit(name)
    page.wait_for_load_state("networkidle")
    if name == "retouch.html":
        page.locator("#photo-example").click()
        changed = re.compile("garment.jpg, 600.* % of its pixels changed")
        expect(page.locator("#photo-status")).to_contain_text(changed, timeout=120 * SECONDS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    axe(page, f"{name} in {colours}")
    screenshot(page, f"site-{name.replace('/', '-').removesuffix('.html')}-phone-{colours}", full_page=True)


def test_chapters_fit_a_phone_and_lead_to_each_other(visit, screenshot):
    chapters = sorted(path.name for path in (SITE / "course").glob("[0-9]*.html"))
    for i, name in enumerate(chapters):
        page = visit(f"course/{name}")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        ways = [link.get_attribute("href") for link in page.locator(".site-ways a").all()]
        assert ways == [chapters[k] for k in (i - 1, i + 1) if 0 <= k < len(chapters)]
    screenshot(page, "site-chapter-phone")


def test_the_slider_over_schedules_has_every_timestep_and_pythons_numbers(visit, screenshot):
    page = visit("course/01_schedule_constants.html")
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")  # a prediction gates it
    figure = page.locator("figure.ddpm-slider")
    t = figure.get_by_label("t", exact=True)
    for steps, name in (("1000", "linear"), ("300", "cosine")):
        figure.get_by_label("T", exact=True).select_option(label=steps)
        figure.get_by_label("schedule").select_option(label=name)
        t.focus()
        page.keyboard.press("Home")
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        schedule = NoiseSchedule.named(name, int(steps))
        ab, snr = schedule.alpha_bar[9], schedule.snr[9]
        numbers = f"alpha_bar = {ab:.4g}, noise weight = {(1 - ab).sqrt():.4g}, SNR = {snr:.4g}"
        expect(figure.locator("output")).to_have_text(f"t = 9, T = {steps}, schedule = {name}. {numbers}")
    page.keyboard.press("End")
    expect(figure.locator("output")).to_contain_text("t = 999, T = 300, schedule = cosine")
    screenshot(figure, "site-schedules")


def test_the_course_is_searched_by_keyboard(visit):
    page = visit("course/index.html")
    page.locator("#search").focus()
    page.keyboard.type("zero convolutions")
    first = page.locator("#found a").first
    expect(first).to_be_visible()
    target = first.get_attribute("href")
    first.press("Enter")
    page.wait_for_url(f"**/{target}")
    assert page.evaluate("document.getElementById(location.hash.slice(1)) !== null")


def test_every_link_inside_the_site_leads_somewhere():
    for path in SITE.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#]+)(?:#[^"]*)?"', path.read_text()):
            if not target.startswith(("http:", "https:", "data:", "mailto:")):
                assert (path.parent / target).exists(), f"{path.name} leads to {target}"
