"""The head of a frame: the command line and the header lines before the blank line.

Bytes without a known command raise `NoCommand`, because such bytes are not STOMP. Any other fault raises
`UnreadableFrame`. After this exception, a tolerant buffer may still find the end of the frame.
"""

from __future__ import annotations

import re
import typing

from ..errors import ProtocolError
from .frame import COMMANDS, Frame, UnreadableFrame
from .versions import has_escapes, unescape

__all__ = ["BLANK_LINE", "LONGEST_COMMAND_LINE", "NoCommand", "check_beginning", "parse_head"]

#: The size of the longest command with its line end. This number of bytes shows whether a frame has a command.
LONGEST_COMMAND_LINE: typing.Final = max(map(len, COMMANDS)) + len("\r\n")
#: The end of a head. In 1.2, a line ends with "an OPTIONAL carriage return [...] followed by a REQUIRED line feed".
BLANK_LINE: typing.Final = {
    version: re.compile(pattern) for version, pattern in (("1.0", rb"\n\n"), ("1.1", rb"\n\n"), ("1.2", rb"\n\r?\n"))
}
_COMMANDS = frozenset(command.encode() for command in COMMANDS)
_BEGINNINGS = frozenset(command[:length] for command in _COMMANDS for length in range(len(command) + 1))


class NoCommand(ProtocolError):
    """The bytes do not begin with a command. `line` is the beginning of the first line."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__("not a STOMP frame: it has no command")
        self.line = beginning[:LONGEST_COMMAND_LINE].partition(b"\n")[0]


def check_beginning(beginning: bytes, version: str) -> None:
    """Raise `NoCommand` if *beginning* cannot be the beginning of a frame with a known command."""
    line, line_feed, _ = beginning[:LONGEST_COMMAND_LINE].partition(b"\n")
    # A CR without its LF may be the first half of a line end between frames.
    command = line.removesuffix(b"\r") if version == "1.2" or not line_feed else line
    if command not in (_COMMANDS if line_feed else _BEGINNINGS):
        raise NoCommand(beginning)


def parse_head(head: bytes, version: str, max_headers: int) -> Frame:
    """Return a frame with the command and the headers of *head*. The function does not set the body.

    Raises `NoCommand` if *head* has no known command. Raises `UnreadableFrame` if a header breaks a rule, or if there
    are more than *max_headers* header lines.
    """
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        check_beginning(head + b"\n", version)
        raise UnreadableFrame(f"a header is not UTF-8: {error.reason}") from None
    lines = text.split("\n")
    if "\r" in text and version == "1.2":
        lines = [line.removesuffix("\r") for line in lines]
        if any("\r" in line for line in lines):
            check_beginning(head + b"\n", version)
            raise UnreadableFrame("a header has a carriage return that ends no line")
    command = lines[0]
    if command not in COMMANDS:
        raise NoCommand(head)
    del lines[0]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise UnreadableFrame(f"a header line of a {command} frame has no colon: {line[:40]!r}")
        headers[name] = value
    escaped = "\\" in text and has_escapes(command, version)
    if len(headers) != len(lines):
        for line in reversed(lines):  # "only the first header entry SHOULD be used" (Repeated Header Entries)
            name, _, value = line.partition(":")
            headers[name] = value
            if escaped:
                unescape(value, version)  # an ignored entry must not break a rule either
    if escaped:
        entries, headers = headers, {}
        for name, value in entries.items():
            if "\\" in name:
                name = unescape(name, version)  # noqa: PLW2901
            if "\\" in value:
                value = unescape(value, version)  # noqa: PLW2901
            headers.setdefault(name, value)
    if "" in headers:
        raise UnreadableFrame(f"a header of a {command} frame has no name")
    if "\0" in text:
        raise UnreadableFrame(f"a NUL byte stands among the headers of a {command} frame")
    if len(lines) > max_headers:
        raise UnreadableFrame(f"a {command} frame has more than {max_headers} headers")
    frame = Frame.__new__(Frame)  # its constructor would copy the headers
    frame.command = command
    frame.headers = headers
    return frame
