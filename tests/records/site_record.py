"""The built site: what takes its room, time and memory of what a reader does on each page, and how far its pictures are from Python's.

    python tests/records/site_record.py [--record tests/records/site.md]

Needs Chromium and a site in build/site, which `make site-record` builds. Each task has a browser of its own, on one thread.
"""

import argparse
import lzma
import platform
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import expect, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from chromium import launched
from site_pages import SECONDS, SITE, apart_from_command, choose, draw, encoded, served

from ddpm_utils.data.synthetic.wrinkles import wrinkle_pair
from ddpm_utils.models import load_model, shipped
from ddpm_utils.restoration import retouch
from ddpm_utils.restoration.settings import RetouchSettings

RUNTIMES = SITE.parents[1] / "site" / "node_modules" / "onnxruntime-web" / "dist"
WEBGPU = ("ort-wasm-simd-threaded.asyncify.wasm", "ort-wasm-simd-threaded.jspi.wasm")
SAMPLED = ("digits", "clothes", "toy-cars")
STEPS, SEED, LONG = 20, 7, 300 * SECONDS


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, help="file to write (default: print)")
    args = parser.parse_args()
    with sync_playwright() as playwright, served() as address:
        text = "\n".join([*head(), *sizes(), *tasks(playwright, address), ""])
    args.record.write_text(text) if args.record else print(text)


def head() -> list[str]:
    return ["# The site", "", "Written by `make site-record`.", ""]


def sizes() -> list[str]:
    """What takes the room."""
    room: Counter[str] = Counter()
    for path in (path for path in SITE.rglob("*") if path.is_file()):
        name = path.name
        if name.endswith(".xz"):
            kind = "runtime, onnxruntime-web" if name.startswith("ort") else f"model {name.split('.')[0]}"
        elif path.suffix in (".webp", ".svg", ".jpg", ".jpeg"):
            kind = "pictures"
        else:
            kind = "chapters and their search" if path.parent.name == "course" else "other pages, scripts and style"
        room[kind] += path.stat().st_size
    packed = [f"{name} {len(lzma.compress((RUNTIMES / name).read_bytes())) / 1e6:.1f} MB" for name in WEBGPU]
    rows = [f"| {kind} | {size / 1e6:.2f} |" for kind, size in room.most_common()]
    return [
        *("## Sizes", "", "| what | MB |", "|---|---:|", *rows, f"| all, of at most 25 | {room.total() / 1e6:.2f} |", ""),
        f"No page uses WebGPU: the runtimes that do would come on top, packed as the other is ({', '.join(packed)}).",
        "",
    ]


@contextmanager
def opened(playwright, address: str, name: str):
    """A page of the site in a browser of its own; yields it and a function that says what it took: wall and CPU seconds, peak memory."""
    browser = launched(playwright)
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(LONG)
    page.goto(address + name)
    began = time.perf_counter(), computed()

    def took() -> str:
        peak = max(int(line.split()[1]) for p in renderers() for line in status(p) if line.startswith("VmHWM"))
        return f"{time.perf_counter() - began[0]:.1f} | {computed() - began[1]:.1f} | {peak / 1024:.0f}"

    yield page, took
    browser.close()


def renderers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "--type=renderer" in p.cmdline()]


def status(process: psutil.Process) -> list[str]:
    return Path(f"/proc/{process.pid}/status").read_text().splitlines()


def computed() -> float:
    """CPU seconds of the pages, their workers included."""
    return sum(p.cpu_times().user + p.cpu_times().system for p in renderers())


def tasks(playwright, address: str) -> list[str]:
    """Rows of what was done, and of what was compared."""
    times, equal = [], []

    def row(page: str, task: str, took: str) -> None:
        times.append(f"| {page} | {task} | {took} |")
        print(times[-1], file=sys.stderr, flush=True)

    for model in SAMPLED:
        with opened(playwright, address, "play.html") as (page, took), tempfile.TemporaryDirectory() as folder:
            page.locator("#draw-model").select_option(model)
            draw(page, steps=STEPS, seed=SEED)
            count = page.locator("#draw-status").inner_text().split(" images")[0]
            row("play", f"open {model}, draw {count} images by DDIM in {STEPS} steps", took())
            equal.append(compared(f"{model}, DDIM", apart_from_command(page, Path(folder))))
    with opened(playwright, address, "play.html") as (page, took):
        page.locator("#scribble-go").click()
        expect(page.locator("#scribble-status")).to_contain_text("Four cars", timeout=LONG)
        row("play", f"open the control, draw four cars along a scribble in {STEPS} steps", took())
    with opened(playwright, address, "points.html") as (page, took):
        page.locator("#points-go").click()
        page.wait_for_function("Number(document.body.dataset.step) >= 300")
        row("points", "300 steps of training, painted", took())
    small = wrinkle_pair(512, 5, "figure").source
    large = np.asarray(Image.fromarray(small).resize((6000, 4000)))
    for what, data, image in (
        ("512 × 512 pixels", encoded(small), small),
        ("24 megapixels, a JPEG", encoded(large, "JPEG", quality=92), None),
    ):
        with opened(playwright, address, "retouch.html") as (page, took):
            choose(page, "photograph.png", data)
            expect(page.locator("#photo-status")).to_contain_text("changed", timeout=LONG)
            row("retouch", f"open the model, retouch {what}", took())
            if image is not None:
                with page.expect_download() as saved:
                    page.locator("#photo-save").click()
                after = np.asarray(Image.open(saved.value.path()).convert("RGB")).astype(int)
                expected = retouch(load_model(shipped("retouch")), image, RetouchSettings(faces=True))
                equal.append(compared(f"retouch, {what}", np.abs(after - expected)))
    processor = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    return [
        *(
            "## Times and memory",
            "",
            f"Chromium without a window, {processor}, {platform.system()}. Opening is counted in, from files on the",
        ),
        *("same machine. CPU seconds are the page's and its worker's; the clock also shows what else the machine did.", ""),
        *("| page | task | seconds by the clock | CPU seconds | peak memory, MB |", "|---|---|---:|---:|---:|", *times, ""),
        *(
            "## Beside Python's",
            "",
            "The same seed, steps and photograph by the command and in the page: levels, of 256, of each colour value.",
            "",
        ),
        *("| what | largest difference | values that differ | by more than one level |", "|---|---:|---:|---:|", *equal),
    ]


def compared(what: str, differs: np.ndarray) -> str:
    return f"| {what} | {differs.max()} | {100 * (differs > 0).mean():.3f} % | {100 * (differs > 1).mean():.4f} % |"


if __name__ == "__main__":
    main()
