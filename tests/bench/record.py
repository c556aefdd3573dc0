"""The record of the benchmark: a part for each machine, under its heading."""

import re
from pathlib import Path


def write(record: Path, found: list[str]) -> None:
    """Put this machine's part into the record, in place of what it had."""
    whole = record.read_text() if record.exists() else "# Speed, by machine\n"
    parts = [part for part in re.split(r"(?m)^(?=## )", whole) if not part.startswith(found[0] + "\n")]
    record.write_text("".join(part.rstrip() + "\n\n" for part in parts) + "\n".join(found) + "\n")
