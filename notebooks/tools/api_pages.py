"""The package's API as pages that need no network: docstrings by pdoc, each with the equation that its chapter numbers, as MathML."""

import html
import re
import warnings
from pathlib import Path

import nbformat
from pages import STYLE, TAG, formula
from pdoc import doc, render

MODULES = [  # the names of `import ddpm_utils as du`, the chapters' functions, and what leads to them
    *("api", "schedules", "diffusion", "unet", "sampling", "ideal", "guidance", "editing", "unet_config", "interop", "generate", "models"),
    *("ema", "config", "classifier", "control.controlnet", "restoration.formulations", "export.onnx"),
    *("diffusers_folders.reading", "diffusers_folders.writing", "figures", "errors"),
]
EQUATIONS = {  # of a function or class: the numbers of its equations in the notebooks
    "schedules.NoiseSchedule": ("01.1", "01.3"),
    "schedules.NoiseSchedule.linear": ("01.2",),
    "schedules.NoiseSchedule.cosine": ("01.6",),
    "schedules.NoiseSchedule.flow": ("09.7", "09.8"),
    "schedules.NoiseSchedule.snr": ("01.5",),
    "schedules.NoiseSchedule.posterior_variance": ("01.7",),
    "schedules.NoiseSchedule.posterior_mean_coef_x0": ("01.8",),
    "schedules.NoiseSchedule.posterior_mean_coef_xt": ("01.8",),
    "diffusion.q_sample": ("02.2",),
    "diffusion.posterior_mean": ("02.6",),
    "diffusion.to_x0": ("02.8",),
    "diffusion.to_eps": ("02.8",),
    "diffusion.target": ("02.8",),
    "diffusion.training_loss": ("04.5",),
    "diffusion.loss_weights": ("04.12",),
    "diffusion.gaussian_kl": ("04.2",),
    "diffusion.vlb_term": ("04.1", "04.3"),
    "diffusion.prior_term": ("02.5",),
    "diffusion.vlb_bits_per_dim": ("04.1",),
    "unet.ResidualBlock": ("03.2", "03.3"),
    "unet.Attention": ("03.4",),
    "unet.Downsample": ("03.5",),
    "unet.Upsample": ("03.5",),
    "unet.timestep_embedding": ("03.1",),
    "sampling.ddpm": ("05.1", "05.2"),
    "sampling.ancestral_step": ("05.1", "05.2"),
    "sampling.ddim": ("05.4",),
    "sampling.ddim_invert": ("05.8",),
    "sampling.dpm_solver": ("05.6",),
    "sampling.heun": ("09.5",),
    "editing.keeping": ("09.14",),
    "editing.inpaint": ("09.14", "09.15"),
    "editing.averaging_to": ("09.17",),
    "editing.between": ("09.16",),
    "ideal.gaussian_denoiser": ("05.5",),
    "ideal.dataset_denoiser": ("05.7",),
    "guidance.classifier_free": ("07.3", "07.4"),
    "guidance.classifier_guided": ("07.8",),
    "guidance.classifier_mean_shifted": ("07.9",),
    "guidance.autoguided": ("07.10",),
    "guidance.within_interval": ("07.11",),
    "ema.standard_decay": ("04.8",),
    "ema.power_decay": ("04.10",),
}
DISPLAYED = re.compile(r"\$\$(.*?)\$\$", re.S)


def export_api(notebooks: list[Path], target: Path) -> None:
    """A page for each of MODULES below `target`, their index and their search. Raises what pdoc would only warn of."""
    numbered = numbered_equations(notebooks)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        render.configure(docformat="markdown", show_source=True, footer_text="ddpm_utils")
        modules = {f"ddpm_utils.{name}": doc.Module.from_name(f"ddpm_utils.{name}") for name in MODULES}
        for name, tags in EQUATIONS.items():
            module, member = found(modules, name)
            shown = "\n\n".join(equation(tag, *numbered[tag], depth=module.count(".") + 1) for tag in tags)
            member.__dict__["docstring"] = f"{member.docstring}\n\n{shown}\n"  # in the place of a cached property
        for name, module in modules.items():
            path = target / f"{name.replace('.', '/')}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render.html_module(module, modules).replace("</head>", STYLE_OF_EQUATIONS + "</head>", 1), "utf-8")
        (target / "index.html").write_text(render.html_index(modules), "utf-8")
        (target / "search.js").write_text(render.search_index(modules), "utf-8")
    print(f"{len(modules)} pages of the API, {len(EQUATIONS)} names with their equations")


OF_EQUATIONS = "".join(line for line in STYLE.splitlines() if line.startswith((".equation", "math")))
STYLE_OF_EQUATIONS = f"<style>.equation {{ flex-wrap: wrap; }} {OF_EQUATIONS}</style>"


def numbered_equations(notebooks: list[Path]) -> dict[str, tuple[str, str]]:
    """{"02.2": (TeX, stem of the notebook)}."""
    found = {}
    for path in notebooks:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                found |= {TAG.search(tex)[1]: (tex, path.stem) for tex in DISPLAYED.findall(cell.source) if TAG.search(tex)}
    return found


def equation(tag: str, tex: str, chapter: str, depth: int) -> str:
    """An equation as one line of HTML, its number a link to the chapter. depth: of the page's folder below that of the chapters."""
    shown = " ".join(formula(tex, display=True).split())
    link = f'<a href="{"../" * depth}{html.escape(chapter)}.html">({tag})</a>'
    return shown.replace(f"<span>({tag})</span>", f"<span>{link}</span>")


def found(modules: dict[str, doc.Module], name: str) -> tuple[str, doc.Doc]:
    """The module, and the documented thing in it, of a name like "sampling.ddim" or "schedules.NoiseSchedule.linear"."""
    module = next(m for m in modules if f"ddpm_utils.{name}".startswith(f"{m}."))
    inside: doc.Doc = modules[module]
    for part in f"ddpm_utils.{name}".removeprefix(f"{module}.").split("."):
        inside = inside.members[part]
    return module, inside
