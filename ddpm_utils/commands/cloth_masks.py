"""Make the masks of garments that fold-pairs needs: white where the cloth is, by two starts of GrabCut that must agree.

Needs OpenCV (`pip install opencv-python-headless`). Can be stopped and run again: it goes on where it was.
"""

import argparse

from ddpm_utils.commands.arguments import user_path
from ddpm_utils.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photographs", type=user_path, help="folder of photographs of single garments, laid flat or hung up")
    parser.add_argument("out", type=user_path, help="folder to write: a PNG of the same name for each garment that is clear")


def run(args: argparse.Namespace) -> None:
    from ddpm_utils.data.cloth_masks import cloth_masks

    print(cloth_masks(args.photographs, args.out))
    print(printable(f"written to {args.out}; fold-pairs takes it beside the photographs"))
