"""What to do about a refusal, of Kaggle's or of a session's: whether another try may go through, and what helps where none would.

Kaggle says no in sentences alone, with an HTTP status; a session that refuses to train says why in a field (see outcomes.py).
"""

import json
from dataclasses import dataclass

from client import Refused
from outcomes import REFUSED

SETTINGS = "kaggle.com/settings"
RENAME = 'write another name into "id" and "title" of kernel-metadata.json'
ANEW = "to begin anew, run the command with --replace and another --out"


@dataclass(frozen=True)
class Way:
    """What follows. again: another try may go through. spent: the week's hours are used up. do: what helps, "" where only time does."""

    do: str = ""
    again: bool = False
    spent: bool = False


WORDS = {  # in Kaggle's sentences
    "session count": Way(again=True),
    "projected to exceed": Way(again=True),
    "weekly GPU quota": Way(spent=True),
    "less than 1 megabytes": Way("what build.py writes is smaller: build it again, and push that"),
    "already in use": Way(f"a kernel of yours has this title under another address: delete that one on Kaggle, or {RENAME}"),
    "type cannot be changed": Way(f"a script can't become a notebook, nor the other way round: delete the kernel on Kaggle, or {RENAME}"),
    "at least five characters": Way(RENAME),
}
CODES = {  # HTTP statuses, where the words are none of these
    401: Way(f"the credentials are not, or no longer, valid: make a new token at {SETTINGS}/api"),
    403: Way("the credentials belong to another account, or their token may not do this: use those of the kernel's owner"),
    404: Way("check the owner's name and the name of the kernel"),
}
SESSIONS = {  # why a session refuses to train, by the words of outcomes.REFUSALS
    "no gpu": Way(f"verify your phone number at {SETTINGS}, see that `kaggle quota` has GPU hours left, then run the same command again"),
    "machine": Way(again=True),
    "no package": Way("name it in kernel-metadata.json, or build the kernel with build.py, which puts the package inside"),
    "no data": Way("open the data set's page on Kaggle: its files have other names now, or it isn't the one that the job needs"),
    "no checkpoint": Way(again=True),
    "foreign checkpoint": Way(ANEW),
    "damaged checkpoint": Way(ANEW),
    "input": Way("change what it names, with --set or in job.toml, and run the command again"),
    "no time": Way("with --set, or in job.toml"),
}


def of_push(error: Refused) -> Way:
    """What to do about a push that Kaggle refuses."""
    return next((way for words, way in WORDS.items() if words in str(error)), CODES.get(error.code, Way()))


def explained(error: Exception) -> str:
    """Kaggle's sentence, and what to do about it where that is known."""
    way = of_push(error) if isinstance(error, Refused) else Way()
    return f"{error}; {way.do}" if way.do else str(error)


def in_log(log: str) -> tuple[str, Way] | None:
    """(why a session refused to train, what to do about it), from its log; None where it didn't, or where a newer kernel did."""
    lines = [line.removeprefix(REFUSED) for line in log.splitlines() if line.startswith(REFUSED)]
    try:
        said = json.loads(lines[-1])
        return said["reason"], SESSIONS[said["cause"]]
    except (IndexError, ValueError, KeyError, TypeError):
        return None
