"""The table of mistakes that `make mutants` puts into the code fits the code, and its record is that table's."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))
from tables import MUTANTS  # noqa: E402

sys.path.pop(0)


@pytest.mark.parametrize(("file", "row"), [pytest.param(m[0], m[1:], id=m[1]) for m in MUTANTS])
def test_a_mistake_has_one_place_and_leaves_valid_python(file, row):
    _, old, new, tests, *_ = row
    code = (ROOT / "ddpm_utils" / file).read_text()
    assert code.count(old) == 1
    compile(code.replace(old, new), file, "exec")
    for test in tests.split():
        path, _, function = test.partition("::")
        assert f"def {function}" in (ROOT / path).read_text()


def test_the_record_lists_every_mistake():
    rows = re.findall(r"^\| (.+?)( ●)? \| ([\w/]+\.py) \|", (ROOT / "tests/records/mutants.md").read_text(), re.M)
    assert [(file, name) for name, _, file in rows] == [(m[0], m[1]) for m in MUTANTS], "run: make mutants"
    assert len(rows) >= 40
