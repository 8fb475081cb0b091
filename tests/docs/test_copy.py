"""The copy buttons of the site, in a real browser."""

from __future__ import annotations

import typing
from html import escape

import pytest

from tests.broker_page.chromium import Chromium, provided
from tests.docs.pages import DOCS

if typing.TYPE_CHECKING:
    from pathlib import Path

# "Copied" is the label of the button for two seconds only.
NOTE_LABELS = """
    window.labels = [];
    document.querySelectorAll("button.copy").forEach((button) =>
      new MutationObserver(() => labels.push(button.textContent)).observe(button, { childList: true }));
"""


@pytest.fixture(scope="module")
def one_browser(request: pytest.FixtureRequest) -> typing.Iterator[Chromium]:
    for browser in provided(request):
        browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        yield browser


@pytest.fixture
def browser(one_browser: Chromium) -> typing.Iterator[Chromium]:
    one_browser.problems.clear()
    yield one_browser
    assert one_browser.problems == []


def show(browser: Chromium, folder: Path, language: str, text: str) -> None:
    """Open a page with one block of code, as Sphinx writes it."""
    page = folder / "page.html"
    page.write_text(
        f'<div class="highlight-{language} notranslate"><div class="highlight"><pre>{escape(text)}</pre></div></div>'
        f'<script src="{(DOCS / "_static" / "site.js").as_uri()}"></script>'
    )
    browser.open(page.as_uri())
    browser.wait("document.readyState === 'complete' && document.querySelector('pre')")


@pytest.mark.parametrize(
    ("language", "text", "copied"),
    [
        ("python", "x = 1\n\nprint(x)\n", "x = 1\n\nprint(x)"),
        ("console", "$ stomp-web ping\nanswered\n$ curl \\\n    a\n{}\n", "stomp-web ping\ncurl \\\n    a"),
        ("console", "$ curl \\\n> a\n", "curl \\\na"),
        ("pycon", ">>> for x in y:\n...     x\n...\n1\n", "for x in y:\n    x\n"),
    ],
)
def test_a_click_copies_what_a_reader_would_type(
    browser: Chromium, tmp_path: Path, language: str, text: str, copied: str
) -> None:
    show(browser, tmp_path, language, text)
    browser.run(NOTE_LABELS)
    browser.click("button.copy")
    browser.wait("labels.includes('Copied')")
    assert browser.run("navigator.clipboard.readText()") == copied


def test_output_alone_has_no_button(browser: Chromium, tmp_path: Path) -> None:
    show(browser, tmp_path, "console", "answered\n")
    assert browser.run("document.querySelectorAll('button.copy').length") == 0
