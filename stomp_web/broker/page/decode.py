"""Bodies as text for the page: JSON, text, disassembled pickles, or bytes. This module never loads a pickle.

A body may come from any program, so each form has limits. If a body is broken or deeply nested, the page shows a
plainer form, and a note that says why.
"""

from __future__ import annotations

import codecs
import io
import json
import pickletools
import re
import typing

from ..._internal.printable import harmless

__all__ = ["MAX_TEXT", "Shown", "guess", "preview", "show"]

#: The most characters of a body that are shown.
MAX_TEXT: typing.Final = 262_144
_MAX_DUMP = 4_096  # bytes of a body that is no text
_MAX_PREVIEW = 200  # characters
_PICKLES = ("application/x-python-serialize", "application/x-python-pickle", "application/x-pickle")
_UNKNOWN = ("", "application/octet-stream")
# Only these: other codecs of Python decompress, or take quadratic time.
_CHARSET = re.compile(r'charset="?(utf-?8|utf-?16|us-ascii|latin-?1|iso-8859-\d+|windows-125\d)\b', re.IGNORECASE)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


class Shown(typing.NamedTuple):
    """A body as text. `kind` is ``json``, ``text``, ``pickle``, ``bytes`` or ``empty``.

    `note` tells the reader of the page how the text differs from the body, for example that the end is missing.
    """

    kind: str
    text: str
    note: str = ""


class _Full(Exception):
    """The text of a body would have more than `MAX_TEXT` characters."""


def guess(content_type: str, body: bytes) -> str:
    """Return the `Shown.kind` of *body*, judged by *content_type* and the first bytes of *body*."""
    mime = content_type.partition(";")[0].strip().lower()
    if not body:
        return "empty"
    if mime in _PICKLES or (mime in _UNKNOWN and re.match(rb"\x80[\x02-\x05]", body)):
        return "pickle"
    start = body[:100].lstrip()[:1]
    if mime.endswith(("/json", "+json")) or (mime in _UNKNOWN and start in (b"{", b"[")):
        return "json"
    return "bytes" if _as_text(content_type, body[:1_000], cut=True) is None else "text"


def preview(content_type: str, body: bytes, size: int) -> str:
    """Return one line about a body. *body* is the start of this body, and *size* is the length of the whole body."""
    kind = guess(content_type, body)
    if kind == "pickle":
        return f"a pickle of {size} bytes"
    if kind == "bytes":
        return body[:32].hex(" ")
    text = _as_text(content_type, body[: 4 * _MAX_PREVIEW], cut=True)
    text = body[: 4 * _MAX_PREVIEW].decode(errors="replace") if text is None else text
    line = " ".join(text.split())
    return harmless(line if len(line) <= _MAX_PREVIEW else f"{line[:_MAX_PREVIEW]}…", lines=False)


def show(content_type: str, body: bytes, *, cut: bool = False) -> Shown:
    """Return *body* as text. *cut* says whether the end of *body* is missing."""
    kind = guess(content_type, body)
    if kind == "empty":
        return Shown("empty", "")
    if kind == "pickle":
        return _disassemble(body, cut=cut)
    note = ""
    if kind == "json":
        try:
            return Shown("json", harmless(_indent(body.decode())))
        except (ValueError, RecursionError, _Full) as error:
            note = (
                "The end is missing, so it is shown as it came." if cut else f"It is shown as it came: {_why(error)}."
            )
    text = _as_text(content_type, body, cut=cut)
    if text is None:
        dump = f"It is no text. The first {_MAX_DUMP} bytes are shown." if len(body) > _MAX_DUMP else note
        return Shown("bytes", _hex_dump(body[:_MAX_DUMP]), dump)
    if len(text) > MAX_TEXT:
        text, note = text[:MAX_TEXT], f"The first {MAX_TEXT} characters are shown."
    return Shown("text", harmless(text.replace("\r\n", "\n")), note)


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, _Full):
        return "it would be too long with line breaks"
    return f"it is not JSON, {error}" if isinstance(error, json.JSONDecodeError) else "it is not JSON in UTF-8"


def _as_text(content_type: str, body: bytes, *, cut: bool) -> str | None:
    """Decode *body* with the charset of *content_type*, by default UTF-8. Return ``None`` if *body* is not text."""
    named = _CHARSET.search(content_type)
    try:
        text = codecs.getincrementaldecoder(named[1] if named else "utf-8")().decode(body, final=not cut)
    except (LookupError, UnicodeError):
        return None
    if any(ord(each) < 32 and each not in "\t\n\r\f\x1b" for each in text[:4_096]):
        return None
    return text


def _indent(text: str) -> str:
    """Return the JSON *text* with a line for each item. Numbers and repeated names stay as they were written."""

    def refuse(constant: str) -> typing.NoReturn:
        raise ValueError(f"{constant} is not JSON")

    json.loads(text, parse_int=str, parse_float=str, parse_constant=refuse)
    tokens = _TOKEN.findall(text)
    out, size, depth = [], 0, 0
    for position, piece in enumerate(tokens):
        following = tokens[position + 1] if position + 1 < len(tokens) else ""
        written = piece
        match piece[0]:
            case "{" | "[":
                depth += 1
                written += "" if following in ("}", "]") else _line(depth)
            case ",":
                written += _line(depth)
            case ":":
                written += " "
            case '"' if "\\u" in piece:
                written = json.dumps(json.loads(piece), ensure_ascii=False)
        if following in ("}", "]"):
            depth -= 1
            written += "" if piece in ("{", "[") else _line(depth)
        size += len(written)
        if size > MAX_TEXT:
            raise _Full
        out.append(written)
    return "".join(out)


def _line(depth: int) -> str:
    return "\n" + "  " * depth


class _Output(io.StringIO):
    """A text buffer. Writing more than `MAX_TEXT` characters raises `_Full`."""

    def write(self, text: str) -> int:
        written = super().write(text[: MAX_TEXT - self.tell()])
        if written < len(text):
            raise _Full
        return written


def _disassemble(body: bytes, *, cut: bool) -> Shown:
    out, note = _Output(), "Disassembled with pickletools. It was not loaded."
    try:
        pickletools.dis(body, out, indentlevel=2)
    except _Full:
        note += f" The first {MAX_TEXT} characters are shown."
    except Exception as error:  # noqa: BLE001 - a broken pickle ends pickletools with exceptions of many kinds
        reason = "the end of the body was not kept" if cut else f"{type(error).__name__}: {str(error)[:200]}"
        note += f" It stops where the pickle is broken ({harmless(reason, lines=False)})."
    return Shown("pickle", harmless(out.getvalue()), note)


def _hex_dump(body: bytes) -> str:
    lines = []
    for start in range(0, len(body), 16):
        row = body[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<47}  {letters}")
    return "\n".join(lines)
