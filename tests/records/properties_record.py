"""Try the properties of tests/properties with many cases, others each time, and count what they found. `make fuzz`.

python tests/records/properties_record.py [--times 20] [--record tests/records/properties.md] [WORDS of pytest …]
"""

import argparse
import os
import re
import sys
from pathlib import Path

import pytest

PROPERTIES = Path(__file__).parents[1] / "properties"


class Count:
    """How many cases each property was tried with, and which failed."""

    def __init__(self):
        self.cases: dict[str, tuple[int, int, int]] = {}  # of each property: held, failed, drawn in vain

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """hypothesis leaves its figures, in words, at the test."""
        yield
        if call.when == "call" and (said := getattr(item, "hypothesis_statistics", "")):
            found = re.findall(r"(\d+) passing, (\d+) failing, and (\d+) invalid", said)
            assert found, f"hypothesis words its figures in another way by now: {said}"
            self.cases[item.name] = tuple(sum(map(int, column)) for column in zip(*found, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="more arguments of pytest")
    parser.add_argument("--times", type=int, default=20, help="as many cases as in make test")
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    os.environ |= {"DDPM_FUZZ": str(args.times), "OMP_NUM_THREADS": "1"}
    count = Count()
    code = pytest.main(["-p", "no:cacheprovider", str(PROPERTIES), *args.words], plugins=[count])
    total = tuple(map(sum, zip(*count.cases.values(), strict=True)))
    rows = [f"| {name} | {held} | {failed} | {vain} |" for name, (held, failed, vain) in [*count.cases.items(), ("all", total)]]
    table = "\n".join(["| property | held | failed | drawn in vain |", "|---|---:|---:|---:|", *rows])
    print(table)
    if args.record:
        args.record.write_text(
            f"# Cases drawn by hypothesis\n\nWritten by `make fuzz`, {args.times} times those of `make test`.\n\n{table}\n"
        )
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
