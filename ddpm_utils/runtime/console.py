"""Lines for the terminal."""

import os

from ddpm_utils.errors import printable


def say(line: str) -> None:
    """Print one line, names in it escaped; of several processes that train together, only the first does."""
    if os.environ.get("RANK", "0") == "0":
        print(printable(line))
