"""Cut crops to train on from two folders of photographs, with wrinkles and retouched.

Files of the two folders belong together when their names without the ending are the same. Can be killed and run again: it goes on where it
was. `train --data-path OUT` uses the result.
"""

import argparse

from ddpm_utils.commands.arguments import add_fields, given, user_path
from ddpm_utils.data.prepare_settings import PrepareSettings
from ddpm_utils.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=user_path, help="folder of the photographs with wrinkles")
    parser.add_argument("target", type=user_path, help="folder of the same photographs, retouched")
    parser.add_argument(
        "out", type=user_path, help="folder to write: source/, target/, mask/, split.json, report.txt, report.png, records/"
    )
    add_fields(parser, PrepareSettings)
    parser.add_argument("--skip-broken", action="store_true", help="leave out pairs that can't be used, and list them in the report")
    parser.add_argument("--memory", type=float, default=2.0, help="GB to use; more lets more cores work at a time (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    from ddpm_utils.data.prepare_pairs import prepare_pairs

    settings = PrepareSettings(**given(args, PrepareSettings))
    report = prepare_pairs(args.source, args.target, args.out, settings, skip_broken=args.skip_broken, memory=args.memory)
    print(report, end="")
    print(printable(f"written to {args.out}; train on it with --data-path {args.out}"))
