"""How the image files of a folder become squares with labels. Imports no torch."""

from dataclasses import dataclass

from ddpm_utils.choices import CROPS, FITS, LABELS
from ddpm_utils.settings import check_settings, setting


@dataclass(frozen=True)
class Reading:
    """The choices of a user about reading a folder. Raises InputError for others."""

    fit: str = setting(
        "crop", "how an image becomes square: the middle square alone, the whole image squashed, or white bars beside it", choices=FITS
    )
    crop: str = setting("whole", "boxes: cut each image to its bounding box before that (Stanford Cars)", choices=CROPS)
    labels: str | None = setting(None, "of Stanford Cars: 196 times make, model and year, or 9 bodies (default model)", choices=LABELS)

    def __post_init__(self):
        check_settings(self)


USUAL = Reading()
