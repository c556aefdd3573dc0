"""The exception that means "your input, not our bug", the kind of it that programs tell apart, and names that are safe to show."""


class InputError(ValueError):
    """Bad input, told in one sentence: what it is, which value it had, what would be right.

    The command line prints that sentence and exits with code 2; everything else keeps its traceback.
    """


class DamagedFile(InputError):
    """A file that is there and not whole: another copy of it, or the one before it, may do."""


class NotFinite(InputError):
    """Weights or images that hold NaN or infinity, and are therefore not written."""


def printable(text: str) -> str:
    """The text in one line that any terminal shows: control characters, line breaks and bytes that are no UTF-8 are escaped, as in repr."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
