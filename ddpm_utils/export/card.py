"""The README.md of a repository with a model: what it draws, what it was trained on and how, its licence, its figures, and how to use it."""

import json

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.recipes import Recipe

MIT = "weights: MIT"  # how the licence of a recipe begins
UNKNOWN = "not told by the model's file: whoever publishes it should write it here"


def card_of(title: str, config: TrainConfig, classes: tuple[str, ...], recipe: Recipe | None, place: str, samples: bool, own: bool) -> str:
    """The card as markdown with its YAML head.

    recipe: of a shipped model; without one its data and licence are left to be told. place: OWNER/NAME on the Hub, or a folder, from which
    the examples load. samples: whether samples.png lies beside it. own: whether diffusers needs the pipeline that lies beside the weights.
    """
    about = {
        "draws": recipe.does.removeprefix("draws ") if recipe else f"images of {_size(config)}",
        "network": recipe.what if recipe else _network(config),
        "data": recipe.data if recipe else UNKNOWN,
        "licence": recipe.licence if recipe else UNKNOWN,
    }
    rows = [f"| {name} | {_in_table(text)} |" for name, text in about.items()]
    parts = [_head(recipe), f"# {title}", "| | |\n|---|---|\n" + "\n".join(rows)]
    if samples:
        parts.append("![Samples by DDIM in 50 steps, drawn from random noise with seed 0](samples.png)")
    parts += ["## How to use it", _with_ours(place, classes), _with_diffusers(place, classes, own)]
    if recipe:
        parts += ["## How it was made", f"```\n{recipe.command}\n```"]
        parts += ["## Figures", "\n".join(f"- {text} ({source})" for source, text in recipe.figures.items())] if recipe.figures else []
    parts += ["## Settings of the run", f"```json\n{json.dumps(json.loads(config.to_json()), indent=1)}\n```"]
    return "\n\n".join(parts) + "\n"


def _head(recipe: Recipe | None) -> str:
    licence = ["license: mit"] if recipe and recipe.licence.startswith(MIT) else []
    return "\n".join(
        [
            "---",
            "library_name: diffusers",
            "pipeline_tag: unconditional-image-generation",
            *licence,
            "tags:",
            "- ddpm",
            "- ddpm-utils",
            "---",
        ]
    )


def _with_ours(place: str, classes: tuple[str, ...]) -> str:
    name = f"hf:{place}" if _on_hub(place) else place
    label = f", label={classes[0]!r}" if classes else ""
    lines = ["import ddpm_utils as du", "", f"model = du.load({name!r})", f"images = model.sample(8{label})  # uint8 (8, H, W, C)"]
    return "With ddpm_utils:\n\n```python\n" + "\n".join(lines) + "\n```"


def _with_diffusers(place: str, classes: tuple[str, ...], own: bool) -> str:
    trust, label = ", trust_remote_code=True" if own else "", f", labels={classes[0]!r}" if classes else ""
    lines = ["from diffusers import DiffusionPipeline", "", f"pipeline = DiffusionPipeline.from_pretrained({place!r}{trust})"]
    lines.append(f"images = pipeline(batch_size=8{label}, num_inference_steps=50).images")
    why = " (`trust_remote_code` runs the small pipeline that lies beside the weights, which knows labels and patches)" if own else ""
    return f"With diffusers{why}:\n\n```python\n" + "\n".join(lines) + "\n```"


def _on_hub(place: str) -> bool:
    return place.count("/") == 1 and not place.startswith((".", "/", "~"))


def _size(config: TrainConfig) -> str:
    size = config.network.image_size
    return f"{size} x {size} pixels, {config.network.channels} channels"


def _network(config: TrainConfig) -> str:
    task = config.task
    assert isinstance(task, Generation)  # others have no pipeline
    return f"U-Net that predicts {task.prediction}, {task.schedule} schedule, T = {task.timesteps}"


def _in_table(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
