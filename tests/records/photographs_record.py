"""What the shipped retouching model does to photographs that hold little or nothing to retouch: python tests/records/photographs_record.py

Writes tests/records/photographs.md and .github/images/photographs.jpg. The photographs are those inside scikit-image's wheel; none was used
for training. The astronaut's overall has folds and creases; in the others every change is a mistake.
"""

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from scipy import ndimage

from ddpm_utils.evaluation.image_metrics import bit_identical_share, psnr
from ddpm_utils.models import load_model, shipped
from ddpm_utils.restoration.faces import away_from_faces, find_faces
from ddpm_utils.restoration.full_resolution import for_detection, retouch
from ddpm_utils.restoration.photos import side_by_side

NAMES = (
    "astronaut",
    "coffee",
    "chelsea",
    "rocket",
    "camera",
    "stereo_motorcycle",
    "retina",
    "immunohistochemistry",
    "hubble_deep_field",
    "page",
    "text",
    "coins",
    "moon",
    "brick",
    "grass",
    "gravel",
)
SHOWN = ("astronaut", "coffee")
ROOT = Path(__file__).parents[2]
HEAD = """# Photographs that hold little to retouch

What `retouch` with the shipped model and its default settings does to them (`make retouch-record`). The astronaut's overall has creases; in
the others every change is a mistake.

| photograph | pixels | bit-identical | levels that 95 % of the others stay within | PSNR against the original, dB |
|---|---|---:|---:|---:|
"""
LOOKED_AT = """The camera man's, seen from the side, isn't found, and nothing of it changed either.

Looked at: of the camera man's photograph the lawn is smoothed; of the cat her fur; of the retina vessels; of the coins some relief. No crease
of the astronaut's overall went either.
"""


def photograph(name: str) -> np.ndarray:
    """(H, W, 3) uint8."""
    loaded = getattr(skimage.data, name)()
    image = loaded[0] if isinstance(loaded, tuple) else loaded  # of a stereo pair the left one
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)


def row(name: str, before: np.ndarray, after: np.ndarray) -> str:
    changed = (before != after).any(-1)
    moved = np.abs(after.astype(int) - before).max(-1)[changed]
    size = f"{before.shape[1]} x {before.shape[0]}"
    typical = np.quantile(moved, 0.95) if changed.any() else 0
    return f"| {name} | {size} | {bit_identical_share(after, before):.1%} | {typical:.0f} | {psnr(after, before, 255):.1f} |"


def changed_in_faces(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """How many faces `retouch` finds in the photograph, and how many pixels of these heads changed, but for their rims."""
    looked_at = for_detection(before)
    faces = find_faces(looked_at)
    heads = ndimage.binary_erosion(away_from_faces(faces, *looked_at.shape[:2]).numpy() == 0, iterations=2)
    heads = Image.fromarray(heads).resize(before.shape[1::-1])
    return len(faces), int((before != after).any(-1)[np.asarray(heads)].sum())


def main() -> None:
    model = load_model(shipped("retouch"))
    rows, sheets, faces = [], [], []
    for name in NAMES:
        before = photograph(name)
        after = retouch(model, before)
        rows.append(row(name, before, after))
        faces.append(changed_in_faces(before, after))
        print(rows[-1], faces[-1], flush=True)
        if name in SHOWN:
            sheets.append(np.asarray(side_by_side(before, after, height=220)))
    found, touched = np.sum(faces, 0)
    said = f"\n{found} faces are found in them, of which one is a face, the astronaut's; on these heads {touched} pixels changed.\n"
    (ROOT / "tests/records/photographs.md").write_text(HEAD + "\n".join(rows) + "\n" + said + LOOKED_AT)
    width = max(sheet.shape[1] for sheet in sheets)
    sheets = [np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=255) for sheet in sheets]
    Image.fromarray(np.concatenate(sheets)).save(ROOT / ".github/images/photographs.jpg", quality=90, optimize=True)


if __name__ == "__main__":
    main()
