"""Flags that are built from the fields of dataclasses, where their help, choices and ranges stand, and flags that commands share."""

import argparse
import os
import shlex
import sys
import types
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ddpm_utils.config import TrainConfig
from ddpm_utils.data.names import EMBEDDED, KAGGLE_HANDLES
from ddpm_utils.data.reading import Reading
from ddpm_utils.errors import InputError
from ddpm_utils.training.options import Compute, Limits, SessionOptions

SOURCES = f"a folder of images, kaggle:OWNER/SLUG, or {', '.join([*EMBEDDED, *KAGGLE_HANDLES])}"

# --- from fields to flags and back ---


def add_fields(parser, cls: type, *names: str, **defaults: Any) -> None:
    """A flag for each of these fields of a dataclass, or for all. Left out, it is None: `given` then leaves the field alone.

    defaults: what the command takes instead of the field's own default, for the help.
    """
    hints, known = get_type_hints(cls), {field.name: field for field in fields(cls)}
    for name in names or known:
        one, default = known[name], defaults.get(name, known[name].default)
        text = one.metadata["help"]
        if default is not None and default != () and not isinstance(default, bool):
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            text = f"{text} (default {shown})".strip()
        parser.add_argument(flag_of(one), dest=name, default=None, help=text.replace("%", "%%"), **_reading(hints[name], one, default))


def flag_of(field: Field) -> str:
    """--like-this, unless the field says otherwise."""
    return field.metadata.get("flag") or f"--{field.name.replace('_', '-')}"


def words_of(field: Field, value: Any) -> list[str]:
    """What one types to give a field this value."""
    flag = flag_of(field)
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [flag, *map(str, value if isinstance(value, tuple) else (value,))]


def _reading(hint: Any, field: Field, default: Any) -> dict[str, Any]:
    """How argparse reads a value of this type."""
    if get_origin(hint) is types.UnionType:
        hint = next(part for part in get_args(hint) if part is not type(None))
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction if default else "store_true"}
    many = get_origin(hint) is tuple
    kind = get_args(hint)[0] if many else hint
    choices = {"choices": field.metadata["choices"]} if field.metadata["choices"] else {}
    return {"type": user_path if kind is Path else kind, **choices, **({"nargs": "*" if default == () else "+"} if many else {})}


def given(args: argparse.Namespace, cls: type, **defaults: Any) -> dict[str, Any]:
    """The fields of `cls` that a command line gives a value, over the command's own defaults."""
    found = {field.name: getattr(args, field.name, None) for field in fields(cls)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items() if value is not None}
    return {**{name: value for name, value in defaults.items() if name in found}, **values}


def refuse(args: argparse.Namespace, cls: type, names: set[str], why: str) -> None:
    """InputError if one of these fields of `cls` was given a value: they would be ignored."""
    for field in fields(cls):
        if field.name in names and getattr(args, field.name, None) is not None:
            raise InputError(f"{flag_of(field)} {why}; leave it out")


def user_path(text: str) -> Path:
    """A path as a user types it: ~ is the home folder, also in --out=~/x, where no shell expands it."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"there is no home folder for {text!r}; write the whole path") from error


# --- shared by the commands that train ---


def add_data(parser, sources: str = SOURCES) -> None:
    parser.add_argument("--data-path", required=True, help=sources)


def add_image_size(parser) -> None:
    parser.add_argument("--img-size", type=int, help="pixels a side (default 64; embedded sets: their own)")


def add_reading(parser, *names: str) -> None:
    """How the files of a folder are read; only these choices, if any are named."""
    add_fields(parser, Reading, *names)
    add_skip_broken(parser)


def reading_of(args: argparse.Namespace, **defaults: Any) -> Reading:
    """What `add_reading`'s flags say."""
    return Reading(**given(args, Reading, **defaults))


def add_skip_broken(parser, what: str = "images") -> None:
    parser.add_argument("--skip-broken", action="store_true", help=f"go on without the {what} that can't be read, instead of stopping")


def add_target_path(parser) -> None:
    parser.add_argument("--target-path", help="folder of the retouched images, if --data-path holds the untouched ones alone")


def add_multipliers(parser, usual: str = "1 2 2 2") -> None:
    parser.add_argument(
        "--multipliers", type=int, nargs="+", help=f"times width at each level (default {usual}, or as often as the size halves)"
    )


def add_device(parser) -> None:
    """For commands that don't train."""
    add_fields(parser, Compute, "device")
    parser.set_defaults(device=Compute.device)


def add_session(parser, **defaults: Any) -> None:
    """Where the run is kept, how it is resumed, what it may use and what it runs on."""
    run = parser.add_argument_group("the session")
    add_fields(run, SessionOptions, "out", **defaults)
    run.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        type=user_path,
        metavar="STATE",
        help="go on from the newest state in --out, or from this one, bit by bit as if it had never stopped",
    )
    add_fields(run, SessionOptions, "copy_to", "log_to", "log_every", "sample_every", "snapshot_every", **defaults)
    limits = parser.add_argument_group("limits of the session; it stops cleanly before them, to be resumed")
    add_fields(limits, Limits, "max_hours", "max_epochs", "max_disk_gb", "keep")
    compute = parser.add_argument_group("machine; several GPUs: torchrun --nproc-per-node 2 -m ddpm_utils …")
    add_fields(compute, Compute, "device", "precision", "accumulate", "checkpoint_blocks", "compile")


def add_optimisation(parser, **defaults: Any) -> None:
    """How the weights move."""
    group = parser.add_argument_group("optimisation")
    names = ("epochs", "batch_size", "optimizer", "lr", "warmup", "lr_decay", "clip_norm")
    add_fields(group, TrainConfig, *names, "ema_decay", "ema_start", "ema_every", "ema_sigmas", "seed", "draws", **defaults)


def session_of(args: argparse.Namespace, **defaults: Any) -> tuple[SessionOptions, Compute]:
    """What `add_session`'s flags say."""
    values = given(args, SessionOptions, **defaults)
    options = SessionOptions(**{**values, "resume": args.resume, "limits": Limits(**given(args, Limits)), "command": next_command()})
    return options, Compute(**given(args, Compute))


def flip_of(args: argparse.Namespace, usual: bool | None = None) -> bool:
    """Whether images are mirrored: as asked, or as usual for this run, or else all but embedded ones, most of which are digits."""
    if args.flip is not None or usual is not None:
        return usual if args.flip is None else args.flip
    return args.data_path.partition(":")[0] not in EMBEDDED


def next_command() -> str:
    """This command again, with --resume: what status.json tells to run next."""
    words, resume = list(sys.argv[1:]), "--resume"
    if resume in words:
        at = words.index(resume)
        has_value = at + 1 < len(words) and not words[at + 1].startswith("--")
        del words[at : at + 1 + has_value]
    world = os.environ.get("WORLD_SIZE")
    return shlex.join([*(["torchrun", "--nproc-per-node", world] if world else ["python"]), "-m", "ddpm_utils", *words, resume])


def default_multipliers(size: int) -> tuple[int, ...]:
    """1 2 2 2, or fewer levels where the size can't be halved three times."""
    halvings = 0
    while halvings < 3 and size % 2 ** (halvings + 1) == 0:
        halvings += 1
    return (1, 2, 2, 2)[: halvings + 1]


def groups_of(width: int) -> int:
    """Groups of GroupNorm: the largest power of two, up to 32, that divides the channels of every level."""
    return min(32, width & -width)
