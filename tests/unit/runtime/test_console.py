"""Lines for the terminal: whole, escaped, once."""

import pytest

from ddpm_utils.runtime.console import say


def test_a_line_stays_a_line(capsys):
    say("two\nlines \x1b[31m caf\udce9")
    assert capsys.readouterr().out == r"two\nlines \x1b[31m caf\udce9" + "\n"


@pytest.mark.parametrize(("rank", "said"), [("0", "once\n"), ("1", ""), ("7", "")])
def test_of_several_processes_one_speaks(monkeypatch, capsys, rank, said):
    monkeypatch.setenv("RANK", rank)
    say("once")
    assert capsys.readouterr().out == said
