"""A step of a release: make the links and pictures of README.md absolute, because PyPI cannot follow relative ones.

    python3 docs/absolute_links.py https://HOST/OWNER/stomp-web/blob/v1.2.3

The argument is the address at which the host of the repository shows the files of the released tag: with ``/blob/`` on
GitHub and GitLab, with ``/src/`` on Gitea and Forgejo. Pictures get the same address with ``/raw/`` in that place.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
_LINK = re.compile(r"(!?)\[((?:[^\]\\]|\\.)*)\]\((?![a-z][a-z+.-]*:|#)([^)\s]+)\)")
_FORM = re.compile(r"https://[^/\s]+/\S+?/(blob|src)/[^/\s]\S*")


def absolute_links(text: str, files: str) -> str:
    """Return the Markdown *text* with absolute links: *files* is the address of the files of the tag.

    Links to other sites and to headings of the same text stay as they are. Raises `ValueError` if *files* is no such
    address.
    """
    files = files.rstrip("/")
    form = _FORM.fullmatch(files)
    if form is None:
        raise ValueError(
            f"{files!r} is not the address of the files of a tag; it looks like https://HOST/OWNER/stomp-web/blob/v1.2.3"
        )
    raw = f"{files[: form.start(1)]}raw{files[form.end(1) :]}"

    def absolute(link: re.Match[str]) -> str:
        mark, words, path = link.groups()
        return f"{mark}[{words}]({raw if mark else files}/{path})"

    return _LINK.sub(absolute, text)


def main(arguments: list[str]) -> int:
    """Rewrite README.md; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write(f"{__doc__}")
        return 2
    try:
        text = absolute_links(README.read_text(encoding="utf-8"), arguments[0])
    except ValueError as error:
        sys.stderr.write(f"absolute_links: {error}\n")
        return 2
    README.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
