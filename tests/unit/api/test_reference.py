"""The API's page for people says what the routes are."""

from __future__ import annotations

from api.reference import PAGE_FILE, page


def test_the_page_is_fresh() -> None:
    """`python -m api.reference` would change nothing."""
    assert PAGE_FILE.read_text() == page()
