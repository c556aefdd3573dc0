"""`python -m ddpm_utils plan`: which machines it plans for."""

from ddpm_utils.__main__ import main

RUN = ["plan", "--epochs", "100", "--seconds-per-epoch", "480", "--params", "60e6"]


def test_a_machine_is_chosen_by_its_name_and_by_the_flag_s_old_spelling_too(capsys):
    said = []
    for flag in ("--machine", "--profile"):
        assert main([*RUN, flag, "p100"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "P100: 1 GPU, fp32" in said[0]
    assert "T4" not in said[0].replace("runs on T4 x2", "")
