"""One file for each command of `python -m ddpm_utils`: `add_arguments(parser)` and `run(args)`, the module's docstring as its help."""
