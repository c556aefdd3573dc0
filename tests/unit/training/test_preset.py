"""What `train` takes where nothing is said: it fits every size and every length of a run."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.training.preset import ENOUGH, LONG, network_preset, preset, too_little
from ddpm_utils.unet_config import UNetConfig


@given(size=st.integers(1, 512))
def test_every_size_of_images_has_a_network_of_at_most_three_levels_that_takes_it(size):
    network = UNetConfig(**network_preset(size), image_size=size)  # refuses what doesn't fit
    assert 1 <= len(network.multipliers) <= 3
    assert network.patch <= 4
    assert network.patch == 1 or size // network.patch >= 16, "small images aren't folded away"


@pytest.mark.parametrize(
    ("size", "patch", "resolutions"), [(8, 1, (8, 4, 2)), (28, 1, (28, 14, 7)), (32, 2, (16, 8, 4)), (64, 4, (16, 8, 4))]
)
def test_usual_sizes_are_worked_on_at_usual_resolutions(size, patch, resolutions):
    network = UNetConfig(**network_preset(size), image_size=size)
    assert network.patch == patch
    assert network.resolutions == resolutions
    assert max(network.attention) <= 8


@given(images=st.integers(1, 10**6), epochs=st.integers(1, 1000), batch_size=st.one_of(st.none(), st.integers(1, 512)))
def test_the_learning_rate_rises_over_a_twentieth_of_a_short_run_and_the_batch_fits_the_images(images, epochs, batch_size):
    taken = preset(64, images, epochs=epochs, batch_size=batch_size)
    steps = epochs * (images // taken["batch_size"])
    assert taken["warmup"] <= 200
    assert taken["warmup"] <= steps / 20
    assert taken["batch_size"] == batch_size if batch_size else 1 <= taken["batch_size"] <= images


def test_a_long_run_predicts_v_with_smaller_patches_and_a_short_one_x_0():
    short, long = preset(64, LONG // 100 - 1, epochs=100, batch_size=1), preset(64, LONG // 100, epochs=100, batch_size=1)
    assert (short["prediction"], short["patch"]) == ("x0", 4)
    assert (long["prediction"], long["patch"]) == ("v", 2)
    assert preset(64, LONG, epochs=1, patch=4)["patch"] == 4, "what was chosen stays"


def test_a_patch_that_was_chosen_is_kept_and_the_rest_fits_it():
    taken = preset(56, 10**6, patch=2)
    assert (taken["patch"], taken["multipliers"], taken["attention"]) == (2, (1, 2, 2), (7,)), "28, 14 and 7 patches"


def test_a_run_that_was_too_short_says_how_many_epochs_would_do_and_these_do():
    config = TrainConfig(task=Generation(), batch_size=16, epochs=100)
    said = too_little(config, steps=300, images=48)
    assert "4,800 images" in said
    epochs = int(said.partition("--epochs ")[2].split()[0])
    assert said.endswith(f"--epochs {epochs} --resume")
    assert too_little(config, steps=epochs * 3, images=48) == ""
    assert too_little(config, steps=(epochs - 1) * 3, images=48) != ""
    assert not too_little(replace(config, lr_decay="cosine"), 300, 48).endswith("--resume"), "whose rate has fallen to 0"
    gray = replace(config, network=UNetConfig(channels=1))
    assert too_little(gray, ENOUGH[1] // 16 + 1, 48) == ""
