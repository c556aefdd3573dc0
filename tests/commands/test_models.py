"""`python -m ddpm_utils models`: what is shipped, for people and for programs."""

import json

from ddpm_utils.__main__ import main
from ddpm_utils.models import SHIPPED, shipped
from ddpm_utils.recipes import KINDS


def test_the_list_of_models_tells_all_that_a_recipe_does_and_names_every_kind(capsys):
    assert main(["models", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {entry["name"] for entry in told} == {path.stem for path in SHIPPED.glob("*.safetensors")}
    assert {entry["kind"] for entry in told} == set(KINDS)
    assert main(["models"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for entry in told:
        assert entry["megabytes"] == round(shipped(entry["name"]).stat().st_size / 1e6, 2)
        assert f"{entry['name']} ({entry['kind']}, {entry['megabytes']:g} MB): {entry['does']}" in said
        assert all(" ".join(entry[field].split()) in said for field in ("what", "data", "licence"))
        assert all(f"{figure} ({source})" in said for source, figure in entry["figures"].items())
    assert main(["models", "--kind", "control", "--json"]) == 0
    assert {entry["kind"] for entry in json.loads(capsys.readouterr().out)} == {"control"}
