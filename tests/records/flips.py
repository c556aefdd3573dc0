"""Flip one bit, or cut the end off, in every kind of file that is read back, and see what comes of it.

Each damage is *noticed* (a sentence that names the file, or its folder, or it is made anew and that is said), *harmless* (what is read is
equal bit by bit), or *silent*: something else was read and nobody was told, or the program broke. There must be none of those.

    python tests/records/flips.py [--flips 200] [--cuts 40] [--seed 0] [--record tests/records/flips.md] [KINDS …]
"""

import argparse
import os
import random
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import damageable
from damageable import Kept

from ddpm_utils.errors import InputError

KINDS = {
    "model.safetensors": damageable.model,
    "classifier.safetensors": damageable.classifier,
    "control.safetensors": damageable.control,
    "state-….pt": damageable.state,
    **{f"decoded images: {name}": damageable.images_in_cache(name) for name in ("images.npy", "meta.json", "checksums.json")},
    **{f"decoded pairs: {name}": damageable.pairs_in_cache(name) for name in ("images.npy", "masks.npy", "pairs.json", "checksums.json")},
    "mnist5k.npz": damageable.digits_in_cache,
    **{f"{name}, by training": damageable.in_training(name) for name in ("split.json", "source/*.png")},
    **{f"prepare-pairs: {name}": damageable.prepared(name) for name in ("split.json", "prepare_settings.json", "records/*.json")},
    **{f"prepare-pairs: a crop in {name}": damageable.prepared(f"{name}/*.png") for name in ("source", "target", "mask")},
    "log.jsonl": damageable.log,
    **{f"{name} of a copy": damageable.identity(name) for name in ("run.json", "status.json")},
}
OUTCOMES = ("noticed", "harmless", "silent")


def damages(content: bytes, flips: int, cuts: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """(what was done, damaged content): bits all over and in the first 400 bytes, where headers are; ends, the first and last ones among them."""
    head = min(len(content), 400)
    places = [rng.randrange(len(content)) for _ in range(flips - flips // 3)] + [rng.randrange(head) for _ in range(flips // 3)]
    for place in places:
        bit = rng.randrange(8)
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        yield f"bit {bit} of byte {place}", bytes(damaged)
    ends = {0, 1, len(content) - 1, *(rng.randrange(len(content)) for _ in range(cuts))} if cuts else ()
    for end in sorted(ends):
        yield f"cut after byte {end}", content[:end]


def outcome(kept: Kept, whole: object) -> tuple[str, str]:
    """(one of OUTCOMES, what happened) with the file as it is now."""
    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            found = kept.read()
    except InputError as error:
        return ("noticed" if names(kept.path, str(error)) else "silent"), str(error)
    except Exception as error:
        return "silent", f"{type(error).__name__}: {error}"
    if names(kept.path, said.getvalue()):
        return "noticed", said.getvalue()
    return ("harmless" if found == whole else "silent"), said.getvalue() or "nothing was said"


def names(path: Path, said: str) -> bool:
    """Whether a file, or what it belongs to, is named."""
    return any(word in said for word in (path.name, path.stem, str(path.parent)))


def campaign(kind: str, flips: int, cuts: int, seed: int) -> tuple[Counter, list[str]]:
    """How often each outcome came of damages to one kind of file, and what the silent ones were."""
    counts, silent = Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DDPM_CACHE"] = f"{folder}/cache"
        kept = KINDS[kind](Path(folder))
        content, whole = kept.path.read_bytes(), damageable.quietly(kept.read)
        for what, damaged in damages(content, flips, cuts, random.Random(seed + zlib.crc32(kind.encode()))):
            kept.restore()
            kept.path.unlink(missing_ok=True)  # the file before may still be mapped into memory
            kept.path.write_bytes(damaged)
            happened, told = outcome(kept, whole)
            counts[happened] += 1
            counts["cases"] += 1
            if happened == "silent":
                silent.append(f"{kind}, {what}: {told.strip()[:300]}")
    return counts, silent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="only those whose name holds one of these words")
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    rows, silent, total = [], [], Counter()
    for kind in KINDS:
        if args.kinds and not any(word in kind for word in args.kinds):
            continue
        counts, found = campaign(kind, args.flips, args.cuts, args.seed)
        rows.append(f"| {kind} | {counts['cases']} | " + " | ".join(str(counts[name]) for name in OUTCOMES) + " |")
        print(rows[-1], *found, sep="\n", flush=True)
        silent += found
        total += counts
    rows.append(f"| all | {total['cases']} | " + " | ".join(str(total[name]) for name in OUTCOMES) + " |")
    if args.record:
        head = __doc__.split("\n\n")[1].replace("\n", " ")
        about = f"{args.flips} flips and about {args.cuts} cuts of each file, seed {args.seed}."
        table = "\n".join(["| file | cases | noticed | harmless | silent |", "|---|---:|---:|---:|---:|", *rows])
        args.record.write_text(f"# Damaged files\n\nWritten by `make flips`. {head}\n\n{about}\n\n{table}\n")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
