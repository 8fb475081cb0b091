"""The link check of the built site finds what leads nowhere, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.extension import load_extension

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="module")
def links() -> ModuleType:
    return load_extension("links")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "how-to").mkdir()
    (tmp_path / "image one.svg").write_text("<svg/>")
    (tmp_path / "how-to" / "send.html").write_text('<h1 id="send">Send</h1><a name="old"></a>')
    return tmp_path


@pytest.mark.parametrize(
    "link",
    [
        "how-to/send.html",
        "how-to/send.html#send",
        "how-to/send.html#old",
        "how-to/send.html?highlight=x#send",
        "/how-to/send.html",
        "image%20one.svg",
        "index.html#here",
        "#here",
        "#",
        "./",
        "https://example.invalid/nothing#at-all",
        "//example.invalid/nothing",
        "mailto:nobody@example.invalid",
        "data:image/png;base64,AAAA",
    ],
)
def test_a_link_that_leads_somewhere_is_accepted(links: ModuleType, site: Path, link: str) -> None:
    (site / "index.html").write_text(f'<p id="here"><a href="{link}">x</a></p>')
    assert links.broken_links(site) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('<a href="how-to/gone.html">x</a>', "index.html: how-to/gone.html leads to no file"),
        ('<a href="how-to/send.html#gone">x</a>', "index.html: how-to/send.html#gone leads to no anchor of its page"),
        ('<a href="#gone">x</a>', "index.html: #gone leads to no anchor of its page"),
        ('<img src="gone.png">', "index.html: gone.png leads to no file"),
        ('<link href="_static/gone.css?v=1">', "index.html: _static/gone.css?v=1 leads to no file"),
        ('<a href="how-to/">x</a>', "index.html: how-to/ leads to no file"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(links: ModuleType, site: Path, text: str, sentence: str) -> None:
    (site / "index.html").write_text(text)
    assert links.broken_links(site) == [sentence]
