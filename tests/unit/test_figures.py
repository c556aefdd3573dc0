"""Figures show the names that they are given, whatever these are."""

import numpy as np
import pytest
from matplotlib.text import Text

from ddpm_utils.figures import sample_grid

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("name", ["$1_$2", "$100-$200", r"$\bad", "a_b^c", "100 %"])
def test_names_of_classes_are_no_formulas(tmp_path, name):
    figure = sample_grid(IMAGES, 1, (name, "other"), title=name)
    figure.savefig(tmp_path / "figure.png")
    texts = [text for text in figure.findobj(Text) if text.get_text() == name]
    assert len(texts) == 2, "the title and the row"
    assert not any(text.get_parse_math() for text in texts)


def test_control_characters_and_bytes_that_are_no_utf8_are_escaped(tmp_path):
    figure = sample_grid(IMAGES, 1, ("caf\udce9", "two\nlines"))
    figure.savefig(tmp_path / "figure.png")
    assert {r"caf\udce9", r"two\nlines"} <= {text.get_text() for text in figure.findobj(Text)}


def test_a_grid_has_a_name_over_each_column_and_none_beyond_them():
    figure = sample_grid(np.concatenate([IMAGES] * 2), 2, column_names=("first", "$second$", "third"))
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert shown == {"first", "$second$"}
