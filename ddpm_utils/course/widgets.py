"""Pictures and sliders for notebooks, over pure functions `render(**state) -> Figure` or `(Figure, text)`.

`show` displays a figure with its alt text. `explore` gives one a slider, checks every slider's ends and middle before anyone sees
it, and leaves a static filmstrip for viewers without widgets; in exported HTML the filmstrip becomes a slider that needs no kernel
and no network (`html_slider`). Uses only what ipywidgets 7.7 (Colab) and 8.1 both have.
"""

import base64
import html
import io
import math
import textwrap
from dataclasses import dataclass

import ipywidgets
from IPython.display import Markdown, display
from PIL import Image

from ddpm_utils.errors import InputError

# Beside the filmstrip; `make html` shows it in the filmstrip's place, and in place of the lines that are printed before and after that:
# its metadata counts them, so that their wording is free.
SLIDER_MIME = "application/vnd.ddpm-slider+html"
COLOURS = 128  # of the palette: small files, and no visible loss in plots and small pictures
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


def show(figure, alt: str) -> None:
    """Display a matplotlib Figure with its description as alt text and as a caption. alt: what a reader who can't see it needs."""
    _show_png(_png(figure), _checked_alt(alt))


def animate(figures: list, alt: str, seconds: float = 0.12) -> None:
    """Display matplotlib Figures of one size as a film that repeats, each for so many seconds: an animated PNG, which every browser plays."""
    sheet, (width, height) = _stacked([_png(figure) for figure in figures])
    small = sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)  # all frames share a palette
    first, *others = [small.crop((0, i * height, width, (i + 1) * height)) for i in range(len(figures))]
    buffer = io.BytesIO()
    first.save(buffer, format="png", save_all=True, append_images=others, duration=1000 * seconds, loop=0, optimize=True)
    _show_png(buffer.getvalue(), _checked_alt(alt))


def explore(render, controls: dict, *, question: str, alt: str, strip: list[dict] | None = None, frames: int = 13) -> None:
    """A live figure over sliders, with a question to answer by moving them.

    render: called as render(**state), one value per control; returns a Figure, or (Figure, text) with its numbers as text.
    controls: name -> Slider or Choice; the first is the one that the filmstrip and the exported HTML move.
    strip: the states of the filmstrip; by default the first control's ends and middle, the others at their start.
    frames: how many positions the exported HTML slider has.
    Raises whatever render raises at any slider's ends or middle, and InputError for a control that changes nothing.
    """
    if not question.strip():
        raise InputError("explore needs a question: what should the reader find by moving the sliders?")
    start = {name: control.start for name, control in controls.items()}
    first, control = next(iter(controls.items()))
    strip = strip or [{**start, first: value} for value in control.positions(3)]
    film = [{**start, first: value} for value in control.positions(frames)]
    _live(render, controls, alt, question)
    shots = [_draw(render, state) for state in strip]
    numbers = "\n".join([WITHOUT, *(_said(state, text) for state, (_, text) in zip(strip, shots))])
    print(numbers)
    states = "; ".join(_named(state) for state in strip)
    slider = html_slider(render, film, label=first, alt=alt, names=[str(state[first]) for state in film])
    words = f"{_checked_alt(alt)} Positions, in reading order: {states}."
    lines = {"lines_before": len(numbers.splitlines()), "lines_after": len(_caption(words).splitlines())}
    _show_png(_beside([png for png, _ in shots]), words, {SLIDER_MIME: slider}, {SLIDER_MIME: lines})


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


def html_slider(render, states: list[dict], *, label: str, alt: str, names: list[str] | None = None) -> str:
    """A slider over pictures drawn now, as HTML that works alone: no kernel, no network, arrow keys work.

    states: one per position. label: what the slider changes. names: what each position is called; by default its state.
    """
    names = names or [_named(state) for state in states]
    shots = [_draw(render, state) for state in states]
    sheet, (width, height) = _stacked([png for png, _ in shots])
    texts = [f"{label} = {name}" + (f". {text}" if text else "") for name, (_, text) in zip(names, shots)]
    said = "".join(f"<li>{html.escape(t)}</li>" for t in texts)
    # Every handler finds its parts from the element itself: several sliders live on one page without names for them.
    move = (
        "var f=this.closest('figure'),i=+this.value,t=f.querySelectorAll('li')[i].textContent;"
        f"f.querySelector('img').style.top=(-i*{height})+'px';f.querySelector('output').textContent=t;"
        "this.setAttribute('aria-valuetext',t)"
    )
    return (
        f'<figure class="ddpm-slider" style="margin:1em 0"><div style="width:{width}px;height:{height}px;overflow:hidden;position:relative">'
        f'<img alt="{html.escape(_checked_alt(alt))}" style="position:absolute;left:0;top:0;max-width:none;margin:0" '
        f'width="{width}" height="{sheet.height}" src="data:image/png;base64,{_base64(_encode(sheet))}"></div>'
        f'<label>{html.escape(label)} <input type="range" min="0" max="{len(states) - 1}" value="0" step="1" '
        f'aria-label="{html.escape(label)}" aria-valuetext="{html.escape(texts[0])}" style="width:{max(200, width - 120)}px" '
        f'oninput="{html.escape(move)}"></label><output aria-live="polite" style="display:block">{html.escape(texts[0])}</output>'
        f"<ul hidden>{said}</ul><figcaption>{html.escape(alt)}</figcaption></figure>"
    )


# --- helpers ---


def _look(name: str, width: str) -> dict:
    """A widget's name and size: wide enough to hit one of 1000 positions, names below each other."""
    return {"description": name, "layout": ipywidgets.Layout(width=width), "style": {"description_width": "7em"}}


def _live(render, controls: dict, alt: str, question: str) -> None:
    """The widgets and the live figure. Every position is drawn once before display, and an error there is this cell's error."""
    widgets = {name: control.widget(name) for name, control in controls.items()}
    sweep(widgets, controls, lambda **state: _draw(render, state))

    def update(**state):
        png, text = _draw(render, state)
        said = html.escape(_checked_alt(alt))  # as HTML: JupyterLab shows an image/png without its alt text, and this one has no caption
        picture = f'<img alt="{said}" src="data:image/png;base64,{_base64(png)}">'
        display({"text/html": picture, "text/plain": alt}, raw=True)
        print(_said(state, text))

    display(Markdown(f"**Question.** {question}"))
    display(ipywidgets.VBox([*widgets.values(), ipywidgets.interactive_output(update, widgets)]))


def _draw(render, state: dict) -> tuple[bytes, str]:
    """What render returns, as PNG and text."""
    result = render(**state)
    figure, text = result if isinstance(result, tuple) else (result, "")
    return _png(figure), text


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _encode(Image.open(buffer))


def _encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    small = picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _stacked(pngs: list[bytes]) -> tuple[Image.Image, tuple[int, int]]:
    """Pictures one below the other, and the size of the place that each of them has."""
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    width, height = (max(p.size[i] for p in pictures) for i in (0, 1))
    sheet = Image.new("RGB", (width, height * len(pictures)), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (0, i * height))
    return sheet, (width, height)


def _beside(pngs: list[bytes], limit: int = 1000) -> bytes:
    """Pictures side by side, in rows no wider than about `limit` pixels."""
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    width, height = (max(p.size[i] for p in pictures) for i in (0, 1))
    columns = min(len(pictures), max(1, limit // width))
    whole = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), "white")
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % columns * width, i // columns * height))
    return _encode(whole)


def _show_png(png: bytes, alt: str, extra: dict | None = None, about: dict | None = None) -> None:
    """Display a PNG with its alt text, and print that as its caption. extra, about: more kinds of the output, and their metadata."""
    data = {"image/png": _base64(png), "text/plain": alt, **(extra or {})}
    display(data, raw=True, metadata={"image/png": {"alt": alt}, **(about or {})})
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


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
