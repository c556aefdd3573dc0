"""Who may import whom. Every import counts: also those inside functions and under TYPE_CHECKING."""

import ast
import subprocess
import sys
from pathlib import Path

import ddpm_utils

PACKAGE = Path(ddpm_utils.__file__).parent
FLOORS = (  # from the ground up; a room may import what lies below it, and its own files
    ("__init__", "errors", "choices", "recipes"),
    ("settings", "schedules", "interop", "ema", "runtime"),
    ("unet_config", "diffusion", "data"),
    ("sampling", "ideal", "unet", "config"),
    ("diffusers_folders",),
    ("guidance", "editing", "models", "figures"),
    ("classifier", "control", "restoration"),
    ("generate",),
    ("training", "evaluation", "export", "api"),
    ("commands", "course"),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return found


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ARROWS = {name: (imports_of(path) & FILES.keys()) - {name, "ddpm_utils"} for name, path in FILES.items()}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def test_rooms_import_only_what_lies_below_them():
    upwards = [
        (name, other)
        for name, others in ARROWS.items()
        for other in others
        if room_of(name) != room_of(other) and FLOOR[room_of(other)] >= FLOOR[room_of(name)]
    ]
    assert not upwards


def test_nothing_but_notebooks_imports_the_course():
    assert not [(name, other) for name, others in ARROWS.items() for other in others if room_of(other) == "course" != room_of(name)]


def test_no_files_import_each_other_in_a_circle():
    left = {name: set(others) for name, others in ARROWS.items()}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        for name in free:
            del left[name]
    assert not left


def test_matplotlib_and_widgets_are_for_figures_and_the_course_alone():
    users = {room_of(name) for name, path in FILES.items() if {n.split(".")[0] for n in imports_of(path)} & {"matplotlib", "ipywidgets"}}
    assert users == {"figures", "course"}


def test_sampling_loads_no_trainer_no_data_set_and_no_drawn_image():
    program = "import sys, ddpm_utils.generate; print(*(m for m in sys.modules if m.startswith('ddpm_utils')), 'scipy' in sys.modules)"
    *loaded, scipy = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {room_of(module) for module in loaded} & {"training", "data", "control", "restoration", "evaluation", "course", "commands"}
    assert scipy == "False"
