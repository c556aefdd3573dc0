"""Sliders for exported pages: every state is drawn in advance, on one sheet, and a line of JavaScript shows the right part of it."""

import html
import itertools
import math

from ddpm_utils.course.pictures import SHARP, as_base64, encoded, stacked
from ddpm_utils.errors import InputError

TALLEST = 16_000  # pixels; a WebP may have 16,383

# Every handler finds its parts from the element itself: several sliders live on one page without names for them.
MOVE = (
    "var f=this.closest('figure'),i=0;f.querySelectorAll('[data-n]').forEach(function(c){{i=i*c.dataset.n+(+c.value)}});"
    "var t=f.querySelectorAll('li')[i].textContent,s=f.querySelector('img').style;"
    "s.left=(-(i%{columns})*{width})+'px';s.top=(-Math.floor(i/{columns})*{height})+'px';"
    "f.querySelector('output').textContent=t;this.setAttribute('aria-valuetext',t)"
)


def html_slider(draw, positions: dict[str, list], *, start: dict, alt: str, choices: frozenset[str] = frozenset()) -> str:
    """A picture with a control for each name, as HTML that works alone: no kernel, no network, arrow keys work.

    draw: called as draw(**state) -> (PNG, text) for every combination of positions. start: the state at first, of the same names.
    choices: the names that are a menu; the others are sliders.
    """
    names = list(positions)
    states = [dict(zip(names, values)) for values in itertools.product(*positions.values())]
    if start not in states:
        raise InputError(f"a slider must start at one of its positions, got {start}")
    shots = [draw(**state) for state in states]
    sheet, size = _sheet([picture for picture, _ in shots])
    width, height = (side // SHARP for side in size)
    columns = sheet.width // size[0]
    texts = [
        ", ".join(f"{name} = {value}" for name, value in state.items()) + (f". {said}" if said else "")
        for state, (_, said) in zip(states, shots)
    ]
    first = states.index(start)
    move = html.escape(MOVE.format(columns=columns, width=width, height=height))
    controls = "".join(
        _control(name, positions[name], positions[name].index(start[name]), name in choices, move, texts[first]) for name in names
    )
    return (
        f'<figure class="ddpm-slider" style="margin:1em 0"><div style="width:{width}px;height:{height}px;overflow:hidden;position:relative">'
        f'<img alt="{html.escape(alt)}" style="position:absolute;left:{-(first % columns) * width}px;top:{-(first // columns) * height}px;'
        f'max-width:none;margin:0" width="{sheet.width // SHARP}" height="{sheet.height // SHARP}" '
        f'src="data:image/webp;base64,{as_base64(encoded(sheet, "webp"))}"></div>{controls}'
        f'<output aria-live="polite" style="display:block">{html.escape(texts[first])}</output>'
        f"<ul hidden>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul><figcaption>{html.escape(alt)}</figcaption></figure>"
    )


def _sheet(pictures: list[bytes]):
    """All pictures on one sheet that is no taller than a WebP may be, and the size of each."""
    _, (_, height) = stacked(pictures[:1])
    return stacked(pictures, math.ceil(len(pictures) / max(1, TALLEST // height)))


def _control(name: str, values: list, at: int, menu: bool, move: str, text: str) -> str:
    """A slider over the values, or a menu of them; what it holds is the index."""
    label = html.escape(name)
    if menu:
        options = "".join(
            f'<option value="{i}"{" selected" * (i == at)}>{html.escape(str(value))}</option>' for i, value in enumerate(values)
        )
        chosen = f'<select data-n="{len(values)}" aria-label="{label}" onchange="{move}">{options}</select>'
        return f'<label style="display:block">{label} {chosen}</label>'
    return (
        f'<label style="display:block">{label} <input type="range" data-n="{len(values)}" min="0" max="{len(values) - 1}" value="{at}" step="1" '
        f'aria-label="{label}" aria-valuetext="{html.escape(text)}" style="width:24em;max-width:70%" oninput="{move}"></label>'
    )
