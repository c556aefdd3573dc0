"""Chapter 06: where cloth is in the pairs of a folder, if somebody said so: masks in a folder `cloth` beside the two of the pairs."""

from pathlib import Path

import numpy as np

from ddpm_utils.data.images import fit, read_rgb
from ddpm_utils.data.listing import is_hidden
from ddpm_utils.errors import InputError

FOLDER = "cloth"


def read_cloth_masks(root: Path, names: list[str], size: int) -> np.ndarray | None:
    """(N, size, size) bool, True where cloth is: white in root/cloth/NAME.png, cut as the pairs are. None if there is no such folder.

    Raises InputError for a pair without a mask, and for one that can't be read.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return None
    files = {path.stem: path for path in sorted(folder.iterdir()) if not is_hidden(Path(path.name))}
    if missing := [name for name in names if name not in files]:
        raise InputError(
            f"{str(folder)!r} has no mask for {len(missing)} of {len(names)} pairs, the first is {missing[0]!r}; add them all or none"
        )
    masks = np.empty((len(names), size, size), bool)
    for i, name in enumerate(names):
        try:
            masks[i] = np.asarray(fit(read_rgb(files[name]).convert("L"), size)) > 127
        except Exception as error:  # damaged bytes make Pillow raise almost anything
            raise InputError(
                f"the mask {str(files[name])!r} can't be read ({type(error).__name__}: {error}); it should be an image, white where cloth is"
            ) from error
    return masks
