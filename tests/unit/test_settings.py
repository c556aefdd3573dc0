"""The fields of a dataclass are checked by their annotations: type, choices, range; and JSON out of files can't do more than be refused."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from ddpm_utils.config import Generation, TrainConfig
from ddpm_utils.errors import InputError
from ddpm_utils.settings import check_settings, fits, json_object, setting
from ddpm_utils.unet_config import UNetConfig

RUN = TrainConfig(network=UNetConfig(image_size=8, width=8, multipliers=(1, 2), groups=4, attention=(8,)))


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (8, int, True),
        (True, int, False),
        (8.0, int, False),
        ("8", int, False),
        (None, int, False),
        (None, int | None, True),
        (8, float, True),
        (2**53, float, True),
        (2**53 + 1, float, False),  # the first whole number that a float doesn't hold
        (False, float, False),
        (True, bool, True),
        (1, bool, False),
        ((1, 2), tuple[int, ...], True),
        ((1, "2"), tuple[int, ...], False),
        (1, tuple[int, ...], False),
        ((), tuple[float, ...], True),
        (["a"], list[str], True),
        (["a", 1], list[str], False),
        (Path("x"), bool | Path, True),
        ("x", bool | Path, False),
    ],
)
def test_a_value_fits_its_annotation(value, hint, expected):
    assert fits(value, hint) is expected


def test_lists_become_tuples_and_other_types_are_named():
    @dataclass(frozen=True)
    class Few:
        sizes: tuple[int, ...] = ()
        rate: float | None = setting(1.0, within="(0, 1]")
        count: int = setting(1, within="[1, inf)", at_most=100)

        def __post_init__(self):
            check_settings(self)

    assert Few(sizes=[1, 2]).sizes == (1, 2)
    for values, sentence in [
        ({"sizes": 3}, "sizes must be a list, each a whole number, got 3"),
        ({"sizes": [1] * 1001}, "sizes must be at most 1000 values, got 1001"),
        ({"rate": "0.5"}, "rate must be a number or nothing, got '0.5'"),
        ({"count": None}, "count must be a whole number, got None"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": 101}, "count must be at most 100, got 101"),
    ]:
        with pytest.raises(InputError) as told:
            Few(**values)
        assert str(told.value) == sentence


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '"x"', "[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}", None, 5]
)
def test_what_is_no_json_object_is_one_sentence(text):
    with pytest.raises(InputError, match="its configuration") as told:
        json_object(text, "its configuration")
    assert "\n" not in str(told.value)
    with pytest.raises(InputError):
        TrainConfig.from_json(text)


WRONG = [None, True, -1, 8.0, "8", [], [1], {}, {"a": 1}, [[]], 10**400, 1e400, float("nan"), -(10**30), 10**9, "\ud800"]


@pytest.mark.parametrize("part", ["network", "task", None])
def test_no_setting_in_a_file_ends_in_anything_but_a_run_or_a_sentence(part):
    refused = []
    for name in json.loads(RUN.to_json())[part] if part else json.loads(RUN.to_json()):
        for wrong in WRONG:
            values = json.loads(RUN.to_json())
            (values[part] if part else values)[name] = wrong
            try:
                read = TrainConfig.from_json(json.dumps(values))
            except InputError as error:
                refused.append(str(error))
                continue
            assert TrainConfig.from_json(read.to_json()) == read
    assert len(refused) > 50
    assert all("\n" not in sentence and len(sentence) < 300 for sentence in refused)


@pytest.mark.parametrize(("name", "wrong"), [("width", w) for w in ("8", 8.0, None, True, [8])] + [("multipliers", 2), ("attention", "8")])
def test_a_setting_of_another_type_is_refused_by_name(name, wrong):
    values = json.loads(RUN.to_json())
    values["network"][name] = wrong
    with pytest.raises(InputError, match=f"^{name} must be a (whole number|list), "):
        TrainConfig.from_json(json.dumps(values))


@pytest.mark.parametrize("missing", ["network", "task.kind"])
def test_a_run_without_its_network_or_its_kind_of_task_is_refused(missing):
    values = json.loads(RUN.to_json())
    part, _, name = missing.partition(".")
    del (values[part] if name else values)[name or part]
    with pytest.raises(InputError):
        TrainConfig.from_json(json.dumps(values))


def test_files_cannot_ask_for_sizes_beyond_all_sense():
    for settings in ({"width": 2**14 + 4}, {"blocks": 33}, {"multipliers": (65,)}, {"classes": 10**6 + 1}, {"image_size": 4097}):
        with pytest.raises(InputError, match="at most"):
            UNetConfig(**settings)
    with pytest.raises(InputError, match="at most 10 levels, got 11"):
        UNetConfig(image_size=1024, multipliers=(1,) * 11, attention=())
    with pytest.raises(InputError, match="timesteps must be at most 1000000, got 1000001"):
        Generation(timesteps=10**6 + 1)
