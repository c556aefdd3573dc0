# Set-up, the same in every notebook. Run it first.
import importlib.util
import sys
from pathlib import Path

ADDRESS = "https://github.com/OWNER/ddpm-course"


def find_course() -> Path | None:
    """The folder that holds ddpm_utils: at or above this notebook, below the working folder, or in Kaggle's inputs."""
    here = Path.cwd()
    places = [folder / "ddpm_utils" for folder in (here, *here.parents)]
    for root in (here, Path("/kaggle/input")):
        places += [place for depth in range(1, 5) for place in sorted(root.glob("*/" * depth + "ddpm_utils"))]
    return next((place.parent for place in places if (place / "schedules.py").is_file()), None)


if importlib.util.find_spec("ddpm_utils") is None:
    course = find_course()
    if course is None:
        raise ModuleNotFoundError(
            f"ddpm_utils is not here: run `!git clone {ADDRESS}` (on Kaggle, switch Internet on first), then this cell again"
        )
    sys.path.insert(0, str(course))

import ddpm_utils
from ddpm_utils.course.profiles import device, profile

print(f"ddpm_utils {ddpm_utils.__version__}, profile {profile()}, device {device()}")
