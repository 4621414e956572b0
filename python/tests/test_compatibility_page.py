"""The page that lists every public name says what is so."""

from __future__ import annotations

from tests.compatibility import PAGE, page


def test_the_page_is_what_the_packages_are() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.compatibility` in python/"


def test_nothing_is_missing() -> None:
    assert "| no |" not in page()
