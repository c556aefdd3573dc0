"""The Makefile, and the workflows for forks: each of their steps is a target, the checks on each Python that pyproject.toml allows."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0].lower()


def test_what_the_package_needs_is_in_the_versions_that_were_tested_together():
    """`make demo` installs the dependencies of pyproject.toml alone, with requirements.txt as constraints: those that it lacks had any version."""
    tested = {name_of(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"}
    assert {name_of(one) for one in PROJECT["dependencies"]} <= tested


def test_make_demo_installs_no_more_than_the_package():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo: \$\(VENV\)/package$", makefile, re.M)
    (recipe,) = re.findall(r"^\$\(VENV\)/package:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert "--constraint requirements.txt --editable ." in recipe
    assert "--requirement" not in recipe


def test_every_step_is_a_target_of_the_makefile():
    steps = re.findall(r"^ +- run: (.*)$", WORKFLOW, re.M)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert len(steps) == 3
    for step in steps:
        command, target, *_ = step.split()
        assert command == "make"
        assert target in targets
    (whole,) = re.findall(r"^test: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert [step.split()[1] for step in steps] == whole.split(), "what make test does"


def test_it_runs_on_each_supported_python():
    least, most = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert re.findall(r'"3\.(\d+)"', WORKFLOW) == [str(minor) for minor in range(int(least), int(most))]


def test_the_site_is_published_as_make_builds_it():
    pages = (ROOT / ".github" / "workflows" / "pages.yml").read_text()
    assert re.findall(r"^ +- run: (.*)$", pages, re.M) == ['make site PYTHON=python REPO="$GITHUB_REPOSITORY"']
    assert re.findall(r"^ +path: (.*)$", pages, re.M) == ["build/site"]
    assert re.search(r"^site:", (ROOT / "Makefile").read_text(), re.M)
