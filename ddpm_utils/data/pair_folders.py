"""Chapter 06's data: images in pairs, one with wrinkles and the same one retouched.

The *source* is the image as it was taken, the *target* the retouched one. A pair differs in a few per cent of its pixels only; the change
mask says where, and every honest figure about retouching is computed inside and outside of it. Two folders are a set of pairs when their
files have the same names. This module loads them small; prepare_pairs.py cuts crops from large photographs beforehand.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ddpm_utils.data.folders import decoded_meta, find_images, warn_of_dim
from ddpm_utils.data.images import ORIENTATION, check_size
from ddpm_utils.data.listing import is_hidden, left_out_in_words
from ddpm_utils.data.names import SPLITS
from ddpm_utils.data.pairs import LEAST_CHANGED, PairSet, change_mask, direction_fault, roughness_ratio, spread
from ddpm_utils.data.sources import DEFAULT_SIZE, download
from ddpm_utils.data.synthetic.sets import count_and_seed
from ddpm_utils.data.synthetic.wrinkles import synthetic_pairs
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.cache import cache_folder, fingerprint, is_passing, seal, whole_files
from ddpm_utils.runtime.console import say
from ddpm_utils.runtime.files import atomic_path
from ddpm_utils.settings import check_value, checked_object

SOURCE_WORDS = {"src", "source", "sources", "input", "inputs", "before", "wrinkle", "wrinkled", "wrinkles", "original", "originals"}
TARGET_WORDS = {"gt", "truth", "target", "targets", "output", "outputs", "after", "clean", "retouched", "smooth"}
SETTINGS_FILE, SPLIT_FILE = "prepare_settings.json", "split.json"  # prepare-pairs writes the one first and the other last
SYNTHETIC = 2000  # pairs of the set "wrinkles"


# --- from a name to pairs ---


def load_pairs(
    source: str | Path, size: int | None = None, target: str | Path | None = None, split: str = "train", skip_broken: bool = False
) -> PairSet:
    """The pairs of `source`, `size` by `size` pixels (default: 64, or the size of prepared crops).

    source: a folder that holds a folder of sources and one of targets, recognised by their names (CRHD-3K_src and CRHD-3K_gt, source and
    target, before and after, …); with `target`, the folder of sources itself; a folder that prepare-pairs wrote; "kaggle:OWNER/SLUG" for one
    of these; "wrinkles" or "wrinkles:N" for N synthetic pairs (and a tenth as many others for testing). Files belong together when their
    names without the ending are the same. split: "train" or "test", for prepared and synthetic pairs.

    Whole photographs are scaled by their short side, and the middle square is kept. Raises InputError for a missing or empty folder, files
    without a partner, swapped folders, and for pairs of different sizes and broken files unless skip_broken, which leaves them out.
    """
    name = str(source)
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    check_size(size)
    if target is None and name.partition(":")[0] == "wrinkles":
        return _synthetic(name, size or DEFAULT_SIZE, split)
    if target is not None:
        folders = existing_folder(source), existing_folder(target)
    else:
        root = download(name.removeprefix("kaggle:")) if name.startswith("kaggle:") else existing_folder(source)
        root, prepared = find_prepared(root)
        if prepared:
            names = {f"{photograph}_{i:02d}" for photograph, n in prepared[split].items() for i in range(n)}
            if not names:
                raise InputError(
                    f"{str(root)!r} has no pairs in its {split} split; prepare the pairs anew, into another folder, with another --test-share"
                )
            files = match_files(root / "source", root / "target", skip_broken, names)[0]
            return _decode_pairs(files, size or prepared["size"], skip_broken, is_prepared=True)
        folders = find_pair_folders(root)
    if split == "test":
        raise InputError(f"the pairs in {name!r} have no test split; prepare-pairs makes one")
    return _decode_pairs(match_files(*folders, skip_broken)[0], size or DEFAULT_SIZE, skip_broken)


def load_test_pairs(source: str, size: int | None, target: str | None, *, n: int, skip_broken: bool = False) -> tuple[PairSet, bool]:
    """At most n pairs of the test split, spread evenly, or of everything where nothing is split; and whether there was one.

    source, size, target, skip_broken: as in `load_pairs`.
    """
    if source == "wrinkles":
        source = f"wrinkles:{10 * n}"  # a tenth of them is the test split: no more are drawn than are measured
    if source.startswith("kaggle:") and target is None:
        source = str(download(source.removeprefix("kaggle:")))
    is_split = target is None and (source.startswith("wrinkles:") or find_prepared(existing_folder(source))[1] is not None)
    pairs = load_pairs(source, size, target, "test" if is_split else "train", skip_broken)
    return spread(pairs, n), is_split


def _synthetic(name: str, size: int, split: str) -> PairSet:
    """ "wrinkles" or "wrinkles:N": the pairs that wrinkles.py draws; the test split has a tenth as many, from another seed."""
    n, seed = count_and_seed(name, SYNTHETIC, split, "synthetic pairs")
    return synthetic_pairs(n, size, seed)


def existing_folder(path: str | Path) -> Path:
    """The folder as a Path; InputError if there is none."""
    folder = Path(os.path.expanduser(path))
    if not str(path) or not folder.is_dir():
        raise InputError(f"pairs must be in a folder, kaggle:OWNER/SLUG, wrinkles or wrinkles:N; there is no folder {str(path)!r}")
    return folder


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not is_hidden(Path(p.name)))


def find_prepared(root: Path) -> tuple[Path, dict | None]:
    """The folder at or below `root` that prepare-pairs wrote, and its split file, or `root` and None."""
    for folder in (root, *_subfolders(root)):
        if (folder / SPLIT_FILE).is_file() and (content := _read_split(folder)):
            return folder, content
        if (folder / SETTINGS_FILE).is_file():
            raise InputError(
                f"the pairs in {str(folder)!r} are unfinished, or their {SPLIT_FILE} is damaged; run prepare-pairs again, it goes on where it was"
            )
    return root, None


def _read_split(folder: Path) -> dict | None:
    """The split file, as it was written; None for a damaged one, and for somebody else's file of that name. Older ones have no checksum."""
    content = (folder / SPLIT_FILE).read_bytes()
    try:
        split = checked_object(content, SPLIT_FILE, needed=False)
        hints = {**dict.fromkeys(SPLITS, dict), "size": int, "seed": int}
        if split.keys() - hints:
            return None
        for name, hint in hints.items():
            check_value(name, split.get(name, 0 if name == "seed" else None), {}, hint)
        for part in SPLITS:
            for photograph, crops in split[part].items():
                check_value(photograph, crops, {"within": "[0, inf)"}, int)
    except InputError:
        return None
    return split


def find_pair_folders(root: Path) -> tuple[Path, Path]:
    """The folders of sources and of targets in `root`, told by a word of their names; folders that only wrap others are passed through."""
    while True:
        folders = _subfolders(root)
        words = [set(re.split(r"[^a-z0-9]+", folder.name.lower())) for folder in folders]
        sources = [f for f, w in zip(folders, words) if w & SOURCE_WORDS and not w & TARGET_WORDS]
        targets = [f for f, w in zip(folders, words) if w & TARGET_WORDS and not w & SOURCE_WORDS]
        if sources or targets or len(folders) != 1:
            break
        root = folders[0]
    if len(sources) == 1 and len(targets) == 1:
        return sources[0], targets[0]
    for kind, found, example in (("source", sources, "src, before"), ("target", targets, "gt, after")):
        if len(found) > 1:
            names = ", ".join(repr(f.name) for f in found)
            raise InputError(f"{str(root)!r} has {len(found)} folders that could be the {kind}: {names}; keep one, or pass both folders")
        if not found:
            names = ", ".join(repr(f.name) for f in folders) or "no folders"
            raise InputError(
                f"{str(root)!r} should hold a {kind} folder (named {kind}, {example}, …) and holds {names}; rename it or pass both folders"
            )


def match_files(source: Path, target: Path, skip_broken: bool = False, names: set[str] | None = None) -> tuple[list, list[str]]:
    """[(name, source file, target file)] in the order of their names, and the files without a partner (an InputError unless skip_broken).

    names: if given, only these are looked for, and all must be there. A line says which files of other kinds the folders hold.
    """
    found, left_out = [], []
    for folder in (source, target):
        by_name: dict[str, Path] = {}
        images = find_images(existing_folder(folder))
        left_out += images.left_out
        if images.said:
            say(images.said)
        for path in images.files:
            if by_name.setdefault(path.stem, path) != path:
                raise InputError(
                    f"{str(folder)!r} holds two images named {path.stem!r}, {by_name[path.stem].name!r} is one; rename one of them"
                )
        found.append({k: p for k, p in by_name.items() if names is None or k in names})
    if left_out:
        say(left_out_in_words(left_out))
    ours, theirs = found
    both = ours.keys() & theirs.keys()
    orphans = [str(path) for files in found for name, path in sorted(files.items()) if name not in both]
    missing = sorted((names or set()) - both)
    if missing:
        raise InputError(
            f"{len(missing)} pairs of the split file are missing in {str(source.parent)!r}, the first is {missing[0]!r}; prepare again"
        )
    if not both:
        raise InputError(f"no file in {str(source)!r} has the same name as one in {str(target)!r}; pairs need the same names")
    if orphans and not skip_broken:
        raise InputError(
            f"{len(orphans)} images have no partner of the same name in the other folder, the first is {orphans[0]!r}; "
            "add or remove them, or pass --skip-broken"
        )
    return [(name, ours[name], theirs[name]) for name in sorted(both)], orphans


def pair_fault(source: Path, target: Path, least: int) -> str | None:
    """As `header_fault`, with a file that can't be read now as one more fault."""
    try:
        return header_fault(source, target, least)
    except OSError as error:
        return f"{Path(error.filename or source).name} can't be read: {type(error).__name__}"


def header_fault(source: Path, target: Path, least: int) -> str | None:
    """What the headers of two image files say against them as a pair, or None. least: pixels that the short side must have.

    OSError where the fault isn't the files' own and may pass.
    """
    sizes, modes = [], []
    for path in (source, target):
        try:
            with Image.open(path) as image:
                sizes.append(image.size[::-1] if _lies_on_its_side(image) else image.size)
                modes.append(image.mode)
        except Image.DecompressionBombError:
            return f"{path.name} has more than the {2 * Image.MAX_IMAGE_PIXELS:,} pixels that Pillow decodes; scale both images down"
        except Exception as error:  # damaged bytes make Pillow raise almost anything
            if isinstance(error, OSError) and is_passing(error) and (path.exists() or not path.is_symlink()):
                raise
            return f"{path.name} can't be read: {type(error).__name__}"
    (w, h), other = sizes
    if (w, h) != other:
        return f"the source has {w}x{h} pixels and the target {other[0]}x{other[1]}"
    if min(w, h) < least:
        return f"it has {w}x{h} pixels, fewer than the {least} asked for, a smaller size would take it"
    if (modes[0] == "CMYK") != (modes[1] == "CMYK"):
        return "one of the two is CMYK and the other is not, so that all colours differ; convert both alike"
    return None


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether EXIF turns the image by a quarter. Asked only where there is EXIF: `getexif` decodes a PNG that has none."""
    return "exif" in image.info and image.getexif().get(ORIENTATION, 1) >= 5


# --- decoding ---


def _decode_pairs(files: list[tuple[str, Path, Path]], size: int, skip_broken: bool, is_prepared: bool = False) -> PairSet:
    """All pairs as uint8 arrays with their masks, from the cache or into it.

    is_prepared: by prepare-pairs, which has looked at the direction of whole photographs; a few crops of them would tell less.
    """
    n = len(files)
    paths = [source for _, source, _ in files] + [target for _, _, target in files]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    folder = cache_folder() / fingerprint(root, paths, size)
    whole = whole_files(folder)
    facts = json.loads((folder / "pairs.json").read_text()) if "pairs.json" in whole else None
    if facts is None or facts["passing"]:
        faults, passing = {}, False
        for name, source, target in files:
            try:
                fault = header_fault(source, target, size)
            except OSError as error:
                fault, passing = f"{source.name} or its partner can't be read: {error.strerror}", True
            if fault:
                faults[name] = fault
        _refuse(faults, n, root, skip_broken)
        meta = decoded_meta(folder, whole, root, paths, size)
        broken = meta["broken"]
        for name, *pair in files:
            for path in pair:
                if (why := broken.get(str(path.relative_to(root)))) is not None:
                    faults.setdefault(name, f"{path.name} can't be read: {why}")
        _compare(folder, [name not in faults for name, _, _ in files], faults, passing or meta["passing"])
        facts = json.loads((folder / "pairs.json").read_text())
    _refuse(facts["faults"], n, root, skip_broken)
    if not is_prepared and (fault := direction_fault(facts["ratios"])):
        raise InputError(fault)
    images = np.load(folder / "images.npy", mmap_mode="r")
    warn_of_dim(json.loads((folder / "meta.json").read_text()))
    sources, targets, masks = images[:n], images[n:], np.load(folder / "masks.npy", mmap_mode="r")
    if facts["faults"]:
        names = f"{', '.join(list(facts['faults'])[:5])}{', …' if len(facts['faults']) > 5 else ''}"
        say(f"skipping {len(facts['faults'])} pairs: {names}")
        kept = [i for i, (name, _, _) in enumerate(files) if name not in facts["faults"]]
        sources, targets, masks = sources[kept], targets[kept], masks[kept]
    return PairSet(targets, sources=sources, masks=masks)


def _refuse(faults: dict[str, str], n: int, root: Path, skip_broken: bool) -> None:
    if faults and (len(faults) == n or not skip_broken):
        name, why = next(iter(faults.items()))
        raise InputError(
            f"{len(faults)} of {n} pairs in {str(root)!r} can't be used, the first is {name!r}: {why}; repair or remove them, or pass --skip-broken"
        )


def _compare(folder: Path, usable: list[bool], faults: dict[str, str], passing: bool) -> None:
    """Beside the decoded images: the change masks in masks.npy; faults, whether some may pass, and roughness ratios in pairs.json."""
    images, n = np.load(folder / "images.npy", mmap_mode="r"), len(usable)
    ratios = []
    with atomic_path(folder / "masks.npy") as temporary:
        masks = np.lib.format.open_memmap(temporary, "w+", bool, images[:n].shape[:3])
        for i in tqdm(range(n), desc="comparing", unit="pair", leave=False, disable=None):
            if usable[i]:
                masks[i] = change_mask(images[i], images[n + i])
                if masks[i].sum() >= LEAST_CHANGED:
                    ratios.append(roughness_ratio(images[i], images[n + i], masks[i]))
        masks.flush()
    with atomic_path(folder / "pairs.json") as temporary:
        temporary.write_text(json.dumps({"faults": faults, "ratios": ratios, "passing": passing}))
    seal(folder)
