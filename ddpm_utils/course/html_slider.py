"""Sliders for exported pages: every state is drawn in advance, on one sheet, and a line of JavaScript shows the right part of it."""

import html
import itertools

from ddpm_utils.course.pictures import SHARP, as_base64, encoded, stacked
from ddpm_utils.errors import InputError

TALLEST = 16_383  # pixels that a WebP may have

# Every handler finds its parts from the element itself: several sliders live on one page without names for them.
MOVE = (
    "var f=this.closest('figure'),c=f.querySelectorAll('[data-n]'),a=+c[0].value,r=0;"
    "for(var k=1;k<c.length;k++)r=r*c[k].dataset.n+(+c[k].value);"
    "f.querySelectorAll('img').forEach(function(m,k){{m.style.display=k==r?'':'none';m.style.top=(-a*{height})+'px'}});"
    "var t=f.querySelectorAll('li')[r*c[0].dataset.n+a].textContent;"
    "f.querySelector('output').textContent=t;this.setAttribute('aria-valuetext',t)"
)


def html_slider(draw, positions: dict[str, list], *, start: dict, alt: str, choices: frozenset[str] = frozenset()) -> str:
    """A picture with a control for each name, as HTML that works alone: no kernel, no network, arrow keys work.

    draw: called as draw(**state) -> (PNG, text) for every combination of positions. start: the state at first, of the same names.
    choices: the names that are a menu; the others are sliders.
    Raises InputError for a start that is no position, and for more pictures on a sheet than a WebP can hold.
    """
    first, *rest = positions
    if any(start[name] not in values for name, values in positions.items()):
        raise InputError(f"a slider must start at one of its positions, got {start}")
    sheets, texts, shown, said = [], [], 0, ""
    for others in itertools.product(*(positions[name] for name in rest)):
        states = [{first: value, **dict(zip(rest, others))} for value in positions[first]]
        shots = [draw(**state) for state in states]
        sheets.append(_sheet([picture for picture, _ in shots]))
        for state, (_, text) in zip(states, shots):
            named = ", ".join(f"{name} = {value}" for name, value in state.items())
            texts.append(f"{named}. {text}" if text else named)
            if state == start:
                shown, said = len(sheets) - 1, texts[-1]
    at = positions[first].index(start[first])
    sizes = [size for _, size in sheets]
    width, height = (max(size[side] for size in sizes) // SHARP for side in (0, 1))
    move = html.escape(MOVE.format(height=height))
    controls = "".join(_control(name, values, values.index(start[name]), name in choices, move, said) for name, values in positions.items())
    pictures = "".join(_picture(sheet, k == shown, at * height, alt) for k, (sheet, _) in enumerate(sheets))
    return (
        f'<figure class="ddpm-slider" style="margin:1em 0">'
        f'<div style="width:{width}px;height:{height}px;overflow:hidden;position:relative">{pictures}</div>{controls}'
        f'<output aria-live="polite" style="display:block">{html.escape(said)}</output>'
        f"<ul hidden>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul><figcaption>{html.escape(alt)}</figcaption></figure>"
    )


def _sheet(pictures: list[bytes]):
    """The pictures of one control below each other, and the size of each: neighbours are alike, and that is what makes the file small."""
    sheet, size = stacked(pictures)
    if sheet.height > TALLEST:
        raise InputError(f"{len(pictures)} pictures of {size[1]} pixels are too many for a sheet; ask for fewer frames")
    return sheet, size


def _picture(sheet, shown: bool, top: int, alt: str) -> str:
    """A sheet behind its window, moved up to the picture that is shown."""
    return (
        f'<img alt="{html.escape(alt)}" style="position:absolute;left:0;top:{-top}px;max-width:none;margin:0{"" if shown else ";display:none"}" '
        f'width="{sheet.width // SHARP}" height="{sheet.height // SHARP}" src="data:image/webp;base64,{as_base64(encoded(sheet, "webp"))}">'
    )


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
