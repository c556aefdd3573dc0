"""Kaggle on this machine: a server that speaks the real client's protocol and executes what is pushed, under Kaggle's rules.

`server.py` speaks the protocol, `account.py` holds the rules (versions, quotas, mounts), `refusing.py` says no in Kaggle's words, `datasets.py`
takes data sets, `sandbox.py` executes a kernel and kills it where Kaggle would, `isolate.py` takes network and write access to the inputs away from
it. Hours are seconds here: all limits are `Limits`. RULES.md says from where each rule is known, and which test holds it.
"""

from emulator.account import Account, Limits
from emulator.server import Emulator

__all__ = ["Account", "Emulator", "Limits"]
