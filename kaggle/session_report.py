"""What a session leaves for people: report.html, one page with the loss, the latest samples and the sessions so far.

kaggle/build.py puts this text into kernels.
"""

import html
from base64 import b64encode
from hashlib import file_digest
from pathlib import Path


def report(about: dict, run: Path) -> str:
    """The page, which needs no other file. about: what status.json says; run: the folder with loss.png and samples/."""
    pictures = [(run / "loss.png", "training loss over the steps"), *((p, p.stem) for p in sorted(run.glob("samples/*.png"))[-1:])]
    shown = "".join(
        f'<h2>{html.escape(words)}</h2><img alt="{html.escape(words)}" src="data:image/png;base64,{b64encode(path.read_bytes()).decode()}">'
        for path, words in pictures
        if path.is_file()
    )
    columns = ("session", "status", "epoch", "hours", "peak_disk_gb", "reason")
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(str(s[c]))}</td>" for c in columns) + "</tr>" for s in about["history"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(about["chain"])}</title>'
        "<style>body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td,th{padding:.2em .8em;text-align:left}"
        "img{max-width:100%}</style>"
        f"<h1>{html.escape(about['job'])}: {about['status']} at epoch {about['epoch']:g} of {about['epochs']}</h1>"
        f"<p>Chain {html.escape(about['chain'])}, {about['total_hours']:.2f} hours so far.</p>"
        f"<table><tr>{''.join(f'<th>{c}</th>' for c in columns)}</tr>{rows}</table>{shown}</html>"
    )


def write(path: Path, text: str) -> None:
    """Write a file so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def digest(path: Path) -> str:
    """A file's SHA-256."""
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()
