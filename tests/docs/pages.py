"""The steps of a page of the documentation: its blocks of code, and its directives for the tests.

A page is read from top to bottom into a list of steps. Every fenced block must be one of these, so that every snippet
is run:

* ``python`` - run in the page's own namespace, block after block; with a ``:caption:`` it is a file that is written.
* ``pycon`` - run, and what it prints compared.
* ``console`` - each line with ``$`` is run in a shell, and the lines below it must be in what it prints. Numbers and
  ids count as equal, and ``...`` stands for anything.
* ``ini`` - read as PasteDeploy would, by the filter's own factory.
* ``text`` - what a program in the background prints (see below).
* ``{include}`` - a file without any block, such as the changelog.

A line that begins with ``%`` is a comment, which readers do not see. These are the ones there are:

* ``% not run: REASON`` - the next block is not run.
* ``% output of: COMMAND`` - the next block is what that command prints, which runs in the background.
* ``% exit code: N`` - with which the last command of the next block ends; 0 without it.
* ``% run: COMMAND`` - run in a shell here.
* ``% stop: COMMAND`` - press Ctrl-C where that command runs in the background; it must end with 0.
* ``% let: STATEMENT`` - run as Python here. ``broker`` is the development broker of the page;
  ``start(worker)`` runs a `Worker` in a thread, ``stop(worker)`` returns what its `run` has returned, and
  ``eventually(condition)`` waits until the condition holds.
* ``% check: EXPRESSION`` - must be true here.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parent.parent.parent / "docs"

LANGUAGES = ("python", "pycon", "console", "ini", "text")
# What is not code: lists of pages, and what docs/_ext generates.
DIRECTIVES = (
    "{toctree}",
    "{image}",
    "{options}",
    "{worker_options}",
    "{exceptions}",
    "{names}",
    "{dialects}",
    "{usage}",
)
# What may stand between ::: lines, with blocks in it.
ADMONITIONS = ("{note", "{tip", "{important", "{warning")
COMMENTS = ("not run", "output of", "exit code", "run", "stop", "let", "check")

_FENCE = re.compile(r"(`{3,}|~{3,})(.*)")
_COMMENT = re.compile(r"%\s*([a-z ]+):\s*(.*)")
_OPTION = re.compile(r":([a-z-]+):\s*(.*)")


class BadPage(Exception):
    """A page holds something that the tests would not run."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of the page on which that begins, and what was said of it."""

    language: str
    text: str
    line: int
    caption: str | None = None
    not_run: str | None = None
    output_of: str | None = None
    exit_code: int = 0


@dataclasses.dataclass(frozen=True)
class Hidden:
    """Something to run that readers do not see: `kind` is ``run``, ``stop``, ``let`` or ``check``."""

    kind: str
    code: str
    line: int


@dataclasses.dataclass(frozen=True)
class Page:
    """A page: its name inside docs/, and its steps in order."""

    name: str
    steps: tuple[Block | Hidden, ...]

    @property
    def code(self) -> str:
        """All that is run, in one text."""
        return "\n".join(
            step.code if isinstance(step, Hidden) else step.text
            for step in self.steps
            if isinstance(step, Hidden) or step.not_run is None
        )

    @property
    def only_shell(self) -> bool:
        """Whether nothing of it is run in this process."""
        return all(
            step.kind in ("run", "stop")
            if isinstance(step, Hidden)
            else step.language in ("console", "text") or step.caption
            for step in self.steps
        )


def page_names() -> list[str]:
    """Every page of the documentation."""
    paths = [path for path in DOCS.rglob("*") if path.suffix in (".md", ".rst", ".txt")]
    return sorted(path.relative_to(DOCS).as_posix() for path in paths if "_build" not in path.parts)


def load(name: str) -> Page:
    """Read the page called *name*. Raises `BadPage`."""
    if not name.endswith(".md"):
        raise BadPage(f"{name}: pages are written in Markdown, whose snippets are run")
    return parse(name, (DOCS / name).read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Page:
    """Return the page that *text* is. Raises `BadPage`."""
    return Page(name, tuple(_steps(name, text.splitlines())))


def _steps(name: str, lines: list[str]) -> Iterator[Block | Hidden]:
    said: dict[str, str] = {}
    rows = iter(enumerate(lines, start=1))
    for number, line in rows:
        if line.startswith("    ") and not lines[number - 2].strip():
            raise BadPage(f"{name}:{number}: an indented block is not run; put it between ``` lines")
        if (colons := re.match(r"\s*:{3,}(.*)", line)) and colons[1].partition("}")[0] not in ("", *ADMONITIONS):
            raise BadPage(f"{name}:{number}: only {', '.join(f':::{kind}}}' for kind in ADMONITIONS)} may have colons")
        if re.match(r"\s*>\s*(`{3}|~{3})", line):
            raise BadPage(f"{name}:{number}: a block in a quotation is not run")
        if re.search(r"<(pre|code)\b", line):
            raise BadPage(f"{name}:{number}: a block in HTML is not run; put it between ``` lines")
        if line.startswith("%"):
            kind, value = _comment(name, number, line)
            if kind in ("run", "stop", "let", "check"):
                yield Hidden(kind, value, number)
            else:
                said[kind] = value
            continue
        fence = _FENCE.match(line.lstrip())
        if fence is None:
            if line.strip() and said:
                raise BadPage(f"{name}:{number}: '% {next(iter(said))}' must stand right before a block")
            continue
        begin = number
        body = []
        for number, line in rows:  # noqa: B007, PLW2901 - the same rows, up to the end of the block
            if line.strip() == fence[1]:
                break
            body.append(line)
        else:
            raise BadPage(f"{name}:{begin}: this block does not end")
        block = _block(name, begin, fence[2].strip(), body, said)
        if block is not None:
            yield block
        said = {}


def _comment(name: str, number: int, line: str) -> tuple[str, str]:
    found = _COMMENT.fullmatch(line.strip())
    if found is None or found[1] not in COMMENTS or not found[2].strip():
        raise BadPage(f"{name}:{number}: {line!r} is none of {', '.join(f'% {known}: ...' for known in COMMENTS)}")
    return found[1], found[2].strip()


def _block(name: str, line: int, info: str, body: list[str], said: dict[str, str]) -> Block | None:
    directive, _, argument = info.partition(" ")
    caption = None
    if directive == "{code-block}":
        info = argument.strip()
        while body and (option := _OPTION.fullmatch(body[0])):
            if option[1] != "caption":
                raise BadPage(f"{name}:{line}: the option {option[1]} of a code-block is not known to the tests")
            caption = option[2]
            body, line = body[1:], line + 1
    elif directive == "{eval-rst}":
        if any(row.strip() and not row.lstrip().startswith((".. auto", ".. py:", ":")) for row in body):
            raise BadPage(f"{name}:{line}: {{eval-rst}} is for the API reference only; snippets in it are not run")
        return None
    elif directive == "{include}":
        included = (DOCS / name).parent / argument.strip()
        if not included.is_file() or _FENCE.search(included.read_text(encoding="utf-8")):
            raise BadPage(f"{name}:{line}: an included file must exist, and have no blocks, because they are not run")
        return None
    elif directive in DIRECTIVES:
        return None
    if info not in LANGUAGES:
        raise BadPage(f"{name}:{line}: a block in {info or '?'} is not run; use one of {', '.join(LANGUAGES)}")
    if info == "text" and not {"output of", "not run"} & set(said):
        raise BadPage(f"{name}:{line}: a text must say what prints it (% output of: ...) or why not (% not run: ...)")
    indent = min((len(row) - len(row.lstrip()) for row in body if row.strip()), default=0)
    return Block(
        info,
        "".join(f"{row[indent:]}\n" for row in body),
        line + 1,
        caption,
        said.get("not run"),
        said.get("output of"),
        int(said.get("exit code", "0")),
    )
