"""Pictures and sliders for notebooks, over pure functions `render(**state) -> Figure` or `(Figure, text)`.

`show` displays a figure with its alt text. `explore` gives one a slider, checks every slider's ends and middle before anyone sees
it, and leaves a static filmstrip for viewers without widgets; in exported HTML the filmstrip becomes a slider that needs no kernel
and no network (`html_slider`), with all its controls. Uses only what ipywidgets 7.7 (Colab) and 8.1 both have.
"""

import html
import math
import textwrap
from dataclasses import dataclass

import ipywidgets
from IPython.display import Markdown, display

from ddpm_utils.course.html_slider import html_slider
from ddpm_utils.course.pictures import SHARP, as_base64, beside, film, jpeg, png, shown_size, svg
from ddpm_utils.errors import InputError

# Beside the filmstrip; `make html` shows it in the filmstrip's place, and in place of the lines that are printed before and after that:
# its metadata counts them, so that their wording is free.
SLIDER_MIME = "application/vnd.ddpm-slider+html"
WITHOUT = "Where no slider is shown, these positions stand for it:"
WRAP = 110


@dataclass(frozen=True)
class Slider:
    """A number from low to high; whole if all four are ints."""

    low: float
    high: float
    start: float
    step: float = 1

    def positions(self, n: int = 3) -> list:
        """n values from low to high, evenly spread over its steps: 3 are both ends and the middle."""
        steps = math.floor((self.high - self.low) / self.step + 1e-9)
        return list(dict.fromkeys(self.low + round(i * steps / (n - 1)) * self.step for i in range(n)))

    def widget(self, name: str):
        whole = all(isinstance(v, int) for v in (self.low, self.high, self.start, self.step))
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        return kind(value=self.start, min=self.low, max=self.high, step=self.step, continuous_update=False, **_look(name, "36em"))


@dataclass(frozen=True)
class Choice:
    """One of a few options; the first is where it starts."""

    options: tuple

    @property
    def start(self):
        return self.options[0]

    def positions(self, n: int = 3) -> list:
        return list(self.options)

    def widget(self, name: str):
        return ipywidgets.Dropdown(options=list(self.options), value=self.start, **_look(name, "20em"))


def show(figure, alt: str, *, photographs: bool = False) -> None:
    """Display a matplotlib Figure with its description as alt text and as a caption. alt: what a reader who can't see it needs.

    What is all lines and text is kept as SVG, what holds an image as PNG at twice the resolution, and photographs as JPEG.
    """
    if photographs:
        return _show_image(jpeg(figure), _checked_alt(alt), at_scale=1, form="jpeg")
    drawing = svg(figure, _checked_alt(alt))
    if drawing is None:
        return _show_image(png(figure), alt.strip())
    display({"image/svg+xml": drawing, "text/plain": alt.strip()}, raw=True, metadata={"image/svg+xml": {"alt": alt.strip()}})
    print(_caption(alt.strip()))


def animate(figures: list, alt: str, seconds: float = 0.12) -> None:
    """Display matplotlib Figures of one size as a film that repeats, each for so many seconds: an animated PNG, which every browser plays."""
    _show_image(film([png(figure, scale=1) for figure in figures], seconds), _checked_alt(alt), at_scale=1)


def explore(render, controls: dict, *, question: str, alt: str, strip: list[dict] | None = None, frames: int | dict[str, int] = 13) -> None:
    """A live figure over sliders, with a question to answer by moving them.

    render: called as render(**state), one value per control; returns a Figure, or (Figure, text) with its numbers as text.
    controls: name -> Slider or Choice; the first is the one that the filmstrip moves.
    strip: the states of the filmstrip; by default the first control's ends and middle, the others at their start.
    frames: how many positions a slider of the exported page has: the first slider's, the others' being three, or by name.
    Raises whatever render raises at any slider's ends or middle, and InputError for a control that changes nothing.
    """
    if not question.strip():
        raise InputError("explore needs a question: what should the reader find by moving the sliders?")
    start = {name: control.start for name, control in controls.items()}
    first, control = next(iter(controls.items()))
    strip = strip or [{**start, first: value} for value in control.positions(3)]
    _live(render, controls, alt, question)
    shots = [_draw(render, state) for state in strip]
    numbers = "\n".join([WITHOUT, *(_said(state, text) for state, (_, text) in zip(strip, shots))])
    print(numbers)
    states = "; ".join(_named(state) for state in strip)
    counts = frames if isinstance(frames, dict) else {first: frames}
    places = {name: control.positions(counts.get(name, 3)) for name, control in controls.items()}
    menus = frozenset(name for name, control in controls.items() if isinstance(control, Choice))
    at = {
        name: min(values, key=lambda value: abs(value - start[name])) if name not in menus else start[name]
        for name, values in places.items()
    }
    slider = html_slider(lambda **state: _draw(render, state), places, start=at, alt=_checked_alt(alt), choices=menus)
    words = f"{alt.strip()} Positions, in reading order: {states}."
    lines = {"lines_before": len(numbers.splitlines()), "lines_after": len(_caption(words).splitlines())}
    _show_image(beside([picture for picture, _ in shots]), words, {SLIDER_MIME: slider}, {SLIDER_MIME: lines})


def sweep(widgets: dict, controls: dict, draw) -> int:
    """Move every widget through its control's positions, the others at their start; returns how many were drawn.

    draw: called as draw(**state), returns something to compare. Raises what draw raises, and InputError for a control without effect.
    """
    count = 0
    for name, control in controls.items():
        drawn = []
        for value in control.positions(3):
            widgets[name].value = value
            drawn.append(draw(**{other: widget.value for other, widget in widgets.items()}))
        widgets[name].value = control.start
        count += len(drawn)
        if all(d == drawn[0] for d in drawn):
            raise InputError(f"moving {name!r} changes neither the picture nor the text; render must use it")
    return count


# --- helpers ---


def _look(name: str, width: str) -> dict:
    """A widget's name and size: wide enough to hit one of 1000 positions, names below each other."""
    return {"description": name, "layout": ipywidgets.Layout(width=width), "style": {"description_width": "7em"}}


def _live(render, controls: dict, alt: str, question: str) -> None:
    """The widgets and the live figure. Every position is drawn once before display, and an error there is this cell's error."""
    widgets = {name: control.widget(name) for name, control in controls.items()}
    sweep(widgets, controls, lambda **state: _draw(render, state))

    def update(**state):
        picture, text = _draw(render, state)
        said = html.escape(_checked_alt(alt))  # as HTML: JupyterLab shows an image/png without its alt text, and this one has no caption
        width = shown_size(picture)["width"]
        shown = f'<img alt="{said}" width="{width}" src="data:image/png;base64,{as_base64(picture)}">'
        display({"text/html": shown, "text/plain": alt}, raw=True)
        print(_said(state, text))

    display(Markdown(f"**Question.** {question}"))
    display(ipywidgets.VBox([*widgets.values(), ipywidgets.interactive_output(update, widgets)]))


def _draw(render, state: dict) -> tuple[bytes, str]:
    """What render returns, as PNG and text."""
    result = render(**state)
    figure, text = result if isinstance(result, tuple) else (result, "")
    return png(figure), text


def _show_image(
    picture: bytes, alt: str, extra: dict | None = None, about: dict | None = None, at_scale: int = SHARP, form: str = "png"
) -> None:
    """Display a PNG or JPEG with its alt text, and print that as its caption. extra, about: more kinds of the output, and their metadata."""
    data = {f"image/{form}": as_base64(picture), "text/plain": alt, **(extra or {})}
    size = shown_size(picture) if at_scale == SHARP else {}
    display(data, raw=True, metadata={f"image/{form}": {"alt": alt, **size}, **(about or {})})
    print(_caption(alt))


def _caption(alt: str) -> str:
    return textwrap.fill(f"Figure: {alt}", WRAP)


def _checked_alt(alt: str) -> str:
    if not isinstance(alt, str) or not alt.strip():
        raise InputError(f"alt must say in words what the picture shows, got {alt!r}")
    return alt.strip()


def _named(state: dict) -> str:
    return ", ".join(f"{name} = {value}" for name, value in state.items())


def _said(state: dict, text: str) -> str:
    return _named(state) + (f": {text}" if text else "")
