"""Show how a run stands: its loss curve, its newest samples, what is left; in the terminal, or as a page that reloads.

Looks again every few seconds until the run ends. Works from the run's folder alone, also on a copy of it, and changes nothing there.
"""

import argparse
import html
import math
import shutil
import sys
import time
from base64 import b64encode
from io import BytesIO
from pathlib import Path

from ddpm_utils.commands import arguments
from ddpm_utils.errors import InputError, printable

BLOCKS = " ▁▂▃▄▅▆▇█"
ROWS = 8  # of the curve in a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", type=arguments.user_path, help="the folder of a run, its --out")
    parser.add_argument("--page", type=arguments.user_path, metavar="FILE", help="write a page for a browser instead, which reloads itself")
    parser.add_argument("--every", type=float, default=5, metavar="SECONDS", help="between two looks (default 5)")
    parser.add_argument("--once", action="store_true", help="look once and end, as where the output is no terminal and there is no page")


def run(args: argparse.Namespace) -> None:
    from ddpm_utils.runtime.files import check_writable
    from ddpm_utils.training.watching import look_at

    if not 0.1 <= args.every <= 86400:
        raise InputError(f"--every must lie in 0.1 .. 86400 seconds, got {args.every:g}")
    if args.page:
        if args.page.suffix not in (".html", ".htm"):
            raise InputError(f"--page must name a file that ends in .html, got {str(args.page)!r}")
        check_writable(args.page)
    live = args.page is not None or sys.stdout.isatty()
    show, shown = (Page(args.page, None if args.once else args.every) if args.page else show_in_terminal), None
    while True:
        seen = look_at(args.folder)
        if seen != shown:
            show(seen)
        if args.once or not (live and seen.goes_on):
            return
        shown = seen
        time.sleep(args.every)


# --- in a terminal ---


def show_in_terminal(seen) -> None:
    """The run in place of what the terminal showed before."""
    clear = "\033[H\033[2J" if sys.stdout.isatty() else ""
    print(clear + terminal(seen, shutil.get_terminal_size().columns), flush=True)


def terminal(seen, width: int) -> str:
    """The run as text of so many columns."""
    parts = [f"{seen.folder}", *seen.sentences()]
    if len(seen.records) > 1:
        parts += ["", *curve(seen.records, min(width, 100) - 10)]
    if seen.preview:
        parts += ["", f"{seen.preview}", *(picture(seen.preview, min(width, 80)) if sys.stdout.isatty() else [])]
    return "\n".join(line if line.startswith("\033") else printable(line) for line in parts)


def curve(records: list[dict], columns: int) -> list[str]:
    """The loss on a logarithmic scale in ROWS lines of blocks, its largest and smallest value beside them."""
    columns = max(1, min(columns, len(records)))
    bins = [records[i * len(records) // columns : (i + 1) * len(records) // columns] for i in range(columns)]
    heights = [math.log(max(sum(r["loss"] for r in part) / len(part), 1e-12)) for part in bins]
    low, high = min(heights), max(heights)
    eighths = [1 + round((h - low) / ((high - low) or 1) * (8 * ROWS - 1)) for h in heights]
    names = {0: f"{math.exp(high):9.4f} ", ROWS - 1: f"{math.exp(low):9.4f} "}
    lines = []
    for row in range(ROWS):
        under = 8 * (ROWS - 1 - row)
        lines.append(names.get(row, " " * 10) + "".join(BLOCKS[min(8, max(0, n - under))] for n in eighths).rstrip())
    return [*lines, f"{'step':>9} {records[0]['step']} to {records[-1]['step']}"]


def picture(path: Path, columns: int) -> list[str]:
    """An image as lines of half blocks, two pixels a character, in 24-bit colours."""
    from PIL import Image

    with Image.open(path) as image:
        size = columns, max(2, 2 * round(columns * image.height / image.width / 2))
        image = image.convert("RGB").resize(size, Image.Resampling.BOX)
    pixels = image.load()
    colour = "{};2;{};{};{}".format
    return [
        "".join(f"\033[{colour(38, *pixels[x, y])};{colour(48, *pixels[x, y + 1])}m▀" for x in range(size[0])) + "\033[0m"
        for y in range(0, size[1], 2)
    ]


# --- as a page ---


class Page:
    """A file that is kept up to date."""

    def __init__(self, path: Path, every: float | None):
        self.path, self.every, self.is_new = path, every, True

    def __call__(self, seen) -> None:
        from ddpm_utils.runtime.files import atomic_write

        with atomic_write(self.path) as file:
            file.write(page(seen, self.every).encode())
        if self.is_new:
            until = "; it is kept up to date until the run ends" if self.every and seen.goes_on else ""
            print(printable(f"wrote {self.path}{until}"), flush=True)
        self.is_new = False


def page(seen, every: float | None) -> str:
    """The run as one HTML file with its pictures inside. It reloads `every` seconds while the run goes on."""
    from ddpm_utils.figures import loss_curve

    name = html.escape(printable(str(seen.folder)))
    reloads = f'<meta http-equiv="refresh" content="{math.ceil(every)}">' if every and seen.goes_on else ""
    text = "".join(f"<p>{html.escape(printable(line))}</p>" for line in seen.sentences())
    pictures = ""
    if seen.records:
        whole = BytesIO()
        loss_curve(seen.records).savefig(whole, format="png")
        pictures += _image(whole.getvalue(), "The loss by step, all of it and by quarter of t")
    if seen.preview:
        pictures += _image(seen.preview.read_bytes(), f"Samples of the averaged network, {seen.preview.stem}")
    about = {"steps": seen.about.get("steps", 1), "step": seen.step}
    bar = f'<progress max="{about["steps"]}" value="{about["step"]}"></progress>'
    style = "body{font:16px system-ui;max-width:60em;margin:2em auto;padding:0 1em}img{max-width:100%}progress{width:100%}"
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8">{reloads}<title>{seen.state}: {name}</title><style>{style}</style></head>'
    return f"{head}<body><h1>{name}</h1>{bar}{text}{pictures}</body></html>\n"


def _image(content: bytes, alt: str) -> str:
    caption = html.escape(alt)
    return f'<figure><img src="data:image/png;base64,{b64encode(content).decode()}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
