"""Every mistake that the course shows, made once: what is seen, and where it comes from.

python tests/records/mistakes_record.py [NAME ...] [--record tests/records/mistakes.md]

Each trial takes about a minute of one core, half of it to train. What was seen is kept in tests/records/mistakes/seen.json with a picture
beside it, and isn't tried again: name a mistake to try it anew. Trained networks lie in out/mistakes.
"""

import argparse
import ast
import importlib
import itertools
import json
import time
from pathlib import Path

import nbformat
from mistakes.bench import Mistake
from mistakes.sources import SOURCES

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
PICTURES, SEEN = HERE / "mistakes", HERE / "mistakes" / "seen.json"
CHAPTERS = ("chapter_01", "chapter_03", "chapter_04", "chapter_05", "chapter_07")


def mistakes() -> list[Mistake]:
    """All of them, in the order of the chapters."""
    found = [mistake for name in CHAPTERS for mistake in importlib.import_module(f"mistakes.{name}").MISTAKES]
    return sorted(found, key=lambda mistake: mistake.chapter)


def seen() -> dict[str, str]:
    """name -> what its trial said."""
    return json.loads(SEEN.read_text()) if SEEN.is_file() else {}


def try_out(mistake: Mistake) -> None:
    """Run its trial and keep what it gave, one after the other, so that a stopped record goes on where it was."""
    started = time.monotonic()
    result = mistake.trial()
    if result.picture is not None:
        result.picture.savefig(PICTURES / f"{mistake.name}.png", dpi=110)
    SEEN.write_text(json.dumps({**seen(), mistake.name: result.said}, indent=1) + "\n")
    print(f"{mistake.name} ({time.monotonic() - started:.0f} s): {result.said}", flush=True)


def claims(chapter: str) -> list[str]:
    """What the notebook of a chapter says that its mistakes do, in its order: the first words of each `expect_failure`."""
    (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    calls = [node for cell in cells for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return [call.args[0].value for call in calls if getattr(call.func, "id", "") == "expect_failure"]


def page() -> str:
    """The record as Markdown. Raises ValueError if a chapter shows more or fewer mistakes than were tried."""
    lines = ["# Every mistake of the course, made once", "", *INTRODUCTION]
    said = seen()
    for chapter, rows in itertools.groupby(mistakes(), lambda mistake: mistake.chapter):
        lines += [f"## Chapter {chapter}", ""]
        for mistake, claim in zip(rows, claims(chapter), strict=True):
            lines += [f"### {mistake.what}", "", f"The chapter says: {claim}.", "", f"Seen: {said[mistake.name]}.", ""]
            if (PICTURES / f"{mistake.name}.png").is_file():
                lines += [f"![{mistake.what}: images of the trial, a row for each variant](mistakes/{mistake.name}.png)", ""]
            lines += [f"From: {SOURCES.get(mistake.name, 'made up')}.", ""]
    return "\n".join(lines)


INTRODUCTION = """A mistake that raises no error is known by its symptom, so each one that a chapter shows was made once, and this page
says what was seen. Unless a row says otherwise, the trial trains a small U-Net for 1,200 steps of 32 digits (MNIST at 14x14, Ho's linear
schedule, eps), once as it should be and once with the mistake, from the same first weights over the same images and noises, and draws a
hundred samples in 50 steps of DDPM from the same noise. The judge is the shipped classifier `digits-judge`, which reads 94 % of real digits
at this size. Loss is on 500 held-out digits with the right x_t; its quarters are those of t, least noise first. One run each, on one seed:
a difference of a few digits in a hundred, or of a few thousandths of a loss, is no finding. Written by
`python tests/records/mistakes_record.py --record tests/records/mistakes.md`.
""".splitlines()


def main() -> None:
    """Try what hasn't been tried, or what is named, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    for mistake in mistakes():
        if mistake.name in arguments.names or (not arguments.names and mistake.name not in seen()):
            try_out(mistake)
    if arguments.record:
        arguments.record.write_text(page())


if __name__ == "__main__":
    main()
