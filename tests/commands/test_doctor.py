"""The look at the machine, as people and as programs read it."""

import json

from ddpm_utils.__main__ import main
from ddpm_utils.runtime import doctor
from ddpm_utils.runtime.doctor import Finding


def test_the_doctor_tells_programs_in_fields_what_it_tells_people_in_sentences(monkeypatch, capsys):
    found = [Finding("a GPU", "lame", "replace it", "cuda:0"), Finding("another", "fine", None, "cuda:1"), Finding("disk", "wide")]
    monkeypatch.setattr(doctor, "examine", lambda out: found)
    assert main(["doctor", "--json"]) == main(["doctor"]) == 1
    said = capsys.readouterr().out
    told, end = json.JSONDecoder().raw_decode(said)
    assert told["devices"] == {"cuda": 2}
    assert told["findings"][0] == {"what": "a GPU", "found": "lame", "problem": "replace it", "device": "cuda:0"}
    assert all(value in said[end:] for finding in told["findings"] for key, value in finding.items() if value and key != "device")


def test_this_machine_computes_and_its_findings_are_json_alone(capsys):
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["devices"]["cpu"] == 1
    assert {finding["problem"] for finding in told["findings"]} == {None}


def test_the_doctor_says_who_chooses_the_precision_of_a_cpu_that_has_bfloat16(monkeypatch):
    for has, said in ((True, True), (False, False)):
        monkeypatch.setattr(doctor, "cpu_has_bf16", lambda has=has: has)
        assert doctor.kernel("cpu").found.endswith("; a training measures whether bf16 is faster)") == said
