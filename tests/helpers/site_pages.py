"""What a reader does on the site's pages, for its checks and its record: serve it, draw, choose a photograph, read pixels off."""

import base64
import io
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
SECONDS = 1000
LEVELS = """canvas => { const c = canvas.getContext("2d"), d = c.getImageData(0, 0, canvas.width, canvas.height).data; let text = "";
for (let i = 0; i < d.length; i += 8192) text += String.fromCharCode(...d.subarray(i, i + 8192));
return [canvas.width, canvas.height, btoa(text)]; }"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served():
    """The address of the site on loopback, by a server that knows nothing but files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def pixels(canvas) -> np.ndarray:
    """(H, W, 3) uint8 of a canvas."""
    width, height, text = canvas.evaluate(LEVELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


def draw(page, **settings) -> None:
    """Set the controls, press Draw and wait for its end."""
    for name, value in settings.items():
        control = page.locator(f"#draw-{name}")
        if control.evaluate("e => e.tagName") == "SELECT":
            control.select_option(str(value))
        else:
            control.evaluate("(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }", str(value))
    page.locator("#draw-go").click()
    expect(page.locator("#draw-status")).to_contain_text("Move the slider", timeout=120 * SECONDS)


def apart_from_command(page, folder: Path) -> np.ndarray:
    """By how many levels each value that the page has drawn differs from what the command on it draws."""
    command = shlex.split(page.locator("#draw-command").inner_text())
    run = [sys.executable, *command[1:-1], str(folder / "grid.png"), "--images", str(folder / "images")]
    subprocess.run(run, check=True, capture_output=True, cwd=folder)
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((folder / "images").glob("*.png"))]
    side, sheet, differs = len(images[0]), pixels(page.locator("#draw-xt")), []
    for i, image in enumerate(images):
        row, column = divmod(i, 5)
        part = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
        differs.append(np.abs(part.astype(int) - image).ravel())
    return np.concatenate(differs)


def choose(page, name: str, data: bytes) -> None:
    page.locator("#photo-file").set_input_files({"name": name, "mimeType": "image/*", "buffer": data})


def encoded(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()
