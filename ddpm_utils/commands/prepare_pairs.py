"""Cut crops to train on from two folders of photographs, with wrinkles and retouched.

Files of the two folders belong together when their names without the ending are the same. Can be killed and run again: it goes on where it
was. `train --data-path OUT` uses the result.
"""

import argparse
from pathlib import Path

from ddpm_utils.data.prepare_pairs import Settings, prepare_pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="folder of the photographs with wrinkles")
    parser.add_argument("target", type=Path, help="folder of the same photographs, retouched")
    parser.add_argument("out", type=Path, help="folder to write: source/, target/, mask/, split.json, report.txt, report.png, records/")
    parser.add_argument("--size", type=int, default=Settings.size, help="side of the crops in pixels (default %(default)s)")
    parser.add_argument("--crops", type=int, default=Settings.crops, help="crops a photograph, at most (default %(default)s)")
    parser.add_argument("--test-share", type=float, default=Settings.test_share, help="photographs kept for testing (default %(default)s)")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="same seed, same crops and split (default %(default)s)")
    parser.add_argument("--skip-broken", action="store_true", help="leave out pairs that can't be used, and list them in the report")
    parser.add_argument("--memory", type=float, default=2.0, help="GB to use; more lets more cores work at a time (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    settings = Settings(args.size, args.crops, args.test_share, args.seed)
    print(prepare_pairs(args.source, args.target, args.out, settings, args.skip_broken, args.memory), end="")
    print(f"written to {args.out}; train on it with --data-path {args.out}")
