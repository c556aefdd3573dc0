"""How much a notebook computes: one switch, $DDPM_PROFILE, in place of `if ci` in notebooks.

tiny: the whole course in minutes, for tests. demo: a few minutes a notebook on a laptop's CPU, with a result worth looking at.
full: what a GPU does in a session.
"""

import os

from ddpm_utils.errors import InputError

PROFILES = ("tiny", "demo", "full")


def profile() -> str:
    """The profile in force: $DDPM_PROFILE, or else "full" where CUDA is and "demo" where it isn't.

    Raises InputError for any other value of $DDPM_PROFILE.
    """
    name = os.environ.get("DDPM_PROFILE") or ("full" if device() == "cuda" else "demo")
    if name not in PROFILES:
        raise InputError(f"DDPM_PROFILE must be one of {', '.join(PROFILES)}, got {name!r}")
    return name


def by_profile(*, tiny, demo, full):
    """The value for the profile in force: `steps = by_profile(tiny=10, demo=500, full=20_000)`."""
    return {"tiny": tiny, "demo": demo, "full": full}[profile()]


def device() -> str:
    """ "cuda" where a GPU is, else "cpu"."""
    import torch  # here, so that the set-up cell fails on nothing but a missing package

    return "cuda" if torch.cuda.is_available() else "cpu"
