"""Which files the command retouch reads and writes: one photograph's, or those of a folder and all below it."""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

from ddpm_utils.errors import InputError
from ddpm_utils.runtime.console import say
from ddpm_utils.runtime.files import check_apart, check_folder_can_be

SHEETS = {".png": "PNG", ".jpg": "JPEG"}  # kinds of side-by-side images


class Masks(NamedTuple):
    """What a person painted: a photograph's files, or the folders of all."""

    include: Path | None
    exclude: Path | None
    wrinkles: Path | None


class Job(NamedTuple):
    """One photograph's files."""

    photograph: Path
    out: Path
    masks: Masks
    sheet: Path | None
    layer: Path | None

    @property
    def results(self) -> list[Path]:
        return [path for path in (self.out, self.sheet, self.layer) if path]


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
    if args.layers and (args.layers.suffix.lower() != ".png" or args.layers.is_dir()):
        raise InputError(f"--layers must name a file that ends in .png, got {str(args.layers)!r}")
    masks = masks_of(args)
    for mask in filter(None, masks):
        if not mask.is_file():
            raise InputError(f"there is no mask {str(mask)!r}; check the name")
    check_apart({"--out": out, "--side-by-side": sheet, "--layers": args.layers})
    job = Job(args.photograph, out, masks, sheet, args.layers)
    for path in job.results:
        check_free(path, [args.photograph, *masks], args.overwrite)
    return job


def folder_jobs(args: argparse.Namespace) -> list[Job]:
    """Every photograph below the folder, into the same place below --out. Those that are done already are counted and left out.

    Links to folders are followed, hidden files and folders aren't looked at.
    """
    from ddpm_utils.data.listing import left_out_in_words
    from ddpm_utils.restoration.photos import ENDINGS

    written = {"--out": args.out, "--side-by-side": args.side_by_side, "--layers": args.layers}
    check_apart(written)
    for flag, folder in written.items():
        if folder and folder.is_file():
            raise InputError(f"{flag} must be a folder, because {str(args.photograph)!r} is one; {str(folder)!r} is a file")
        if folder and folder.resolve() == args.photograph.resolve():
            raise InputError(f"{flag} must be another folder than the photographs' {str(folder)!r}: nothing is retouched in place")
    for flag, folder in masks_of(args)._asdict().items():
        if folder and not folder.is_dir():
            raise InputError(f"--{flag} must be a folder with a mask for each photograph, there is no folder {str(folder)!r}")
    names, others = photographs_below(args)
    if not names:
        words = f" ({left_out_in_words(others)})" if others else ""
        raise InputError(
            f"no photographs in {str(args.photograph)!r}; it should hold files that end in {', '.join(sorted(ENDINGS))}{words}"
        )
    if others:
        say(left_out_in_words(others))
    masks = [masks_by_name(folder, names) for folder in masks_of(args)]
    jobs = []
    for name in names:
        sheet, layer = (folder / name.with_name(f"{name.name}.png") if folder else None for folder in (args.side_by_side, args.layers))
        jobs.append(Job(args.photograph / name, args.out / name, Masks(*(of[name] for of in masks)), sheet, layer))
    left = jobs if args.overwrite else [job for job in jobs if not job.out.exists()]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} are in {str(args.out)!r} already and stay; --overwrite does them again")
    for job in left:
        for path in job.results[1:]:
            check_free(path, [], args.overwrite)
    return left


def photographs_below(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Names of the photographs below the folder, and why other files there are left out; folders of masks and results may lie inside."""
    from ddpm_utils.data.listing import ending_in_words, files_below
    from ddpm_utils.restoration.photos import ENDINGS

    apart = [folder.resolve() for folder in (args.out, args.side_by_side, args.layers, *masks_of(args)) if folder]
    page = args.report.resolve() if args.report else None
    tree = files_below(args.photograph)
    files = [p for p in tree.files if not lies_in(p, apart) and p.resolve() != page]
    others = [ending_in_words(p) for p in files if p.suffix.lower() not in ENDINGS]
    others += [why for p, why in tree.left_out if not lies_in(p, apart)]
    return [p.relative_to(args.photograph) for p in files if p.suffix.lower() in ENDINGS], others


def masks_of(args: argparse.Namespace) -> Masks:
    return Masks(args.include, args.exclude, args.wrinkles)


def masks_by_name(folder: Path | None, names: list[Path]) -> dict[Path, Path | None]:
    """The mask of each photograph: in the same place of `folder`, with whatever ending; a path that isn't there where it has none."""
    from ddpm_utils.data.listing import files_below

    if not folder:
        return dict.fromkeys(names)
    found = {p.relative_to(folder).with_suffix(""): p for p in files_below(folder).files}
    return {name: found.get(name.with_suffix(""), folder / name) for name in names}


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
