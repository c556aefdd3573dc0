"""Descriptions of runs: whatever the settings take survives the way through a file, and whatever they don't is refused in a sentence."""

import json
import math
from dataclasses import fields, replace

from cases import cases, check_sentence
from hypothesis import assume, given
from hypothesis import strategies as st

from ddpm_utils.config import Classification, Generation, Restoration, TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.settings import bounds, hints_of
from ddpm_utils.unet_config import UNetConfig

ODD = st.sampled_from((None, True, False, "", "8", -1, 0, 1, 2, 10**30, 0.5, -0.0, 1e308, [], [1], {}, [[1]], "\udce9", math.inf, math.nan))


def values_of(one, hint) -> st.SearchStrategy:
    """Values inside the range of a field, its ends among them, and none of what it refuses."""
    about = one.metadata
    if about.get("choices"):
        return st.sampled_from(about["choices"])
    if hint is bool:
        return st.booleans()
    if hint is str:
        return st.text(max_size=5)
    low, high = bounds(about["within"]) if about.get("within") else (-10.0, 10.0)
    high = min(high, about.get("at_most") or 10**4)
    if "int" in str(hint):
        number = st.integers(math.ceil(low), int(high)) | st.integers(math.ceil(low), min(int(high), math.ceil(low) + 16))
    else:
        number = st.floats(low, high, allow_nan=False)
    if "tuple" in str(hint):
        return st.lists(number, max_size=4).map(tuple)
    return number


def settings_of(cls: type, without: tuple[str, ...] = ()) -> st.SearchStrategy:
    """Some settings of a dataclass, by name; those that its own rules refuse together are left out by `built`."""
    choices = {one.name: values_of(one, hints_of(cls)[one.name]) for one in fields(cls) if one.name not in without and one.metadata}
    return st.fixed_dictionaries({}, optional=choices)


def built(cls: type, values: dict):
    """The dataclass, or None for settings that it refuses."""
    try:
        return cls(**values)
    except InputError as error:
        check_sentence(error)
        return None


TASKS = st.sampled_from((Generation, Restoration, Classification)).flatmap(lambda cls: st.tuples(st.just(cls), settings_of(cls)))
NETWORK = settings_of(UNetConfig)


@st.composite
def runs(draw) -> TrainConfig:
    """A run that is allowed."""
    level = draw(st.integers(0, 3))
    shape = {"width": 4 * draw(st.integers(1, 16)), "groups": draw(st.sampled_from((1, 2, 4))), "multipliers": (1, 2, 3, 1)[: level + 1]}
    shape["patch"] = draw(st.integers(1, 3))
    shape["image_size"] = shape["patch"] * 2**level * draw(st.integers(1, 5))
    shape["attention"] = tuple(draw(st.sets(st.sampled_from([shape["image_size"] // shape["patch"] // 2**k for k in range(level + 1)]))))
    shape["channels"] = draw(st.integers(1, 4))
    cls, settings = draw(TASKS)
    if cls is Restoration:
        shape |= {"condition_channels": shape["channels"], "extra_channels": 1}
    elif cls is Classification:
        shape["classes"] = draw(st.integers(2, 12))
    else:
        shape |= {"classes": draw(st.none() | st.integers(1, 12)), "dropout": draw(st.floats(0, 1, exclude_max=True))}
    task = built(cls, settings)
    assume(task is not None)
    more = draw(settings_of(TrainConfig, without=("mean", "std")))
    config = built(TrainConfig, {"network": UNetConfig(**shape), "task": task, **more})
    assume(config is not None)
    return config


@cases(100)
@given(runs())
def test_a_run_comes_back_from_its_file_as_it_was(config):
    again = TrainConfig.from_json(config.to_json())
    assert again == config
    assert again.to_json() == config.to_json()
    again.check_same_run(config)


@cases(100)
@given(runs(), st.data())
def test_a_file_with_any_other_value_is_another_run_or_refused(config, data):
    values = json.loads(config.to_json())
    part = data.draw(st.sampled_from((values, values["network"], values["task"])))
    name = data.draw(st.sampled_from(sorted(part)))
    part[name] = data.draw(ODD)
    try:
        read = TrainConfig.from_json(json.dumps(values))
    except InputError as error:
        check_sentence(error)
        return
    assert TrainConfig.from_json(read.to_json()) == read


@cases(150)
@given(st.recursive(ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=8))
def test_any_other_json_is_refused_in_a_sentence(value):
    try:
        TrainConfig.from_json(json.dumps(value))
    except InputError as error:
        check_sentence(error)
        return
    raise AssertionError(f"a run out of {value}")


@cases(150)
@given(NETWORK)
def test_a_network_s_settings_are_taken_or_refused_in_a_sentence(values):
    network = built(UNetConfig, values)
    if network is not None:
        assert replace(network) == network
        assert all(size >= 1 for size in (*network.resolutions, *network.widths))
        assert network.image_size % network.multiple == 0


@cases(100)
@given(st.sampled_from((UNetConfig, TrainConfig, Generation, Restoration, Classification)), st.data())
def test_a_value_of_any_type_is_taken_or_refused_in_a_sentence(cls, data):
    name = data.draw(st.sampled_from([one.name for one in fields(cls) if one.name not in ("network", "task")]))
    value = data.draw(ODD)
    more = {"network": UNetConfig(classes=2, channels=3)} if cls is TrainConfig else {}
    built(cls, {**more, name: value})
