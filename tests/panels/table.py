"""Reads the table of a panel."""

from __future__ import annotations

from html.parser import HTMLParser

_TAGS = ("table", "thead", "tbody", "tr", "th", "td", "strong", "br", "code", "p")


def rows_in(content: str) -> list[list[str]]:
    """The texts of the cells of each row, without the head. No tag that came from a value may be in *content*."""
    head, *rows = _Table(content).rows
    assert head == ["Destination", "Outcome", "Time (ms)", "Bytes", "Message id"]
    return rows


class _Table(HTMLParser):
    def __init__(self, content: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS, tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "br":
            self.rows[-1][-1] += " "

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()
