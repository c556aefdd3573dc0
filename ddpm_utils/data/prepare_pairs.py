"""From two folders of large photographs to crops to train on: the command prepare-pairs.

Each photograph is finished by itself: its crops first, then a record in OUT/records, each file written aside and renamed. A run that was
killed goes on after the last record, and what a photograph gives depends on the settings and its name only, so the result is the same.
A record carries the checksums of its crops and of itself: where one was lost or damaged since, the photograph is cut anew.
The split file comes last; it tells load_pairs that all is there.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ddpm_utils.data.crops import BYTES_PER_PIXEL, MAX_SHIFT, compare, crop_statistics, cut_crops, measure_shift, read_pair, without_bars
from ddpm_utils.data.pair_folders import SETTINGS_FILE, SPLIT_FILE, existing_folder, match_files, pair_fault
from ddpm_utils.data.pairs import direction_fault
from ddpm_utils.data.prepare_report import describe, examples
from ddpm_utils.data.prepare_settings import PrepareSettings
from ddpm_utils.errors import InputError
from ddpm_utils.runtime.console import say
from ddpm_utils.runtime.files import LOCK, atomic_write, locked
from ddpm_utils.settings import checked_object, json_object, with_checksum

FOLDERS = ("source", "target", "mask")
PROGRAM_BYTES = 400e6  # what the program needs before it opens a photograph (measured)
EARLY, CLEAR_MAJORITY = 16, 0.75  # photographs after which clearly swapped folders are noticed, so that hours aren't lost


def prepare_pairs(source: Path, target: Path, out: Path, settings: PrepareSettings, skip_broken: bool = False, memory: float = 2.0) -> str:
    """Cut crops from all pairs of photographs into `out`; returns the report. memory: GB that the decoded photographs may take together.

    Raises InputError for pairs that can't be used (unless skip_broken), for swapped folders, and for an `out` of other settings. Whatever
    was finished before stays and isn't done again.
    """
    source, target = existing_folder(source), existing_folder(target)
    _check_place(source, target, out)
    with locked(out):
        return _prepare(source, target, out, settings, skip_broken, memory)


def _prepare(source: Path, target: Path, out: Path, settings: PrepareSettings, skip_broken: bool, memory: float) -> str:
    """`prepare_pairs`, in a folder that no other process changes meanwhile."""
    _check_contents(out, settings)
    files, orphans = match_files(source, target, skip_broken)
    faults = {name: fault for name, *pair in files if (fault := pair_fault(*pair, settings.size) or _memory_fault(pair[0], memory))}
    _refuse(faults, len(files), 0, skip_broken)
    todo = [item for item in files if item[0] not in faults]
    records = {name: record for name, *pair in todo if (record := _finished(out, name, pair))}
    if len(records) < len(todo):
        _start(out, settings)
        _cut_all([item for item in todo if item[0] not in records], out, settings, records, faults, memory)
    _refuse(faults, len(files), len(records), skip_broken)
    records = dict(sorted(records.items()))
    _check_direction(records)
    if not any(record["crops"] for record in records.values()):
        raise InputError(f"none of the {len(records)} pairs differs enough to cut a crop; the two folders hold the same images")
    split = _split(records, settings)
    report = describe(records, split, orphans, faults)
    _remove_strangers(out, records)
    _write(out / "report.txt", report.encode())
    _save_png(out / "report.png", examples(out, records))
    _write(out / SPLIT_FILE, with_checksum(split).encode())  # ASCII: names may be no UTF-8
    return report


# --- before the work ---


def _check_place(source: Path, target: Path, out: Path) -> None:
    place = out.resolve()
    for folder in (source.resolve(), target.resolve()):
        if place.is_relative_to(folder):
            raise InputError(f"the crops can't be written into {str(folder)!r}, where the photographs are; name another folder")
    if out.exists() and not out.is_dir():
        raise InputError(f"{str(out)!r} is a file; name a folder for the crops")


def _check_contents(out: Path, settings: PrepareSettings) -> None:
    left_over = (LOCK, f".{SETTINGS_FILE}.tmp")  # by a run killed at its first file
    if any(path.name not in left_over for path in out.iterdir()):
        if not (out / SETTINGS_FILE).is_file():
            raise InputError(f"{str(out)!r} holds other things; name a new or empty folder for the crops")
        now = asdict(settings)
        try:
            before = json_object((out / SETTINGS_FILE).read_bytes(), SETTINGS_FILE)
        except InputError:
            say(f"{out / SETTINGS_FILE} is damaged; all photographs are cut anew, by the settings of now")
            for record in (out / "records").glob("*.json"):
                record.unlink()
            return
        if before != now:
            changed = ", ".join(
                f"--{key.replace('_', '-')} {before.get(key)} (now {now[key]})" for key in now if before.get(key) != now[key]
            )
            raise InputError(f"{str(out)!r} was prepared with {changed}; use the same settings, or name another folder")


def _memory_fault(path: Path, memory: float) -> str | None:
    need = BYTES_PER_PIXEL * _pixels(path) + PROGRAM_BYTES
    if need > memory * 1e9:
        return f"it needs {need / 1e9:.1f} GB of memory; allow more with --memory, or scale both images down"
    return None


def _pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def _refuse(faults: dict[str, str], n: int, finished: int, skip_broken: bool) -> None:
    if faults and (len(faults) == n or not skip_broken):
        name, why = next(iter(sorted(faults.items())))
        kept = f" ({finished} are cut and kept)" if finished else ""
        raise InputError(
            f"{len(faults)} of {n} pairs can't be used, the first is {name!r}: {why}; repair or remove them and run this again{kept}, "
            "or pass --skip-broken"
        )


# --- the work ---


def _start(out: Path, settings: PrepareSettings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _write(out / SETTINGS_FILE, json.dumps(asdict(settings)).encode())  # first: it says whose folder this is
    for folder in (*FOLDERS, "records"):
        (out / folder).mkdir(exist_ok=True)
    (out / SPLIT_FILE).unlink(missing_ok=True)


def _cut_all(todo, out: Path, settings: PrepareSettings, records: dict[str, dict], faults: dict[str, str], memory: float) -> None:
    """Work through the photographs on as many cores as the memory allows; fills `records` and `faults`."""
    largest = max(_pixels(path) for _, path, _ in todo)
    workers = int(min(os.cpu_count() or 1, (memory * 1e9 - PROGRAM_BYTES) // (BYTES_PER_PIXEL * largest)))
    pool = ThreadPoolExecutor(max(1, workers))  # decoding, scaling and NumPy let other threads run meanwhile
    try:
        results = pool.map(lambda item: _cut_one(*item, out, settings), todo)
        bar = tqdm(total=len(records) + len(todo), initial=len(records), desc="cutting", unit="pair", disable=None)
        for (name, *_), result in zip(todo, results):
            if isinstance(result, str):
                faults[name] = result
            else:
                records[name] = result
                if len(records) == EARLY:
                    _check_direction(records, CLEAR_MAJORITY)
            bar.update()
        bar.close()
    finally:
        pool.shutdown(cancel_futures=True)


def _cut_one(name: str, source_file: Path, target_file: Path, out: Path, settings: PrepareSettings) -> dict | str:
    """Write one photograph's crops and its record; returns the record, or a sentence on why the pair can't be used."""
    try:
        source, target = read_pair(source_file, target_file)
        top, bottom, left, right = without_bars(source, target)
        height, width = source.shape[:2]
        bars = [top, height - bottom, left, width - right]
        source, target = source[top:bottom, left:right], target[top:bottom, left:right]
        if min(source.shape[:2]) < settings.size:
            raise InputError(f"inside its black bars it has {right - left}x{bottom - top} pixels, fewer than the {settings.size} asked for")
        shift = measure_shift(source, target)
        if shift > MAX_SHIFT:
            raise InputError(f"the target is shifted by {shift:.1f} pixels against the source; align them")
    except InputError as error:
        return str(error)
    mask, numbers = compare(source, target)
    crops = cut_crops(source, target, mask, settings.size, settings.crops, _generator(settings.seed, name))
    for i, crop in enumerate(crops):
        for folder, pixels in zip(FOLDERS, (crop.source, crop.target, crop.mask)):
            _save_png(out / folder / f"{name}_{i:02d}.png", Image.fromarray(pixels))
    record = {"files": _fingerprint((source_file, target_file)), "bars": bars, "shift": round(shift, 2), **numbers}
    record["crops"] = [crop_statistics(crop) for crop in crops]
    record["sums"] = _crop_sums(out, name, len(crops))
    _write(out / "records" / f"{name}.json", with_checksum(record).encode())
    return record


def _crop_sums(out: Path, name: str, n: int) -> list[str]:
    """SHA-256 of each file of a photograph's n crops; OSError where one is missing."""
    paths = [out / folder / f"{name}_{i:02d}.png" for i in range(n) for folder in FOLDERS]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def _generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the photograph's name only."""
    return np.random.default_rng([seed, *hashlib.sha256(os.fsencode(name)).digest()])


def _finished(out: Path, name: str, pair: list[Path]) -> dict | None:
    """The record of a photograph that was finished, and whose files and crops haven't changed since."""
    path = out / "records" / f"{name}.json"
    if not path.is_file():
        return None
    try:
        record = checked_object(path.read_bytes(), path.name)
        if record["files"] == _fingerprint(pair):
            if record["sums"] == _crop_sums(out, name, len(record["crops"])):
                return record
            raise InputError("a crop isn't as it was written")
    except (InputError, FileNotFoundError):
        say(f"{name!r} is cut anew: a crop or the record of it is lost, damaged, or of an older version")
    return None


def _fingerprint(pair) -> list[int]:
    return [number for path in pair for number in (path.stat().st_size, path.stat().st_mtime_ns)]


def _check_direction(records: dict[str, dict], majority: float = 0.5) -> None:
    """A vote of the photographs, each by the median of its crops."""
    ratios = [[crop["ratio"] for crop in record["crops"] if crop["ratio"] is not None] for record in records.values()]
    if fault := direction_fault([float(np.median(r)) for r in ratios if r], majority):
        raise InputError(fault)


# --- after the work ---


def _split(records: dict[str, dict], settings: PrepareSettings) -> dict:
    """{"train": {photograph: its crops}, "test": …, "size", "seed"}: by photograph, so that no photograph has crops in both."""
    names = [name for name, record in records.items() if record["crops"]]
    shuffled = sorted(names, key=lambda name: hashlib.sha256(os.fsencode(f"{settings.seed} {name}")).digest())
    n_test = round(settings.test_share * len(names))
    if settings.test_share and len(names) > 1:
        n_test = min(max(n_test, 1), len(names) - 1)
    parts = {"test": shuffled[:n_test], "train": shuffled[n_test:]}
    counts = {part: {name: len(records[name]["crops"]) for name in chosen} for part, chosen in parts.items()}
    return {**counts, "size": settings.size, "seed": settings.seed}


def _remove_strangers(out: Path, records: dict[str, dict]) -> None:
    """Delete crops of photographs that are no longer there, and what a killed run left behind."""
    crops = {f"{name}_{i:02d}.png" for name, record in records.items() for i in range(len(record["crops"]))}
    for folder in (*FOLDERS, "records"):
        expected = {f"{name}.json" for name in records} if folder == "records" else crops
        for path in (out / folder).iterdir():
            if path.name not in expected:
                path.unlink()


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def _save_png(path: Path, image: Image.Image) -> None:
    with atomic_write(path) as file:
        image.save(file, "PNG")
