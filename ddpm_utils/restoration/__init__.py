"""Chapter 06: photographs retouched. `retouch(model, image)` is the face of it."""

from ddpm_utils.restoration.full_resolution import retouch

__all__ = ["retouch"]
