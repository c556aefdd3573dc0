"""Chapter 06: photographs retouched. `retouch(model, image)` is the face of it."""

__all__ = ["retouch"]


def __getattr__(name: str):
    # On demand (PEP 562): `restoration.settings` is imported to build a command line, which needn't wait seconds for torch.
    if name == "retouch":
        from ddpm_utils.restoration.full_resolution import retouch

        return retouch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
