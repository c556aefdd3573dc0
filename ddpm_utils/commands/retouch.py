"""Take the wrinkles out of a photograph, or of every photograph in a folder.

The result is of the same kind as its source: size, EXIF, colour profile, transparency and bit depth stay. PNG, TIFF, BMP and WebP stay
bit-identical wherever nothing is retouched; a JPEG is compressed once more, with its own tables, so that some of its other pixels move
by a level or two. A photograph in which nothing changes (--strength 0) is copied byte for byte. The small preview inside EXIF stays as
it was. Nothing is sent anywhere.
"""

import argparse
import time
from typing import TYPE_CHECKING

from tqdm import tqdm

from ddpm_utils.commands.arguments import add_device, add_fields, given, user_path
from ddpm_utils.commands.retouch_files import SHEETS, Job, folder_jobs, photographs_below, single_job
from ddpm_utils.errors import InputError, printable
from ddpm_utils.restoration.settings import RetouchSettings
from ddpm_utils.runtime.files import atomic_write, check_writable

if TYPE_CHECKING:
    from ddpm_utils.models import Model

METHODS = ("model", "frequency")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", default="retouch", help="model.safetensors of `train --form …`, or a shipped one's name (default %(default)s)"
    )
    parser.add_argument("photograph", type=user_path, help="a photograph, or a folder of them with all its subfolders")
    parser.add_argument("--out", type=user_path, required=True, help="file or folder for the result, which has the kind of its source")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="frequency: no model, but frequency separation, which smooths all that --include shows it (default %(default)s)",
    )
    add_fields(parser, RetouchSettings)
    parser.add_argument(
        "--include", "--mask", type=user_path, help="image that is white where retouching is allowed; for a folder: a folder, same names"
    )
    parser.add_argument("--exclude", type=user_path, help="the same, white where it is not allowed")
    parser.add_argument(
        "--wrinkles",
        type=user_path,
        help="the same, white where the wrinkles are, painted roughly around them: there they count without company, and nowhere else",
    )
    parser.add_argument("--side-by-side", type=user_path, help="image, or folder of images, of before, after and what changed")
    parser.add_argument(
        "--layers",
        type=user_path,
        help="PNG, or folder of PNGs, of what was added, about mid-grey, with what changed as its transparency: laid over the photograph in "
        "an editor as a layer in the mode 'linear light' it gives the result, and can be painted away in places",
    )
    parser.add_argument(
        "--people", action="store_true", help="tell how many faces were found, which are left alone, and mark them in --side-by-side"
    )
    parser.add_argument(
        "--cloth", action="store_true", help="tell where wrinkles count, on cloth that has many, and mark it in --side-by-side"
    )
    parser.add_argument(
        "--report",
        type=user_path,
        help="for a folder: HTML page that shows each photograph before and after, at full size, to accept or reject it",
    )
    parser.add_argument(
        "--restore", type=user_path, help="retouch nothing, but put the photographs back that were rejected on that page (decisions.json)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from ddpm_utils.models import find_weights, load_model
    from ddpm_utils.restoration.full_resolution import check_settings
    from ddpm_utils.runtime.device import choose_device, describe_device

    if not args.photograph.exists():
        raise InputError(f"there is no photograph or folder {str(args.photograph)!r}; check the name")
    if args.restore:
        return restore_rejected(args)
    if args.method == "frequency" and not (args.include or args.wrinkles):
        raise InputError("--method frequency smooths all that it is shown; add --include, a mask that is white on the wrinkles")
    if args.cloth and (args.raw or args.wrinkles or args.method == "frequency"):
        raise InputError(
            "--cloth tells where wrinkles count, which --raw, --wrinkles and --method frequency don't ask; leave it out, or them"
        )
    check_report(args)
    jobs = folder_jobs(args) if args.photograph.is_dir() else [single_job(args)]
    settings = RetouchSettings(**given(args, RetouchSettings))
    device, model = choose_device(args.device), None
    if args.method == "model":
        model = load_model(find_weights(args.model, "retoucher"), device)
        check_settings(model, settings)
    for path in (path for job in jobs[:1] for path in job.results):
        check_writable(path)
    print(f"device: {describe_device(device)}")
    if not args.photograph.is_dir():
        print(retouch_one(jobs[0], model, settings, args.people, args.cloth))
        return 0

    failed = []
    for job in tqdm(jobs, desc="retouching", unit="photograph", leave=False, disable=None):
        try:
            tqdm.write(retouch_one(job, model, settings, args.people, args.cloth))
        except (InputError, OSError) as error:
            failed.append(printable(f"{job.photograph.relative_to(args.photograph)}: {error}"))
            tqdm.write(printable(f"{job.photograph.name}: failed"))
    print(f"{len(jobs) - len(failed)} retouched, {len(failed)} failed" + "".join(f"\n  {reason}" for reason in failed))
    if args.report:
        print(write_report(args))
    return 1 if failed else 0


def retouch_one(job: Job, model: "Model | None", settings: RetouchSettings, people: bool, cloth: bool) -> str:
    """Retouch one photograph, without a model by frequency separation; returns what happened, in a line.

    people, cloth: whether to tell of them.
    """
    from ddpm_utils.restoration.findings import findings
    from ddpm_utils.restoration.frequency import frequency_change
    from ddpm_utils.restoration.full_resolution import apply_change, predict_change
    from ddpm_utils.restoration.photos import layer_of, read_allowed, read_mask, read_photograph, side_by_side, write_photograph

    started = time.perf_counter()
    photograph = read_photograph(job.photograph)
    before, size = photograph.pixels, photograph.pixels.shape[:2]
    painted = read_mask(job.masks.wrinkles, *size) if job.masks.wrinkles else None
    allowed = read_allowed(job.masks.include, job.masks.exclude, *size)
    if painted is not None:
        allowed = painted if allowed is None else painted * allowed
    change = predict_change(model, before, settings, progress=True, wrinkles=painted) if model else frequency_change(before, settings)
    pixels = apply_change(before, change.residual, settings.strength, allowed)
    told, found = findings(before, change, people, cloth) if people or cloth else ("", None)
    write_photograph(photograph, pixels, job.out)
    if job.sheet:
        with atomic_write(job.sheet) as file:
            side_by_side(photograph.pixels, pixels, found=found).save(file, SHEETS[job.sheet.suffix.lower()])
    if job.layer:
        with atomic_write(job.layer) as file:
            file.write(layer_of(photograph.pixels, pixels))
    changed = (pixels != photograph.pixels).any(2).mean()
    note = f" ({photograph.note})" if photograph.note else ""
    told = f"; {told}" if told else ""
    unsure = model and not settings.raw and not change.residual.any()
    hint = " (no wrinkle is sure enough; --raw shows what the network alone would change)" if unsure else ""
    return printable(f"{job.photograph.name}: {changed:.1%} of the pixels changed{hint}{told}, {time.perf_counter() - started:.1f} s{note}")


# --- a folder, looked at ---


def check_report(args: argparse.Namespace) -> None:
    """Refuse a report of a single photograph, and one that isn't named as a page."""
    if not args.report:
        return
    if not args.photograph.is_dir():
        raise InputError("--report is a page about a folder, and this is a single photograph; take --side-by-side instead")
    if args.report.suffix.lower() != ".html" or args.report.is_dir():
        raise InputError(f"--report must name a file that ends in .html, got {str(args.report)!r}")
    check_writable(args.report)


def write_report(args: argparse.Namespace) -> str:
    """The page of all photographs that have a result, whenever it was made; returns a sentence."""
    from ddpm_utils.restoration.review import Pair, report_page

    names = [name for name in photographs_below(args)[0] if (args.out / name).is_file()]
    if not names:
        return "no page, since there is no result to look at"
    page = report_page([Pair(name, args.photograph / name, args.out / name) for name in names], args.report)
    with atomic_write(args.report) as file:
        file.write(page.encode())
    return printable(f"{len(names)} photographs to look at: {args.report}")


def restore_rejected(args: argparse.Namespace) -> int:
    """Put back what was rejected on the page of a report."""
    from ddpm_utils.restoration.review import read_decisions, restore

    rejected = read_decisions(args.restore)
    restore(rejected, args.photograph, args.out)
    print(f"{len(rejected)} put back as they were")
    return 0
