"""Drawings are well-formed, tell in words what they show, and can be read on a light and on a dark page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.docs.pages import DOCS, page_names

SVG = "{http://www.w3.org/2000/svg}"
LINK = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


@pytest.mark.parametrize("name", page_names())
def test_every_image_of_the_page_is_there_and_has_a_text(name: str) -> None:
    page = DOCS / name
    for text, target in LINK.findall(page.read_text()):
        assert text, target
        assert (page.parent / target).is_file(), target


@pytest.mark.parametrize("path", sorted((DOCS / "images").glob("*.svg")), ids=lambda path: path.name)
def test_a_drawing_has_a_title_and_colours_for_light_and_dark(path) -> None:
    root = ElementTree.parse(path).getroot()
    assert root.get("role") == "img"
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text
    for colour in {each.get("fill") for each in root.iter(f"{SVG}text")} - {"#ffffff"}:  # white: in a coloured circle
        red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
        assert 90 < 0.299 * red + 0.587 * green + 0.114 * blue < 165, colour


def test_the_drawing_of_the_outbox_tells_of_each_point_where_something_can_die() -> None:
    root = ElementTree.parse(DOCS / "images" / "outbox.svg").getroot()
    description = root.find(f"{SVG}desc")
    assert description is not None
    assert "nothing is lost" in (description.text or "")
    texts = [each.text or "" for each in root.iter(f"{SVG}text")]
    for number in range(1, 8):
        assert texts.count(str(number)) == 2  # in the drawing, and before its line
