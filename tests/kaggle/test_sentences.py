"""Every sentence of kaggle/ and of the set-up cell that says what to do is met by a test, most of which do what it says."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "kaggle").glob("*.py")), ROOT / "notebooks" / "setup_cell.py"]
TOLD = ("InputError", "Stopped", "WeekSpent", "Refused", "Unreachable", "ModuleNotFoundError")
CASES = "test_a_refusal_is_shown_with_what_to_do_and_costs_no_more_sessions_than_can_help"
WRONG = "test_wrong_input_is_refused_before_anything_is_pushed"
CHECKPOINT = "test_a_truncated_and_a_foreign_checkpoint_are_refused_before_training"
WALKED = {  # words of a sentence: the test that meets it
    "there is no job {}; there are": WRONG,
    "has no data set of its own; pass --dataset": WRONG,
    "is decided by the kernel; leave it out": WRONG,
    "train refuses what job.toml and --set say": WRONG,
    "bytes; Kaggle takes fewer than": "test_a_kernel_that_is_too_large_for_kaggle_is_not_built",
    "Kaggle doesn't answer; what runs there goes on": "test_a_server_that_stays_silent_ends_the_command_and_loses_nothing",
    "was it deleted? Use another --out": "test_a_kernel_that_was_deleted_on_kaggle_is_begun_anew_elsewhere",
    "still runs; cancel it on Kaggle": "test_a_chain_that_still_runs_is_not_replaced",
    "Kaggle left out the data set {}, so that": CASES,
    "was expected: another run.py pushes to this kernel": "test_a_push_by_another_runner_is_noticed",
    "{}: run the same command again then": CASES,
    "training failed: ": "test_failed_training_stops_the_chain_with_its_reason",
    "this run.py is older than the kernel; update it": "test_a_cause_of_a_newer_kernel_is_refused_and_the_version_waits_for_an_update",
    "refused to begin: ": CASES,
    "these settings make {} on {}; use another --out": "test_another_chain_on_the_same_kernel_is_refused_unless_it_shall_begin_anew",
    "Kaggle refused the push: ": CASES,
    "was cancelled on Kaggle, its output is lost": "test_a_cancelled_session_stops_the_chain_until_it_is_asked_again",
    "two chains on one kernel would lose": "test_another_chain_on_the_same_kernel_is_refused_unless_it_shall_begin_anew",
    "is not the state of a chain; restore it": "test_a_damaged_state_of_a_chain_is_told_and_can_be_left_behind",
    "a kernel runs on its own owner's account": "test_wrong_credentials_and_another_owner_are_refused",
    "holds a ddpm_utils that is no data set; use another": "test_a_folder_that_holds_something_else_is_not_written_over",
    "are too many for Kaggle; shorten it": "test_a_notebook_that_is_too_large_is_told",
    "this session has no GPU: Kaggle lends none": "test_a_session_without_the_gpu_that_it_needs_is_refused",
    "push with the kernel's own latest output": CHECKPOINT,
    "left no checkpoint; begin anew without resuming": "test_a_session_that_left_no_checkpoint_is_no_start",
    "check the job's data set (sources": "test_data_that_is_not_there_is_one_sentence_with_the_job_s_source",
    "the session may take {}; raise max_hours": "test_hours_already_used_are_none_of_training_s",
    "the look at the machine failed with exit code": "test_the_machine_is_judged_by_fields_and_by_no_word_of_the_doctor_s",
    "is missing or damaged: it isn't what session": CHECKPOINT,
    "another run.py follows the chain in {}; stop it": "test_two_runners_in_one_folder_are_refused",
    "isn't ready yet; run the same command again": "test_a_data_set_that_is_not_ready_in_time_is_told",
    "no address yet to fetch it from; ": "test_without_an_address_the_set_up_cell_says_how_to_go_on",
    "on Kaggle switch Internet on in the notebook's": "test_without_internet_the_set_up_cell_says_what_git_said_and_how_to_go_on",
    "or say whose it will be: --owner": "test_without_credentials_a_name_is_enough_to_build",
}
UNWALKED = {  # words of a sentence: why no test meets it
    "there are no credentials for Kaggle; see above": "it takes the client's own explanation, and another process",
    "pip install kaggle six": "it takes an environment without the client",
    "there are new ones on Saturday at 00:00 UTC": "it takes a server that refuses a push and tells no quota",
}


def sentences() -> set[str]:
    """Those that say what to do, behind a semicolon or a colon or by naming a command, with {} for each value in them."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and getattr(node.exc.func, "id", "") in TOLD:
                text = max((words(a) for a in node.exc.args), key=len, default="")
                if re.search(r"[;:] (?!got)|[;?] |`", text):
                    found.add(text)
    return found


def words(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "{}"


def test_every_sentence_with_advice_has_a_test_or_a_reason():
    found = sentences()
    assert len(found) >= 35
    known = WALKED | UNWALKED
    assert [text for text in found if not any(part in text for part in known)] == []
    assert [part for part in known if not any(part in text for text in found)] == [], "the sentence is gone"
    tests = "".join(path.read_text() for path in [*Path(__file__).parent.glob("test_*.py"), *(ROOT / "tests" / "course").glob("test_*.py")])
    assert [name for name in WALKED.values() if f"def {name}(" not in tests] == []
