"""What prepare-pairs found, in words and in one image."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ddpm_utils.data.crops import LEAST_SHARE
from ddpm_utils.errors import printable

EXAMPLES, COLUMNS, GAP, HEADER = 8, 2, 4, 28  # examples at most, examples a row, pixels between images, pixels above them
MOST_CHANGED = 0.5  # a photograph that differs in more was not retouched but toned


def describe(records: dict[str, dict], split: dict, orphans: list[str], faults: dict[str, str]) -> str:
    """The report: what was cut, how much differs, what copying the source scores, and everything that was left out."""
    photographs = list(records.values())
    crops = [crop for record in photographs for crop in record["crops"]]
    changed = [crop for crop in crops if crop["changed"]]
    parts = {part: f"{len(split[part])} ({sum(split[part].values())} crops)" for part in ("train", "test")}
    rows = [
        ("photographs", f"{len(records)} pairs, {sum(bool(r['crops']) for r in photographs)} of them cut"),
        ("crops", f"{len(crops)} of {split['size']}x{split['size']} pixels; in {len(crops) - len(changed)} of them nothing differs"),
        ("zoom", _range([c["window"][2] / split["size"] for c in crops], "{:.1f}") + " pixels of the photograph to one of the crop"),
        ("split", f"photographs for training: {parts['train']}, for testing: {parts['test']}"),
        ("direction", _direction(photographs)),
        ("alignment", f"the largest shift is {max(r['shift'] for r in photographs):.1f} pixels"),
        ("changed pixels", _range([100 * r["changed"] for r in photographs], "{:.1f} %") + " of a photograph"),
        ("", _range([100 * c["changed"] for c in changed], "{:.1f} %") + " of a crop that shows a change"),
        ("PSNR of copying", _copy_psnr(photographs) + ": the photographs"),
        ("", _copy_psnr(changed) + ": the crops that show a change"),
    ]
    lines = [f"{label:<18}{text}" for label, text in rows]
    lines += _listed("nothing differs, no crops", [n for n, r in records.items() if not r["changed"]])
    lines += _listed("too little differs for a crop", [n for n, r in records.items() if r["changed"] and not r["crops"]])
    toned = [f"{n} ({100 * r['changed']:.0f} %)" for n, r in records.items() if r["changed"] > MOST_CHANGED]
    lines += _listed("differ almost everywhere (another tone or colour profile?)", toned)
    barred = [f"{n} (top {b[0]}, bottom {b[1]}, left {b[2]}, right {b[3]} pixels)" for n, r in records.items() if any(b := r["bars"])]
    lines += _listed("black bars cut off", barred)
    lines += _listed("without a partner, left out", orphans)
    lines += _listed("left out", [f"{name}: {why}" for name, why in sorted(faults.items())])
    lines.append(
        f"median (smallest to largest); changed: more than 4 of 255 levels; a crop shows a change from {LEAST_SHARE:.0%} of its pixels"
    )
    return "\n".join(lines) + "\n"


def _range(values: list[float], form: str) -> str:
    if not values:
        return "none"
    return f"{form.format(np.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def _copy_psnr(parts: list[dict]) -> str:
    total, masked = ([p[key] for p in parts if p[key] is not None] for key in ("psnr", "masked_psnr"))
    return f"{_range(total, '{:.1f} dB')}, where they differ {_range(masked, '{:.1f} dB')}"


def _direction(photographs: list[dict]) -> str:
    ratios = [[c["ratio"] for c in r["crops"] if c["ratio"] is not None] for r in photographs]
    medians = [np.median(r) for r in ratios if r]
    return f"the target is smoother where they differ in {sum(m < 1 for m in medians)} of {len(medians)} photographs"


def _listed(title: str, items: list[str]) -> list[str]:
    return [f"{title}: {len(items)}", *(f"  {printable(item)}" for item in items)] if items else []


def examples(out: Path, records: dict[str, dict]) -> Image.Image:
    """A sheet of examples from different photographs: source, target and change mask side by side."""
    names = [name for name, record in records.items() if record["crops"]]
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(EXAMPLES, len(names))).round().astype(int))]
    files = [f"{name}_{k % len(records[name]['crops']):02d}.png" for k, name in enumerate(chosen)]
    tiles = [[Image.open(out / folder / file).convert("RGB") for folder in ("source", "target", "mask")] for file in files]
    size = tiles[0][0].width
    columns, rows = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
    width = 3 * (size + GAP) + 3 * GAP  # of one example
    sheet = Image.new("RGB", (columns * width, HEADER + rows * (size + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(min(18, size // 8))
    for k, example in enumerate(tiles):
        row, column = divmod(k, columns)
        for j, (tile, title) in enumerate(zip(example, ("source", "target", "change mask"))):
            x = column * width + j * (size + GAP)
            sheet.paste(tile, (x, HEADER + row * (size + GAP)))
            if row == 0:
                draw.text((x + size // 2, HEADER // 2), title, "black", font, anchor="mm")
    return sheet
