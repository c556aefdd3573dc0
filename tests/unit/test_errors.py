"""Names that are safe to show."""

import pytest

from ddpm_utils.errors import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zürich 東京 \N{CAT FACE} 'a' \"b\"", "Zürich 東京 \N{CAT FACE} 'a' \"b\""),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("\x1b[31mred\x07\x9b", r"\x1b[31mred\x07\x9b"),
        ("caf\udce9", r"caf\udce9"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe", r"\u202egnp.exe"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped_and_nothing_else(text, shown):
    assert printable(text) == shown
