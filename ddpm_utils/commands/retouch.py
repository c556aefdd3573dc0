"""Take the wrinkles out of a photograph, or of every photograph in a folder.

The result is of the same kind as its source: size, EXIF, colour profile, transparency and bit depth stay. PNG, TIFF, BMP and WebP stay
bit-identical wherever nothing is retouched; a JPEG is compressed once more, with its own tables, so that some of its other pixels move
by a level or two. A photograph in which nothing changes (--strength 0) is copied byte for byte. The small preview inside EXIF stays as
it was. Nothing is sent anywhere.
"""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from ddpm_utils.commands.arguments import add_device, add_fields, given, user_path
from ddpm_utils.errors import InputError, printable
from ddpm_utils.restoration.settings import RetouchSettings
from ddpm_utils.runtime.console import say
from ddpm_utils.runtime.files import atomic_write, check_apart, check_folder_can_be, check_writable

if TYPE_CHECKING:
    from ddpm_utils.models import Model

SHEETS = {".png": "PNG", ".jpg": "JPEG"}  # kinds of side-by-side images


class Job(NamedTuple):
    """One photograph's files."""

    photograph: Path
    out: Path
    mask: Path | None
    sheet: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", default="retouch", help="model.safetensors of `train --form …`, or a shipped one's name (default %(default)s)"
    )
    parser.add_argument("photograph", type=user_path, help="a photograph, or a folder of them with all its subfolders")
    parser.add_argument("--out", type=user_path, required=True, help="file or folder for the result, which has the kind of its source")
    add_fields(parser, RetouchSettings)
    parser.add_argument(
        "--mask", type=user_path, help="image that is white where retouching is allowed; for a folder: a folder, same names"
    )
    parser.add_argument("--side-by-side", type=user_path, help="image, or folder of images, of before, after and what changed")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.models import find_weights, load_model
    from ddpm_utils.restoration.full_resolution import check_settings
    from ddpm_utils.runtime.device import choose_device, describe_device

    if not args.photograph.exists():
        raise InputError(f"there is no photograph or folder {str(args.photograph)!r}; check the name")
    jobs = folder_jobs(args) if args.photograph.is_dir() else [single_job(args)]
    settings = RetouchSettings(**given(args, RetouchSettings))
    device = choose_device(args.device)
    model = load_model(find_weights(args.model, "retoucher"), device)
    check_settings(model, settings)
    for path in (path for job in jobs[:1] for path in (job.out, job.sheet) if path):
        check_writable(path)
    print(f"device: {describe_device(device)}")
    if not args.photograph.is_dir():
        print(retouch_one(jobs[0], model, settings))
        return 0

    failed = []
    for job in tqdm(jobs, desc="retouching", unit="photograph", leave=False, disable=None):
        try:
            tqdm.write(retouch_one(job, model, settings))
        except (InputError, OSError) as error:
            failed.append(printable(f"{job.photograph.relative_to(args.photograph)}: {error}"))
            tqdm.write(printable(f"{job.photograph.name}: failed"))
    print(f"{len(jobs) - len(failed)} retouched, {len(failed)} failed" + "".join(f"\n  {reason}" for reason in failed))
    return 1 if failed else 0


def retouch_one(job: Job, model: "Model", settings: RetouchSettings) -> str:
    """Retouch one photograph; returns what happened, in a line."""
    from ddpm_utils.restoration.full_resolution import retouch
    from ddpm_utils.restoration.photos import read_mask, read_photograph, side_by_side, write_photograph

    started = time.perf_counter()
    photograph = read_photograph(job.photograph)
    mask = read_mask(job.mask, *photograph.pixels.shape[:2]) if job.mask else None
    pixels = retouch(model, photograph.pixels, settings, mask, progress=True)
    write_photograph(photograph, pixels, job.out)
    if job.sheet:
        with atomic_write(job.sheet) as file:
            side_by_side(photograph.pixels, pixels).save(file, SHEETS[job.sheet.suffix.lower()])
    changed = (pixels != photograph.pixels).any(2).mean()
    note = f" ({photograph.note})" if photograph.note else ""
    return printable(f"{job.photograph.name}: {changed:.1%} of the pixels changed, {time.perf_counter() - started:.1f} s{note}")


# --- which files ---


def single_job(args: argparse.Namespace) -> Job:
    """One photograph into one file; an --out that is a folder gets the photograph's name."""
    from ddpm_utils.restoration.photos import check_ending

    check_ending(args.photograph)
    out = args.out / args.photograph.name if args.out.is_dir() else args.out
    if out.suffix.lower() != args.photograph.suffix.lower():
        raise InputError(f"the result has the kind of its source, so --out must end in {args.photograph.suffix!r}, got {str(out)!r}")
    sheet = args.side_by_side
    if sheet and (sheet.suffix.lower() not in SHEETS or sheet.is_dir()):
        raise InputError(f"--side-by-side must name a file that ends in {' or '.join(SHEETS)}, got {str(sheet)!r}")
    if args.mask and not args.mask.is_file():
        raise InputError(f"there is no mask {str(args.mask)!r}; check the name")
    check_apart({"--out": out, "--side-by-side": sheet})
    for path in filter(None, (out, sheet)):
        check_free(path, [args.photograph, args.mask], args.overwrite)
    return Job(args.photograph, out, args.mask, sheet)


def folder_jobs(args: argparse.Namespace) -> list[Job]:
    """Every photograph below the folder, into the same place below --out. Those that are done already are counted and left out.

    Links to folders are followed, hidden files and folders aren't looked at.
    """
    from ddpm_utils.data.listing import ending_in_words, files_below, left_out_in_words
    from ddpm_utils.restoration.photos import ENDINGS

    check_apart({"--out": args.out, "--side-by-side": args.side_by_side})
    for flag, folder in (("--out", args.out), ("--side-by-side", args.side_by_side)):
        if folder and folder.is_file():
            raise InputError(f"{flag} must be a folder, because {str(args.photograph)!r} is one; {str(folder)!r} is a file")
        if folder and folder.resolve() == args.photograph.resolve():
            raise InputError(f"{flag} must be another folder than the photographs' {str(folder)!r}: nothing is retouched in place")
    if args.mask and not args.mask.is_dir():
        raise InputError(f"--mask must be a folder with a mask for each photograph, there is no folder {str(args.mask)!r}")
    apart = [folder.resolve() for folder in (args.out, args.side_by_side, args.mask) if folder]  # they may lie inside
    tree = files_below(args.photograph)
    files = [p for p in tree.files if not lies_in(p, apart)]
    names = [p.relative_to(args.photograph) for p in files if p.suffix.lower() in ENDINGS]
    others = [ending_in_words(p) for p in files if p.suffix.lower() not in ENDINGS]
    others += [why for p, why in tree.left_out if not lies_in(p, apart)]
    if not names:
        words = f" ({left_out_in_words(others)})" if others else ""
        raise InputError(
            f"no photographs in {str(args.photograph)!r}; it should hold files that end in {', '.join(sorted(ENDINGS))}{words}"
        )
    if others:
        say(left_out_in_words(others))
    masks = {p.relative_to(args.mask).with_suffix(""): p for p in files_below(args.mask).files} if args.mask else {}
    jobs = []
    for name in names:
        mask = masks.get(name.with_suffix(""), args.mask / name) if args.mask else None
        sheet = args.side_by_side / name.with_name(f"{name.name}.png") if args.side_by_side else None
        jobs.append(Job(args.photograph / name, args.out / name, mask, sheet))
    left = jobs if args.overwrite else [job for job in jobs if not job.out.exists()]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} are in {str(args.out)!r} already and stay; --overwrite does them again")
    for job in left:
        if job.sheet:
            check_free(job.sheet, [], args.overwrite)
    return left


def lies_in(path: Path, folders: list[Path]) -> bool:
    """Whether this is, through links, in one of the folders; a link that leads in a circle is where it is."""
    return any(folder in Path(os.path.realpath(path)).parents for folder in folders)


def check_free(path: Path, inputs: list[Path | None], overwrite: bool) -> None:
    """Refuse to write over what was given, and over results unless asked to."""
    if any(given and path.resolve() == given.resolve() for given in inputs):
        raise InputError(f"{str(path)!r} is the source itself; give the result another name")
    if path.exists() and not overwrite:
        raise InputError(f"{str(path)!r} exists already; choose another name, or pass --overwrite")
    check_folder_can_be(path.parent)
