"""Chapter 03: a U-Net drawn from its own shapes."""

import math

from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ddpm_utils.errors import InputError
from ddpm_utils.figures import COLOURS

KINDS = {"Conv2d": "convolution", "ResidualBlock": "residual block", "Attention": "attention", "Downsample": "down", "Upsample": "up"}
FILLS = dict(zip(KINDS, ("#c8c8c8", COLOURS[1], COLOURS[3], COLOURS[0], COLOURS[2])))
WIDEST, ROW = 0.8, 1.5  # of a box, in steps along the network; the distance of two resolutions


def skips_of(names: list[str]) -> list[tuple[int, int]]:
    """Which output goes on the stack, and which block of the way up takes it off: pairs of indices into the names, last in, first out.

    names: of a network's parts in the order in which they run: "input_conv", "down.0.blocks.0", "down.0.attentions.0", "down.0.resample", ...
    """
    pushed = [
        i
        for i, name in enumerate(names)
        if name == "input_conv"
        or (name.startswith("down.") and not (".blocks." in name and names[i + 1] == name.replace("blocks", "attentions")))
    ]
    taken = [i for i, name in enumerate(names) if name.startswith("up.") and ".blocks." in name]
    if len(pushed) != len(taken):
        raise InputError(f"this network has {len(pushed)} skips for {len(taken)} blocks on its way up, and every skip needs one")
    return list(zip(reversed(pushed), taken))


def unet_drawing(rows: list[tuple[str, str, tuple[int, int, int]]]) -> Figure:
    """Every part of a U-Net as a box, in the order in which they run: as high as its output's side, as wide as its channels.

    rows: (name, kind, shape of the output (C, H, W)), of one kind of `KINDS` each. Each resolution has a row of its own; lines are the skips.
    """
    shapes = [shape for _, _, shape in rows]
    widest, tallest = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    places = [(i, -ROW * math.log2(tallest / shape[1])) for i, shape in enumerate(shapes)]
    figure = Figure(figsize=(9.6, 1.7 + 0.95 * (ROW * math.log2(tallest / min(shape[1] for shape in shapes)))), dpi=75)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    for giver, taker in skips_of([name for name, _, _ in rows]):
        (x, y), (to, _) = places[giver], places[taker]
        height = y + 0.55 + 0.04 * (to - x) / 2  # the outer ones pass over the inner ones
        axes.plot([x, x, to, to], [y, height, height, y], color="gray", linewidth=0.7, zorder=0)
    for (_, kind, (channels, side, _)), (x, y) in zip(rows, places):
        width, height = WIDEST * channels / widest, side / tallest
        axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, facecolor=FILLS[kind], edgecolor="black", linewidth=0.5))
        axes.text(x, y - height / 2 - 0.06, f"{channels}\n{side}²", ha="center", va="top", fontsize=7, linespacing=1.1)
    for (x, y), (to, below), (_, kind, _) in zip(places, places[1:], rows[1:]):
        if kind in ("Downsample", "Upsample"):
            arrow = {"arrowstyle": "->", "color": "black", "linewidth": 0.8, "shrinkA": 8, "shrinkB": 8}
            axes.annotate("", (to, below), (x, y), arrowprops=arrow)
    lowest = min(y for _, y in places)
    axes.set(xlim=(-0.8, len(rows) - 0.2), ylim=(lowest - 0.9, 0.65 + 0.04 * len(rows) / 2))
    axes.set_axis_off()
    axes.legend(
        handles=[Patch(facecolor=FILLS[kind], edgecolor="black", label=KINDS[kind]) for kind in KINDS],
        ncols=5,
        fontsize=8,
        loc="lower center",
        frameon=False,
    )
    return figure
