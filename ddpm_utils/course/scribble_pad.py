"""Chapter 08: a pad to scribble on, cell by cell, of buttons: the one canvas that JupyterLab, Colab and Kaggle all show without an extension."""

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from ddpm_utils.errors import InputError

SIDE = "17px"  # of a cell


class ScribblePad:
    """Square of `cells` by `cells` buttons that a click turns on or off; `pad.widget` is what to display.

    drawing: (cells, cells), nonzero where the pad has ink at first.
    """

    def __init__(self, drawing: np.ndarray):
        if drawing.ndim != 2 or drawing.shape[0] != drawing.shape[1]:
            raise InputError(f"a pad starts from a square drawing, got shape {drawing.shape}")
        self.cells = len(drawing)
        look = ipywidgets.Layout(width=SIDE, height=SIDE, margin="0", padding="0")
        self.buttons = [ipywidgets.ToggleButton(value=bool(ink), tooltip="ink", layout=look) for ink in drawing.ravel()]
        for button in self.buttons:
            _colour(button)
            button.observe(lambda change: _colour(change["owner"]), "value")
        columns = ipywidgets.Layout(grid_template_columns=f"repeat({self.cells}, {SIDE})", grid_gap="1px")
        self.widget = ipywidgets.GridBox(self.buttons, layout=columns)

    def hint(self, size: int) -> Tensor:
        """What is drawn, as a scribble hint (1, 1, size, size); size must be a multiple of the cells."""
        if size < self.cells or size % self.cells:
            raise InputError(f"the size of a hint must be a multiple of the pad's {self.cells} cells, got {size}")
        ink = torch.tensor([float(button.value) for button in self.buttons]).reshape(1, 1, self.cells, self.cells)
        return ink.repeat_interleave(size // self.cells, 2).repeat_interleave(size // self.cells, 3)


def _colour(button: ipywidgets.ToggleButton) -> None:
    button.button_style = "info" if button.value else ""
