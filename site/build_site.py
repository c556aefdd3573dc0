"""make site: pages in build/site/ that run the shipped models in the reader's browser, and the course beside them. Any folder or server holds them.

python site/build_site.py [--repository OWNER/NAME]. Needs `npm ci` in site/; nothing that it writes asks another host for anything.
"""

import argparse
import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

from course_pages import as_webp, export_course
from site_models import export_models, write_packed

SITE = Path(__file__).resolve().parent
ROOT = SITE.parent
sys.path.append(str(ROOT / "notebooks" / "tools"))
MOST_BYTES = 25e6
RUNTIME = SITE / "node_modules" / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
RUNTIME_SHA256 = "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
EXAMPLE = 5  # seed of the drawn garment
ENTRIES = ("play", "points", "points_worker", "retouch", "worker")
OF_CHAPTERS = ("schedule_slider", "search")
PAGES = {  # title in the navigation, of the window, description, whether models are told to its script
    "index": (
        "Start",
        "Denoising diffusion, from the constants to the pictures",
        "A course that runs, and models that run in your browser",
    ),
    "play": ("Play", "Draw pictures from noise", "Digits, clothes and cars drawn from noise in your browser, step by step"),
    "points": ("Train", "Train a diffusion model on points", "Watch a small network learn to turn noise into a spiral"),
    "retouch": ("Retouch", "Take wrinkles out of a photograph", "A photograph of clothing retouched in your browser; it never leaves it"),
    "licences": ("", "Licences", "What these pages are made of"),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder to write (default build/site)")
    parser.add_argument(
        "--repository", default="", help="OWNER/NAME on GitHub, which pages link to (default: the one that the notebooks name)"
    )
    args = parser.parse_args()
    build(args.out, args.repository)


def build(out: Path, repository: str) -> None:
    """Write the whole site anew into `out`, and the play page in one file beside it."""
    import course

    repository = repository or ("" if course.is_placeholder() else course.address())
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    bundle(out)
    write_packed(out / f"{RUNTIME.name}.xz", checked(RUNTIME, RUNTIME_SHA256))
    models = export_models(out)
    copy_images(out / "images")
    write_example(out / "images" / "garment.jpg")
    shutil.copy(SITE / "style.css", out)
    chapters = export_course(course.notebooks(), out / "course", navigation("course", "../"), repository)
    run("svgo", "--quiet", "--precision", "2", "--folder", out.resolve() / "course")
    said = facts(models, chapters, repository)
    (out / "course" / "index.html").write_text(course_index(said))
    for name in OF_CHAPTERS:
        shutil.move(out / f"{name}.js", out / "course")
    for name in PAGES:
        (out / f"{name}.html").write_text(page(name, models, said))
    alone = out.with_name("play.html")
    alone.write_text(single_file(out, models))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        sys.exit(f"the site has {size / 1e6:.1f} MB, it may have {MOST_BYTES / 1e6:.0f}")
    print(f"{out}: {size / 1e6:.1f} MB; look at it with: python -m http.server --directory {out}")
    print(f"{alone}: the play page alone in one file, {alone.stat().st_size / 1e6:.1f} MB, which opens without a server")


# --- programs ---


def bundle(out: Path) -> None:
    """Each page's script and each worker's, with all that it imports, as plain scripts."""
    entries = [f"src/{name}.js" for name in (*ENTRIES, *OF_CHAPTERS)]
    flags = ["--bundle", "--minify", "--format=iife", "--target=es2022", f"--outdir={out.resolve()}", "--log-level=warning"]
    # plain, as a page from a disk may start no module as a worker; the runtime asks where it lies, and needs no answer
    flags.append('--define:import.meta.url=""')
    run("esbuild", *entries, *flags)


def run(program: str, *words) -> None:
    """One of npm's programs, by the Node that requirements.txt put beside Python."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([f"node_modules/.bin/{program}", *words], cwd=SITE, env=environment, check=True)


def checked(path: Path, sha256: str) -> bytes:
    """The bytes of a fetched file, which must be the ones that were tested."""
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        sys.exit(f"{path.name} is not the file that this site was tested with: its SHA-256 is {found}")
    return data


def copy_images(out: Path) -> None:
    """The README's pictures that the start page shows: as they are, or a PNG as lossless WebP."""
    out.mkdir()
    for name in re.findall(r'src="images/([\w.]+)"', (SITE / "pages" / "index.html").read_text()):
        kept = ROOT / ".github" / "images" / name
        (out / name).write_bytes(kept.read_bytes() if kept.exists() else as_webp(kept.with_suffix(".png").read_bytes()))


def write_example(path: Path) -> None:
    """A drawn garment with wrinkles, to try the retouching page with."""
    from PIL import Image

    from ddpm_utils.data.synthetic.wrinkles import wrinkle_pair

    Image.fromarray(wrinkle_pair(600, EXAMPLE, "figure").source).save(path, quality=92)


# --- pages ---


def facts(models: dict, chapters: list[dict], repository: str) -> dict[str, str]:
    """What pages name in their text. Links to the repository, Colab and Kaggle are there once it has an address."""
    place = f"https://github.com/{repository}"
    first = f"{repository}/blob/main/notebooks/00_whole_thing.ipynb"
    elsewhere = {
        "Open chapter 00 in Colab": f"https://colab.research.google.com/github/{first}",
        "Open it in Kaggle": f"https://kaggle.com/kernels/welcome?src=https://github.com/{first}",
        "Repository": place,
    }
    links = " ".join(f'<a class="button" href="{address}">{words}</a>' for words, address in elsewhere.items())
    get = "get the repository and run <code>make lab</code>"
    shipped = [about for kind in models.values() for about in kind]
    return {
        "elsewhere": links if repository else "",
        "how": f'<a href="{place}">get the repository</a> and run <code>make lab</code>' if repository else get,
        "chapters": "\n".join(
            f'<li><h2><a href="{c["file"]}">{html.escape(c["title"])}</a></h2><p>{html.escape(c["about"])}</p></li>' for c in chapters
        ),
        "models": "\n".join(f"<li>{about['name']}: {html.escape(about['licence'])}</li>" for about in shipped),
        "licence": html.escape((ROOT / "LICENSE").read_text()),
        "runtime_licence": html.escape((SITE / "onnxruntime-web.LICENSE").read_text()),
        "runtime_version": json.loads((SITE / "package.json").read_text())["dependencies"]["onnxruntime-web"],
    }


def page(name: str, models: dict, said: dict[str, str]) -> str:
    """One page in the common layout."""
    _, title, description = PAGES[name]
    main = Template((SITE / "pages" / f"{name}.html").read_text()).safe_substitute(said)
    style = '<link rel="stylesheet" href="style.css">'
    return laid_out(title, description, main, style, scripts(name, models), name)


def course_index(said: dict[str, str]) -> str:
    """The page above the chapters, with their search."""
    main = Template((SITE / "pages" / "course.html").read_text()).substitute(said)
    style = '<link rel="stylesheet" href="../style.css">'
    script = '<script type="module" src="search.js"></script>'
    return laid_out("The course, chapter by chapter", "Denoising diffusion in ten notebooks", main, style, script, "course", up="../")


def laid_out(title: str, description: str, main: str, style: str, script: str, current: str, up: str = "") -> str:
    """A page around its main part. up: the way from the page to the site's own folder."""
    layout = Template((SITE / "pages" / "layout.html").read_text())
    return layout.substitute(
        title=title, description=description, main=main, style=style, scripts=script, navigation=navigation(current, up), up=up
    )


def navigation(current: str, up: str = "") -> str:
    """Links to all pages. current: which one this is; up: as above."""
    entries = [(f"{name}.html", words, name) for name, (words, *_) in PAGES.items() if words]
    entries.insert(1, ("course/index.html", "Course", "course"))
    here = {True: ' aria-current="page"', False: ""}
    return "\n".join(f'<a href="{up}{address}"{here[name == current]}>{words}</a>' for address, words, name in entries)


def scripts(name: str, models: dict) -> str:
    """A page's script, and the table of models that it reads."""
    kind = {"play": "generator", "retouch": "retoucher"}.get(name)
    table = f'<script type="application/json" id="models">{in_html(models[kind])}</script>\n' if kind else ""
    return table + f'<script type="module" src="{name}.js"></script>' if name in ENTRIES else ""


def in_html(value) -> str:
    """JSON that no script element ends."""
    return json.dumps(value).replace("<", "\\u003c")


def single_file(out: Path, models: dict) -> str:
    """The play page with all that it needs inside, which opens from a disk: scripts, runtime and models, in base64."""
    inside = ["worker.js", f"{RUNTIME.name}.xz", *sorted({file for about in models["generator"] for file in about["files"]})]
    files = "\n".join(
        f'<script type="text/plain" id="file:{name}">{base64.b64encode((out / name).read_bytes()).decode()}</script>' for name in inside
    )
    table = f'<script type="application/json" id="models">{in_html(models["generator"])}</script>'
    program = (out / "play.js").read_text()
    if "</script" in program:
        sys.exit("play.js can't stand inside a page: it holds the end of a script")
    main = (SITE / "pages" / "play.html").read_text()
    style = f"<style>{(SITE / 'style.css').read_text()}</style>"
    text = laid_out(
        "Draw pictures from noise", PAGES["play"][2], main, style, f'{table}\n{files}\n<script type="module">{program}</script>', "play"
    )
    return text.replace(navigation("play"), "<span>One file: everything is inside, and works without a network.</span>").replace(
        '<a href="licences.html">open-source software</a>', "open-source software"
    )


if __name__ == "__main__":
    main()
