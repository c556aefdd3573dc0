"""How sessions end, in words that programs decide by: the kernel writes them, chain.py reads them. kaggle/build.py puts this text into kernels."""

import json
from pathlib import Path

# Why a session ended, a closed set: the field "cause" of status.json, which chain.py decides by.
CAUSES = {
    "done": "all epochs are trained",
    "stopped": "a limit or a signal ended it cleanly before that; the next session goes on",
    "diverged": "the loss is no longer a number, which another try would meet again",
    "died": "the training process was killed or crashed, which another try may not meet",
}
CAUSE_OF = {"done": "done", "stopped": "stopped", "failed": "diverged", "running": "died"}  # by the "status" that train left in run/

# Why a session doesn't train at all, a closed set as well: the field "cause" of a line of the log that begins with REFUSED.
REFUSED = "refused: "
REFUSALS = {
    "no gpu": "the job needs a GPU, the session has none",
    "machine": "a look at the machine found a fault, which another machine may not have",
    "no package": "ddpm_utils is neither in the kernel nor in an attached data set",
    "no data": "no attached data set holds what the job trains on",
    "no checkpoint": "the session should go on from an earlier one, and finds none",
    "foreign checkpoint": "the earlier session that it finds is of another chain",
    "damaged checkpoint": "the earlier session's files are not what it wrote, or it left none",
    "input": "training refuses its images or its settings",
    "no time": "the session's hours were over before training began",
}


class Refused(Exception):
    """A reason not to train, found before training. cause: a word of REFUSALS."""

    def __init__(self, cause: str, text: str):
        super().__init__(text)
        self.cause = cause


def read_status(path: Path) -> dict:
    """What a status.json says, which may also be a stranger's, or damaged."""
    try:
        status = json.loads(path.read_text())
    except ValueError:
        return {"chain": "a damaged status.json"}
    return status if isinstance(status, dict) else {}
