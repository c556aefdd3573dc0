"""What was found in a photograph, told and shown: faces, which are left alone, and cloth with wrinkles, the only place where they count."""

import numpy as np
from PIL import Image
from scipy import ndimage

from ddpm_utils.restoration.faces import away_from_faces, find_faces
from ddpm_utils.restoration.full_resolution import Change, for_detection

GREEN, BLUE = (0, 170, 80), (40, 110, 255)


def findings(image: np.ndarray, change: Change, people: bool, cloth: bool) -> tuple[str, np.ndarray]:
    """A sentence, and a picture (h, w, 3) uint8: cloth with wrinkles in green, faces in blue frames. image, change: of `predict_change`."""
    seen = for_detection(image)
    words, picture = [], Image.fromarray(seen)
    if cloth:
        here = np.zeros(seen.shape[:2], np.float32) if change.company is None else change.company[0].numpy()
        words.append(f"wrinkles count on {(here > 0).mean():.1%} of the photograph")
        veil = Image.fromarray((here > 0).astype(np.uint8) * 110).resize(picture.size, Image.Resampling.BILINEAR)
        picture = Image.composite(Image.new("RGB", picture.size, GREEN), picture.convert("L").convert("RGB"), veil)
    if people:
        faces = find_faces(seen) if change.faces is None else change.faces
        words.append("no face was found" if not faces else f"{len(faces)} face{'s' if len(faces) > 1 else ''} found")
        spared = away_from_faces(faces, *seen.shape[:2]).numpy() == 0
        frame = spared & ~ndimage.binary_erosion(spared, iterations=2)
        picture = Image.fromarray(np.where(frame[..., None], np.uint8(BLUE), np.asarray(picture)))
    return "; ".join(words), np.asarray(picture)
