"""Sliders, pictures and checks: what must fail does, and what is shown can be read without eyes, widgets, kernel or network."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from ddpm_utils.course import html_slider as html_slider_module
from ddpm_utils.course import widgets
from ddpm_utils.course.exercises import Mismatch, check, compare, difference, expect_failure, grade
from ddpm_utils.course.html_slider import html_slider
from ddpm_utils.course.pictures import CLOUD, coarse, encoded, png
from ddpm_utils.course.profiles import by_profile, profile
from ddpm_utils.course.widgets import Choice, Slider, animate, explore, show
from ddpm_utils.errors import InputError


def drawing(a, b="x"):
    figure = Figure(figsize=(1, 1), dpi=50)
    figure.subplots().plot([0, a])
    return figure, f"a is {a}, b is {b}"


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would display, as a list of (data, keywords)."""
    calls = []
    monkeypatch.setattr(widgets, "display", lambda data, **keywords: calls.append((data, keywords)))
    return calls


def box(shown):
    return next(data for data, _ in shown if hasattr(data, "children"))


def test_slider_positions_are_both_ends_and_the_middle_on_its_steps():
    assert Slider(0, 999, 5).positions() == [0, 500, 999]
    assert Slider(1, 2, 1).positions() == [1, 2]
    assert Slider(0.0, 1.0, 0.5, 0.1).positions(3) == [0.0, 0.5, 1.0]
    assert Slider(0, 10, 0, 4).positions() == [0, 4, 8]


def image(colours):
    figure = Figure(figsize=(1, 1), dpi=50)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(colours, interpolation="nearest")
    axes.set_axis_off()
    return figure


def test_a_picture_needs_alt_text_and_says_it_twice(shown, capsys):
    show(image(np.eye(5)), alt="A diagonal.")
    (data, keywords), *_ = shown
    assert keywords["metadata"] == {"image/png": {"alt": "A diagonal.", "width": 50, "height": 50}}
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == (100, 100), "twice the resolution"
    assert capsys.readouterr().out == "Figure: A diagonal.\n"
    for nothing in ("", "  ", None):
        with pytest.raises(InputError, match="alt must say"):
            show(drawing(1)[0], alt=nothing)


def test_photographs_are_kept_as_jpeg_that_says_its_alt_text(shown, capsys):
    values = np.linspace(0, 255, 50 * 50 * 3).reshape(50, 50, 3).astype(np.uint8)
    show(image(values), alt="A slope.", photographs=True)
    (data, keywords), *_ = shown
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"])))
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (50, 50), "RGB")
    assert np.abs(np.asarray(picture).astype(int) - values).mean() < 4
    assert keywords["metadata"] == {"image/jpeg": {"alt": "A slope."}}
    assert capsys.readouterr().out == "Figure: A slope.\n"


def test_lines_are_kept_as_svg_that_says_its_alt_text_and_is_the_same_each_time(shown, capsys):
    for _ in range(2):
        show(drawing(1)[0], alt='A "rising" line.')
    (data, keywords), (again, _) = shown
    assert data["image/svg+xml"].startswith("<svg ")
    assert 'aria-label="A &quot;rising&quot; line."' in data["image/svg+xml"]
    assert keywords["metadata"] == {"image/svg+xml": {"alt": 'A "rising" line.'}}
    assert data == again
    assert "image/png" not in data


def test_a_cloud_of_points_is_kept_as_pixels_and_a_few_points_as_svg(shown):
    for points, kind in ((CLOUD, "image/png"), (CLOUD - 1, "image/svg+xml")):
        figure = Figure(figsize=(1, 1), dpi=50)
        figure.subplots().scatter(range(points), range(points))
        show(figure, alt="Points.")
        assert kind in shown[-1][0]


@pytest.mark.parametrize("colours", [2, 200, 1000])
@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_picture_keeps_every_colour(colours, form):
    values = np.random.default_rng(0).integers(0, 256, (colours, 3), dtype=np.uint8)[np.arange(3600) % colours].reshape(60, 60, 3)
    kept = np.asarray(Image.open(io.BytesIO(encoded(Image.fromarray(values), form))).convert("RGB"))
    assert np.array_equal(kept, values)


def test_a_film_is_one_picture_that_moves_with_the_colours_of_its_frames(shown, capsys):
    figures = []
    for colour in ("red", "lime", "blue"):
        figure = Figure(figsize=(1, 1), dpi=40, facecolor=colour)
        figures.append(figure)
    animate(figures, alt="A colour after the other.", seconds=0.2)
    (data, keywords), *_ = shown
    film = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert (film.n_frames, film.info["duration"], film.info["loop"]) == (3, 200, 0)
    seen = []
    for frame in range(3):
        film.seek(frame)
        seen.append(film.convert("RGB").getpixel((20, 20)))
    assert seen == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert keywords["metadata"] == {"image/png": {"alt": "A colour after the other."}}
    assert capsys.readouterr().out == "Figure: A colour after the other.\n"


def test_explore_shows_a_question_widgets_and_a_filmstrip_with_its_numbers(shown, capsys):
    explore(drawing, {"a": Slider(0, 4, 1), "b": Choice(("x", "y"))}, question="Which a?", alt="A line.", frames=3)
    assert "Which a?" in shown[0][0].data
    controls = box(shown).children
    assert [type(w).__name__ for w in controls] == ["IntSlider", "Dropdown", "Output"]
    assert not controls[0].continuous_update
    strip = shown[-1][0]
    assert "image/png" in strip
    assert "range" in strip[widgets.SLIDER_MIME]
    assert "a = 2, b = x: a is 2, b is x" in capsys.readouterr().out


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_explore_fails_if_any_position_fails(shown, bad):
    def render(a):
        assert a != bad, "broken position"
        return drawing(a)

    with pytest.raises(AssertionError, match="broken position"):
        explore(render, {"a": Slider(0, 4, 1)}, question="?", alt="A line.", strip=[{"a": 1}])


def test_moving_a_slider_calls_render_with_its_new_value(shown, capsys):
    explore(drawing, {"a": Slider(0, 4, 1)}, question="?", alt="A line.")
    box(shown).children[0].value = 3
    assert "a = 3: a is 3" in capsys.readouterr().out


def test_a_control_without_effect_is_refused(shown):
    with pytest.raises(InputError, match="moving 'b' changes neither"):
        explore(lambda a, b: drawing(a), {"a": Slider(0, 4, 1), "b": Choice(("x", "y"))}, question="?", alt="A line.")


def test_the_html_slider_stands_alone_and_moves_every_control():
    page = html_slider(
        lambda **state: (png(drawing(**state)[0]), drawing(**state)[1]),
        {"a": [0, 1, 2], "b": ["x", "<y>"]},
        start={"a": 1, "b": "x"},
        alt='A "line".',
        choices=frozenset({"b"}),
    )
    assert 'max="2" value="1"' in page
    assert "<option" in page
    assert 'aria-label="b"' in page
    assert 'alt="A &quot;line&quot;."' in page
    assert "http" not in page
    assert re.findall(r"<li>a = (\d), b = (\S+?)\. a is", page) == [(a, b) for b in ("x", "&lt;y&gt;") for a in "012"]
    sheets = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", page)]
    assert [sheet.size for sheet in sheets] == [(100, 300)] * 2, "three states of 50 pixels, at twice the resolution, for each choice"
    assert page.count(";display:none") == 1, "one sheet is seen"
    with pytest.raises(InputError, match="must start at one of its positions"):
        html_slider(lambda a: drawing(a), {"a": [1]}, start={"a": 2}, alt="A line.")


def test_a_slider_with_too_many_pictures_is_refused_and_drawn_with_fewer(monkeypatch):
    monkeypatch.setattr(html_slider_module, "TALLEST", 250)
    pictures = lambda a: (png(drawing(a)[0]), drawing(a)[1])  # noqa: E731
    with pytest.raises(InputError, match="3 pictures of 100 pixels are too many for a sheet; ask for fewer frames"):
        html_slider(pictures, {"a": [0, 1, 2]}, start={"a": 1}, alt="A line.")
    assert "base64" in html_slider(pictures, {"a": [0, 1]}, start={"a": 1}, alt="A line.")


# --- checks ---


def test_compare_says_how_equal(capsys):
    compare("a", torch.ones(2), torch.ones(2))
    compare("b", torch.tensor([1.0, torch.inf]), torch.tensor([1.0 + 1e-6, torch.inf]), tolerance=1e-5)
    assert re.fullmatch(r"a: equal\nb: equal to \de-\d\d\n", capsys.readouterr().out)


@pytest.mark.parametrize("other", [[1.0, 2.1], [1.0, torch.nan], [1.0], [1.0, torch.inf]])
def test_compare_raises_for_a_difference_a_shape_and_nan(other):
    with pytest.raises(Mismatch):
        compare("a", torch.tensor([1.0, 2.0]), torch.tensor(other))


def test_a_deliberate_failure_must_fail_in_the_way_it_says():
    with expect_failure("symptom"):
        compare("a", 1.0, 2.0)
    with pytest.raises(AssertionError, match="was meant to go wrong"), expect_failure("symptom"):
        compare("a", 1.0, 1.0)
    with pytest.raises(NameError), expect_failure("symptom"):
        compare("a", 1.0, undefined_name)  # noqa: F821


def test_checks_tell_what_differs_and_survive_any_answer(capsys):
    check("01.2", lambda alpha_bar: 1 / 0)
    assert "not yet, your code stops with ZeroDivisionError" in capsys.readouterr().out
    assert "index" in grade("01.2", lambda alpha_bar: 1 - alpha_bar)
    assert difference("x", None, 1.0) == "x is still missing"
    assert difference("x", torch.tensor([1.0, torch.nan]), torch.ones(2))
    for unknown in ("01.99", "99.1", "x"):
        with pytest.raises(InputError, match="no exercise"):
            check(unknown, None)


def test_profiles(monkeypatch):
    monkeypatch.setenv("DDPM_PROFILE", "tiny")
    assert by_profile(tiny=1, demo=2, full=3) == 1
    monkeypatch.delenv("DDPM_PROFILE")
    assert profile() == ("full" if torch.cuda.is_available() else "demo")
    monkeypatch.setenv("DDPM_PROFILE", "ci")
    with pytest.raises(InputError, match="tiny, demo, full, got 'ci'"):
        profile()


def test_coarse_images_are_at_most_four_levels_off_keep_black_and_white_and_cost_fewer_bytes():
    values = np.arange(256, dtype=np.uint8)
    shown = coarse(values)
    assert shown.dtype == np.uint8
    assert np.abs(shown.astype(int) - values).max() <= 4
    assert (shown[0], shown[255], len(np.unique(shown))) == (0, 255, 33)
    noise = np.random.default_rng(0).normal(128, 20, (64, 64, 3)).astype(np.uint8)
    noisy, cheap = (len(encoded(Image.fromarray(image))) for image in (noise, coarse(noise)))
    assert cheap < 0.75 * noisy
