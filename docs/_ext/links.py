"""The link check of the built site: every link to a page, a file or an anchor of the site itself must lead there.

Sphinx checks what authors write. This check reads the HTML that readers get, with what the theme and other extensions
add. It runs at the end of each HTML build, and a link that leads nowhere fails the build. Links to other sites are not
followed.
"""

from __future__ import annotations

import html.parser
import typing
import urllib.parse
from pathlib import Path


class _Page(html.parser.HTMLParser):
    """The links of a page, and the anchors in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        self.links.update(given[name] for name in ("href", "src") if name in given)


def broken_links(root: Path) -> list[str]:
    """Return a sentence for each link in the pages under *root* that leads nowhere, in the order of the pages."""
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.html"))}
    return [
        f"{path.relative_to(root.resolve())}: {link} {reason}"
        for path, page in pages.items()
        for link in sorted(page.links)
        if (reason := _why_broken(path, link, root.resolve(), pages))
    ]


def _why_broken(page: Path, link: str, root: Path, pages: dict[Path, _Page]) -> str | None:
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = urllib.parse.unquote(parts.path)
    target = page if not path else root / path.lstrip("/") if path.startswith("/") else page.parent / path
    target = target.resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "leads to no file"
    anchor = urllib.parse.unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "leads to no anchor of its page"
    return None


def check(app: typing.Any, exception: Exception | None) -> None:
    """Raise an error that lists the broken links of an HTML build."""
    if exception is not None or app.builder.format != "html":
        return
    from sphinx.errors import SphinxError

    if broken := broken_links(Path(app.outdir)):
        raise SphinxError(
            "these links lead nowhere (if a page was removed, delete docs/_build first):\n" + "\n".join(broken)
        )


def setup(app: typing.Any) -> dict[str, bool]:
    """Run the check at the end of each build."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
