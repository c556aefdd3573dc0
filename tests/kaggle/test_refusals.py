"""What can't get better by trying again ends after one session at most, with Kaggle's own sentence and what to do; what can is tried again."""

import re

import outcomes
import pytest
import refusals
from client import sentence_of
from refusal_cases import CASES, SAID, sessions_say
from test_sentences import sentences


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_refusal_is_shown_with_what_to_do_and_costs_no_more_sessions_than_can_help(start, follow, case):
    kaggle = start(**case.options)
    case.prepare(kaggle)
    before = len(kaggle.account.kernels.get("tiny-job", []))
    said = follow("--set", "max-epochs=100", *case.flags, code=case.code)
    assert all(words in said for words in case.says), said
    assert len(kaggle.account.kernels.get("tiny-job", [])) - before == case.sessions


def test_after_a_damaged_checkpoint_the_run_begins_anew_as_is_said(start, follow):
    kaggle = start()
    sessions_say("damaged checkpoint", 2)(kaggle)
    assert "to begin anew, run the command with --replace and another --out" in follow(code=1)
    follow("--replace", out="anew")
    sources = [request.get("kernelDataSources", []) for method, request in kaggle.calls if method == "SaveKernel"]
    assert sources == [[], ["alice/tiny-job"], [], ["alice/tiny-job"], ["alice/tiny-job"]]


def test_once_the_phone_number_is_verified_the_same_command_goes_on(start, follow):
    kaggle = start()
    kaggle.account.verified = False
    assert "verify your phone number at kaggle.com/settings" in follow("--set", "device=cuda", code=1)
    kaggle.account.verified = True
    follow("--set", "device=cuda")
    assert [v.status for v in kaggle.account.kernels["tiny-job"]] == ["ERROR", *["COMPLETE"] * 3]


@pytest.mark.parametrize("cause", [cause for cause in SAID if cause not in ("input", "no package")])
def test_what_the_sessions_here_say_is_what_the_kernel_says(cause):
    patterns = [re.escape(text).replace(r"\{\}", ".+") for text in sentences()]
    assert any(re.fullmatch(pattern, SAID[cause]) for pattern in patterns)


def test_every_cause_has_a_way_and_every_way_a_case():
    assert set(refusals.SESSIONS) == set(outcomes.REFUSALS)
    advice = [way.do for ways in (refusals.WORDS, refusals.CODES, refusals.SESSIONS) for way in ways.values() if way.do]
    told = " ".join(words for case in CASES for words in case.says)
    assert all(way.again or way.spent or way.do for ways in (refusals.WORDS, refusals.SESSIONS) for way in ways.values())
    assert len(advice) >= 10
    assert "verify your phone number" in told


@pytest.mark.parametrize(
    ("code", "words"),
    [(401, "make a new token"), (403, "those of the kernel's owner"), (404, "check the owner's name"), (400, "")],
)
def test_a_status_without_known_words_has_advice_too(code, words):
    said = refusals.explained(refusals.Refused(f"No such thing (HTTP {code})", code))
    assert said.startswith("No such thing")
    assert words in said


class Answer:
    def __init__(self, body):
        self.body = body

    def json(self):
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": {"code": 400, "message": "Too large.", "status": "INVALID_ARGUMENT"}}, "Too large."),
        ({"code": 400, "message": "Too large."}, "Too large."),
        ({"error": "Too large."}, "Too large."),
        (["Too large."], ""),
        (ValueError("no JSON"), ""),
    ],
)
def test_kaggle_s_sentence_is_found_however_its_body_holds_it(body, sentence):
    assert sentence_of(Answer(body)) == sentence


@pytest.mark.parametrize("log", ["", "refused: {", "refused: []", 'refused: {"cause": "of a newer kernel", "reason": "x"}', "error: x"])
def test_a_log_without_a_known_refusal_is_none(log):
    assert refusals.in_log(log) is None
