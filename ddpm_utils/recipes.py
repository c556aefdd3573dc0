"""What lies beside the shipped models: which there are, what each of them does, and how it was made. Needs no torch."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).parent / "weights"  # NAME.safetensors, with its recipe NAME.toml and its log NAME.jsonl beside it


@dataclass(frozen=True)
class Kind:
    """A kind of weights. noun: in sentences. result: its file in a run's folder. command: that trains one. does: what it is there for."""

    noun: str
    result: str
    command: str
    does: str


KINDS = {
    "generator": Kind("model", "model.safetensors", "train", "draws images"),
    "retoucher": Kind("model", "model.safetensors", "train --form …", "retouches photographs"),
    "control": Kind("control", "control.safetensors", "train-control", "controls a model"),
    "classifier": Kind("classifier", "classifier.safetensors", "train-classifier", "reads images"),
}


@dataclass(frozen=True)
class Recipe:
    """One shipped model. kind: one of KINDS. figures: what was measured, by the file of the repository that tells how."""

    name: str
    kind: str
    does: str
    what: str
    data: str
    licence: str
    command: str
    figures: dict[str, str]
    megabytes: float


def read_recipes(folder: Path = SHIPPED) -> list[Recipe]:
    """The recipes of all weights in `folder` that have one, by name."""
    return [_read(path) for path in sorted(folder.glob("*.safetensors"), key=lambda p: p.stem) if path.with_suffix(".toml").is_file()]


def _read(weights: Path) -> Recipe:
    about = tomllib.loads(weights.with_suffix(".toml").read_text(encoding="utf-8"))
    told = {name: about[name] for name in ("kind", "does", "what", "data", "licence", "command", "figures")}
    return Recipe(weights.stem, **told, megabytes=round(weights.stat().st_size / 1e6, 2))
