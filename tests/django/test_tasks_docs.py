"""The page on tasks runs where Django has tasks; the oldest Python, which runs the other pages, has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("django.tasks", reason="django.tasks is new in Django 6.0")

from tests.docs.pages import load
from tests.docs.test_pages import run, why_not

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(600)  # the page starts a dozen programs; each step has a deadline of its own
def test_the_snippets_of_the_page_on_tasks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = load("how-to/django-tasks.md")
    assert why_not(page) is None
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STOMP_URL", raising=False)
    run(page, tmp_path)
