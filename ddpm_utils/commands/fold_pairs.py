"""Draw pairs to train retouching on, out of photographs of garments that nobody retouched.

The folds of real cloth are lifted off some garments and laid onto others, or their own are taken away. Needs a mask of each garment, white
where its cloth is, as cloth-masks makes them. `train --form … --data-path OUT` uses the result.
"""

import argparse

from ddpm_utils.commands.arguments import user_path
from ddpm_utils.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", type=user_path, help="folder of photographs of single garments, laid flat or hung up")
    parser.add_argument("masks", type=user_path, help="folder of masks of the same names; photographs without one are left out")
    parser.add_argument("out", type=user_path, help="folder to write: source/, target/")
    parser.add_argument("--n", type=int, default=3000, help="pairs (default %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="side of the pairs in pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same pairs (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    from ddpm_utils.data.fold_pairs import fold_pairs

    print(fold_pairs(args.photographs, args.masks, args.out, args.n, args.size, args.seed))
    print(printable(f"written to {args.out}; train on it with --data-path {args.out}"))
