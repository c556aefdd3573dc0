# @title Set-up, the same in every notebook. Run it first.
import importlib.util
import os
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

ADDRESS = "https://github.com/OWNER/ddpm-course"
TAG = "v0.2.0"  # the version that is fetched where the course isn't there yet
ATTACH = "put its folder ddpm_utils beside this notebook, or, on Kaggle, attach the data set that `python kaggle/build.py dataset` makes"


def find_course() -> Path | None:
    """The folder that holds ddpm_utils: at or above this notebook, fetched before, in Kaggle's inputs, or below the working folder."""
    here = Path.cwd()
    near = (folder / "ddpm_utils" for folder in (here, *here.parents, fetched_to()))
    roots = (Path(os.environ.get("KAGGLE_INPUT_ROOT", "/kaggle/input")), here)
    below = (place for root in roots for depth in range(1, 5) for place in sorted(root.glob("*/" * depth + "ddpm_utils")))
    return next((place.parent for place in chain(near, below) if (place / "schedules.py").is_file()), None)


def fetched_to() -> Path:
    return Path(tempfile.gettempdir()) / f"ddpm-course-{TAG}"


def fetch_course() -> Path:
    """Clone TAG of the course into scratch space. Nothing is installed, so that torch, numpy and widgets stay as they are."""
    if "/OWNER/" in ADDRESS:
        raise ModuleNotFoundError(f"ddpm_utils isn't here, and this copy of the course has no address yet to fetch it from; {ATTACH}")
    clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", TAG, ADDRESS, str(fetched_to())]
    done = subprocess.run(clone, capture_output=True, text=True, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.startswith("fatal: ")), "git says nothing")
        raise ModuleNotFoundError(
            f"ddpm_utils isn't here, and {ADDRESS} can't be reached ({said}); on Kaggle switch Internet on in the notebook's settings, "
            f"which takes a verified phone number, and run this cell again; without internet {ATTACH}"
        )
    return fetched_to()


if importlib.util.find_spec("ddpm_utils") is None:
    sys.path.insert(0, str(find_course() or fetch_course()))

import ddpm_utils
from ddpm_utils.course.profiles import device, profile

print(f"ddpm_utils {ddpm_utils.__version__}, profile {profile()}, device {device()}")
