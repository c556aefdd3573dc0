"""The exception that means "your input, not our bug", and the kind of it that programs tell apart."""


class InputError(ValueError):
    """Bad input, told in one sentence: what it is, which value it had, what would be right.

    The command line prints that sentence and exits with code 2; everything else keeps its traceback.
    """


class DamagedFile(InputError):
    """A file that is there and not whole: another copy of it, or the one before it, may do."""


class NotFinite(InputError):
    """Weights or images that hold NaN or infinity, and are therefore not written."""
