"""Kaggle on this machine: a server that speaks the real client's protocol and executes what is pushed, under Kaggle's rules.

`server.py` speaks the protocol, `account.py` holds the rules (versions, quotas, mounts), `sandbox.py` executes a kernel and kills it where
Kaggle would, `isolate.py` takes network and write access to the inputs away from it. Hours are seconds here: all limits are `Limits`.
"""

from emulator.account import Account, Limits
from emulator.server import Emulator

__all__ = ["Account", "Emulator", "Limits"]
