"""JupyterLab on loopback over a copy of the course, and a headless browser that looks at it."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from chromium import launched
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {  # no questions about news, and all cells in the page at once, for pictures of the whole notebook
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """A copy of the notebooks without their outputs: what is seen later was computed now. The real ones stay as they are."""
    folder = tmp_path_factory.mktemp("course")
    for name in ("notebooks", "ddpm_utils"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for path in (folder / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    return folder


@pytest.fixture(scope="session")
def lab(course, tmp_path_factory):
    """Starts JupyterLab; gives a function from a notebook's name to its address."""
    private = tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        path = private / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    token = secrets.token_hex(16)
    folders = {f"JUPYTER_{what}_DIR": str(private / what.lower()) for what in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {f"JUPYTERLAB_{what}_DIR": str(private / what.lower()) for what in ("SETTINGS", "WORKSPACES")}
    environment = {**os.environ, **folders, "DDPM_PROFILE": "tiny", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={course}"]
    with open(private / "log.txt", "w") as log:
        server = subprocess.Popen(command, cwd=course, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = _address(server, private)
        yield lambda name: f"{address}lab/tree/notebooks/{name}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


def _address(server, private: Path) -> str:
    """Where the server listens, once it does."""
    give_up = time.monotonic() + 90
    while time.monotonic() < give_up and server.poll() is None:
        for path in (private / "runtime").glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())["url"]
            except ValueError:  # half written
                pass
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{(private / 'log.txt').read_text()[-3000:]}")


@pytest.fixture(scope="session")
def browser():
    """Chromium as it is installed; with BROWSER=firefox, the Firefox that `playwright install firefox` fetched."""
    with sync_playwright() as playwright:
        browser = playwright.firefox.launch() if os.environ.get("BROWSER") == "firefox" else launched(playwright)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


@pytest.fixture
def screenshot(request):
    """screenshot(page_or_element, name, …) writes build/screenshots/name.png."""
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return lambda what, name, **options: what.screenshot(path=folder / f"{name}.png", **options)
