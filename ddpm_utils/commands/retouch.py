"""Take the wrinkles out of a photograph, or of every photograph in a folder.

The result is of the same kind as its source: size, EXIF, colour profile, transparency and bit depth stay. PNG, TIFF, BMP and WebP stay
bit-identical wherever nothing is retouched; a JPEG is compressed once more, with its own tables, so that some of its other pixels move
by a level or two. A photograph in which nothing changes (--strength 0) is copied byte for byte. The small preview inside EXIF stays as
it was. Nothing is sent anywhere.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ddpm_utils.errors import InputError
from ddpm_utils.models import Model, find_weights, load_model
from ddpm_utils.restoration.full_resolution import SHORT_SIDE, check_settings, retouch
from ddpm_utils.restoration.photos import ENDINGS, read_mask, read_photo, side_by_side, write_photo
from ddpm_utils.runtime.device import choose_device, describe_device
from ddpm_utils.runtime.files import atomic_write, check_folder_can_be

SHEETS = {".png": "PNG", ".jpg": "JPEG"}  # kinds of side-by-side pictures


class Job(NamedTuple):
    """One photograph's files."""

    photo: Path
    out: Path
    mask: Path | None
    sheet: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="retouch", help="a model.safetensors of `train --form …` (default: the shipped one)")
    parser.add_argument("photo", type=Path, help="a photograph, or a folder of them with all its subfolders")
    parser.add_argument("--out", type=Path, required=True, help="file or folder for the result, which has the kind of its source")
    parser.add_argument("--strength", type=float, default=1.0, help="0: nothing, 1: all that the model would do (default %(default)s)")
    parser.add_argument("--mask", type=Path, help="picture that is white where retouching is allowed; for a folder: a folder, same names")
    parser.add_argument("--detail", action="store_true", help="fine creases too: tiles at four times the scale, much slower")
    parser.add_argument("--samples", type=int, default=1, help="draws that are averaged: better and slower (default %(default)s)")
    parser.add_argument("--steps", type=int, help="calls of the network for a draw (default: the model's form decides)")
    parser.add_argument("--short-side", type=int, default=SHORT_SIDE, help="pixels that the network sees (default %(default)s)")
    parser.add_argument("--side-by-side", type=Path, help="picture, or folder of pictures, of before, after and what changed")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same result (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    if not args.photo.exists():
        raise InputError(f"there is no photograph or folder {str(args.photo)!r}; check the name")
    jobs = folder_jobs(args) if args.photo.is_dir() else [single_job(args)]
    device = choose_device(args.device)
    model = load_model(find_weights(args.model, "retoucher"), device)
    check_settings(model, args.strength, args.short_side, args.samples, args.steps, args.seed)
    print(f"device: {describe_device(device)}")
    if not args.photo.is_dir():
        print(do(jobs[0], model, args))
        return 0

    failed = []
    for job in tqdm(jobs, desc="retouching", unit="photo", leave=False, disable=None):
        try:
            tqdm.write(do(job, model, args))
        except (InputError, OSError) as error:
            failed.append(f"{job.photo.relative_to(args.photo)}: {error}")
            tqdm.write(f"{job.photo.name}: failed")
    print(f"{len(jobs) - len(failed)} retouched, {len(failed)} failed" + "".join(f"\n  {reason}" for reason in failed))
    return 1 if failed else 0


def do(job: Job, model: Model, args: argparse.Namespace) -> str:
    """Retouch one photograph; returns what happened, in a line."""
    started = time.perf_counter()
    photo = read_photo(job.photo)
    mask = read_mask(job.mask, *photo.pixels.shape[:2]) if job.mask else None
    settings = (args.strength, mask, args.detail, args.short_side, args.samples, args.steps, args.seed)
    pixels = retouch(model, photo.pixels, *settings, progress=True)
    write_photo(photo, pixels, job.out)
    if job.sheet:
        with atomic_write(job.sheet) as file:
            side_by_side(photo.pixels, pixels).save(file, SHEETS[job.sheet.suffix.lower()])
    changed = (pixels != photo.pixels).any(2).mean()
    note = f" ({photo.note})" if photo.note else ""
    return f"{job.photo.name}: {changed:.1%} of the pixels changed, {time.perf_counter() - started:.1f} s{note}"


# --- which files ---


def single_job(args: argparse.Namespace) -> Job:
    """One photograph into one file; an --out that is a folder gets the photograph's name."""
    out = args.out / args.photo.name if args.out.is_dir() else args.out
    if out.suffix.lower() != args.photo.suffix.lower():
        raise InputError(f"the result has the kind of its source, so --out must end in {args.photo.suffix!r}, got {str(out)!r}")
    sheet = args.side_by_side
    if sheet and (sheet.suffix.lower() not in SHEETS or sheet.is_dir()):
        raise InputError(f"--side-by-side must name a file that ends in {' or '.join(SHEETS)}, got {str(sheet)!r}")
    if args.mask and not args.mask.is_file():
        raise InputError(f"there is no mask {str(args.mask)!r}; check the name")
    for path in filter(None, (out, sheet)):
        check_free(path, [args.photo, args.mask], args.overwrite)
    return Job(args.photo, out, args.mask, sheet)


def folder_jobs(args: argparse.Namespace) -> list[Job]:
    """Every photograph below the folder, into the same place below --out. Those that are done already are said and left out."""
    for flag, folder in (("--out", args.out), ("--side-by-side", args.side_by_side)):
        if folder and folder.is_file():
            raise InputError(f"{flag} must be a folder, because {str(args.photo)!r} is one; {str(folder)!r} is a file")
        if folder and folder.resolve() == args.photo.resolve():
            raise InputError(f"{flag} must be another folder than the photographs' {str(folder)!r}: nothing is retouched in place")
    if args.mask and not args.mask.is_dir():
        raise InputError(f"--mask must be a folder with a mask for each photograph, there is no folder {str(args.mask)!r}")
    apart = [folder.resolve() for folder in (args.out, args.side_by_side, args.mask) if folder]  # they may lie inside
    files = sorted(p for p in args.photo.rglob("*") if p.is_file() and not any(folder in p.resolve().parents for folder in apart))
    names = [p.relative_to(args.photo) for p in files if p.suffix.lower() in ENDINGS and not p.name.startswith(".")]
    if not names:
        raise InputError(f"no photographs in {str(args.photo)!r}; it should hold files that end in {', '.join(sorted(ENDINGS))}")
    if len(names) < len(files):
        print(f"files that are no photographs and are left alone: {len(files) - len(names)}")
    masks = {p.relative_to(args.mask).with_suffix(""): p for p in args.mask.rglob("*") if p.is_file()} if args.mask else {}
    jobs = []
    for name in names:
        mask = masks.get(name.with_suffix(""), args.mask / name) if args.mask else None
        sheet = args.side_by_side / name.with_name(f"{name.name}.png") if args.side_by_side else None
        jobs.append(Job(args.photo / name, args.out / name, mask, sheet))
    left = jobs if args.overwrite else [job for job in jobs if not job.out.exists()]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} are in {str(args.out)!r} already and stay; --overwrite does them again")
    for job in left:
        if job.sheet:
            check_free(job.sheet, [], args.overwrite)
    return left


def check_free(path: Path, inputs: list[Path | None], overwrite: bool) -> None:
    """Refuse to write over what was given, and over results unless asked to."""
    if any(given and path.resolve() == given.resolve() for given in inputs):
        raise InputError(f"{str(path)!r} is the source itself; give the result another name")
    if path.exists() and not overwrite:
        raise InputError(f"{str(path)!r} exists already; choose another name, or pass --overwrite")
    check_folder_can_be(path.parent)
