"""Builds what PyPI shows of the project: its links, and the README with links that work outside of the repository.

Hatchling calls this with the table ``[tool.hatch.metadata.hooks.custom]`` of pyproject.toml. While its ``repository``
is empty, there are no links of the project, and the README is taken as it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# What is no link, whatever it looks like: fenced blocks, code in a line, and comments.
_FENCED = r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?(?:^ {0,3}(?P=fence)|\Z)"
_CODE = r"(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n).)*?(?<!`)(?P=ticks)(?!`)"
_COMMENT = r"<!--.*?-->"
# Before and after a target: ](TARGET) of Markdown, with a title or without, [NAME]: TARGET at the start of a line, and
# the attributes of HTML. The targets `nested` and `bare` are refused if they are relative.
_LINK = r"\]\(\s*(?:<(?P<angled>[^<>\n]+)>|(?P<inline>(?:[^\s()<>]|\([^\s()<>]*\))+))(?=\s*\)|\s+[\"'(])"
_NESTED = r"\]\(\s*(?P<nested>[^\s()<>][^\s<>]*)\)"
_DEFINITION = r"^ {0,3}\[[^\]\n]+\]:[ \t]+(?:<(?P<defined_angled>[^<>\n]+)>|(?P<defined>[^\s<>]+))"
_QUOTED = r"(?P<{0}_quote>[\"'])(?P<{0}>(?:(?!(?P={0}_quote)).)+)(?P={0}_quote)"
_ATTRIBUTE = rf"(?i:(?<![\w-])(?:href|src)\s*=\s*)(?:{_QUOTED.format('attribute')}|(?P<bare>[^\s\"'>]+))"
_SET = rf"(?i:(?<![\w-])srcset\s*=\s*)(?:{_QUOTED.format('set')}|(?P<bare_set>[^\s\"'>]+))"
_TARGETS = re.compile(
    f"{_FENCED}|{_CODE}|{_COMMENT}|{_LINK}|{_NESTED}|{_DEFINITION}|{_ATTRIBUTE}|{_SET}", re.DOTALL | re.MULTILINE
)
_REFUSED = ("nested", "bare", "bare_set")
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_PICTURES = (".png", ".svg", ".gif", ".jpg", ".jpeg", ".webp")


class Options:
    """The table of pyproject.toml, for one version. Raises `ValueError` if something in it is wrong."""

    def __init__(self, table: dict[str, Any], version: str) -> None:
        given = {name: value for name, value in table.items() if name != "path"}
        if set(given) != {"repository", "file", "picture"} or not all(isinstance(each, str) for each in given.values()):
            raise ValueError(
                f"[tool.hatch.metadata.hooks.custom] has {', '.join(sorted(given)) or 'nothing'}; it needs the texts "
                "repository, file and picture"
            )
        self.repository: str = given["repository"].rstrip("/")
        if self.repository and not re.fullmatch(r"https://[^\s/]+/\S+", self.repository):
            raise ValueError(
                f"the repository in [tool.hatch.metadata.hooks.custom] is {self.repository!r}; write its public "
                "address, which begins with https://, or nothing"
            )
        self._file: str = given["file"]
        self._picture: str = given["picture"]
        self._version = version

    def address(self, path: str) -> str:
        """Return the public address of a file or a folder of the repository, or of a picture in it."""
        pattern = self._picture if path.lower().endswith(_PICTURES) else self._file
        return pattern.format(repository=self.repository, version=self._version, path=path)


def links_of(options: Options) -> dict[str, str]:
    """Return the links of the project, by the names that PyPI knows."""
    return {
        "Source": options.repository,
        "Documentation": options.address("docs/index.md"),
        "Changelog": options.address("CHANGELOG.md"),
        "Issues": f"{options.repository}/issues",
    }


def with_absolute_links(text: str, options: Options, name: str = "README.md") -> str:
    """Return *text*, the Markdown of the file *name* in the repository, with addresses for its relative targets.

    Raises `ValueError` for a relative target that leads out of the repository, or is written in an unusual way.
    """

    def absolute(target: str, group: str) -> str:
        if _ABSOLUTE.match(target):
            return target
        end = re.search(r"[?#]|\Z", target).start()  # type: ignore[union-attr]
        path = target[:end].removeprefix("./").removeprefix("/")
        if group in _REFUSED or ".." in path.split("/") or (group == "attribute" and len(target.split()) != 1):
            raise ValueError(
                f"{name} has the link {target!r}, which cannot be made absolute; write a path from the top of the "
                "repository, without '..' and without parentheses in parentheses. In HTML, put it into quotes, and "
                "write a space as %20"
            )
        return options.address(path or name) + target[end:]

    def replaced(match: re.Match[str]) -> str:
        group = match.lastgroup
        if group in (None, "fence", "ticks"):
            return match[0]
        start, end = (each - match.start() for each in match.span(group))
        target = match[group]
        if group == "set":
            entries = [each.split() for each in target.split(",") if each.strip()]
            made = ", ".join(" ".join([absolute(first, group), *rest]) for first, *rest in entries)
        else:
            made = absolute(target, group)
        return match[0][:start] + made + match[0][end:]

    return _TARGETS.sub(replaced, text)


class PublicMetadata(MetadataHookInterface):
    """The hook that hatchling calls."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README, and the links of the project if the repository has an address."""
        options = Options(self.config, metadata["version"])
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        if options.repository:
            metadata["urls"] = links_of(options)
            text = with_absolute_links(text, options)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
