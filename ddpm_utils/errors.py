"""The one exception that means "your input, not our bug"."""


class InputError(ValueError):
    """Bad input, told in one sentence: what it is, which value it had, what would be right.

    The command line prints that sentence and exits with code 2; everything else keeps its traceback.
    """
