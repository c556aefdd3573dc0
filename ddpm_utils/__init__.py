"""What the notebooks build, in one small package: denoising diffusion, chapter by chapter.

schedules (01), diffusion (02), unet (03), training (04), sampling (05), guidance (07); around them data, figures and the command line.
`import ddpm_utils as du` has the names of api.py, such as `du.load("digits").sample(8)`.
"""

from importlib import import_module

__version__ = "0.2.0"


def __getattr__(name: str):
    # On demand (PEP 562): a command line is built, and a recipe read, without waiting seconds for torch. __init__.pyi tells the types.
    if not name.startswith("_") and name != "api":
        api = import_module("ddpm_utils.api")
        if name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
