"""The record of mistakes is that of the notebooks as they are."""

import pytest
from mistakes.sources import SOURCES
from mistakes_record import HERE, NOTEBOOKS, claims, mistakes, page, seen

CHAPTERS = sorted(path.stem[:2] for path in NOTEBOOKS.glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_mistake_that_a_chapter_shows_was_made_and_has_a_row(chapter):
    tried = [mistake.name for mistake in mistakes() if mistake.chapter == chapter]
    assert len(tried) == len(claims(chapter)), "a chapter's expect_failure and the trials of tests/records/mistakes go in the same order"
    assert set(tried) <= set(seen()), "run: python tests/records/mistakes_record.py"


def test_the_page_says_what_the_chapters_say_and_what_was_seen():
    assert (HERE / "mistakes.md").read_text() == page(), "run: python tests/records/mistakes_record.py --record tests/records/mistakes.md"


def test_no_source_and_no_result_lacks_its_mistake():
    names = {mistake.name for mistake in mistakes()}
    assert set(SOURCES) <= names
    assert set(seen()) == names
