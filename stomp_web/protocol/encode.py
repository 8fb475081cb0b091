"""The encoder of frames. For a frame that STOMP cannot carry, `encode` raises `InvalidFrame` and returns no bytes."""

from __future__ import annotations

import typing

from ..errors import InvalidFrame, InvalidFrameType
from .frame import COMMANDS, COMMANDS_WITH_BODY, Frame
from .versions import UNESCAPED_COMMANDS, check_version, escape, has_escapes

__all__ = ["encode", "encode_head", "encode_header", "encode_headers"]


def encode(frame: Frame, version: str = "1.2", *, content_length: bool = True) -> bytes:
    """Return the bytes of *frame* in the STOMP version *version*, from the command to the closing NUL.

    If the command allows a body, the bytes contain a ``content-length`` header. With ``content_length=False``, the
    header is left out and the body must not contain a NUL. A JMS consumer of ActiveMQ then gets the body as text.

    Raises `InvalidFrameType` if the body or a header has the wrong Python type. Raises `InvalidFrame` in these cases:

    * The command is not in `COMMANDS`.
    * The name of a header is empty, or a header cannot be encoded in UTF-8.
    * A header contains a NUL or, in STOMP 1.1, a CR. STOMP 1.1 has no escape for CR.
    * In a frame without escapes, a header contains a CR or LF, or its name contains a colon. STOMP 1.0 has no escapes.
      CONNECT, CONNECTED and STOMP frames never have escapes.
    * The ``content-length`` header is not the length of the body.
    * The frame has a body, but its command allows no body: "All other frames MUST NOT have a body" (STOMP 1.2, Body).
    """
    if not isinstance(frame.body, bytes):
        raise InvalidFrameType(f"the body of a {frame.command} frame must be bytes, not {type(frame.body).__name__}")
    headers = frame.headers
    length = len(frame.body)
    stated = headers.get("content-length")
    if stated is not None:
        if not isinstance(stated, str):
            raise InvalidFrameType(f"the value of the header 'content-length' must be str, not {type(stated).__name__}")
        if stated != str(length):
            raise InvalidFrame(
                f"the header 'content-length' says {stated!r}, but the body has {length} bytes; "
                "leave it out and it is set for you"
            )
        headers = {name: value for name, value in headers.items() if name != "content-length"}
    head = encode_head(frame.command, headers, version)
    if length and frame.command not in COMMANDS_WITH_BODY:
        raise InvalidFrame(f"a {frame.command} frame must not have a body (STOMP 1.2, Body)")
    if not content_length:
        if b"\0" in frame.body:
            raise InvalidFrame("a body with a NUL byte needs a content-length (STOMP 1.2, Header content-length)")
    elif frame.command in COMMANDS_WITH_BODY:
        return b"%bcontent-length:%d\n\n%b\0" % (head, length, frame.body)
    return b"%b\n%b\0" % (head, frame.body)


def encode_head(command: str, headers: typing.Mapping[str, str], version: str) -> bytes:
    """Return the command line and the header lines of a frame. Raises the exceptions of `encode`."""
    check_version(version)
    if not isinstance(command, str) or command not in COMMANDS:
        raise InvalidFrame(f"{command!r} is not a STOMP command")
    return b"%b\n%b" % (command.encode(), encode_headers(headers, command, version))


def encode_headers(headers: typing.Mapping[str, str], command: str, version: str) -> bytes:
    """Return the header lines of a frame with *command*. Raises the exceptions of `encode`."""
    # The parts are joined, not added: a subclass of str, such as markupsafe's Markup, may change what ``+`` does.
    lines: list[str] = []
    for name, value in headers.items():
        if (
            name in _plain_names
            and type(value) is str
            and value.isprintable()
            and ":" not in value
            and "\\" not in value
        ):
            lines += (name, ":", value, "\n")  # no version escapes any of it; a surrogate is not printable
        else:
            lines += _header_line(name, value, command, version)
    return "".join(lines).encode()


def encode_header(name: str, value: str, command: str, version: str) -> bytes:
    """Return one encoded header line. *command* is the command of the frame. Raises the exceptions of `encode`."""
    if name in _plain_names and type(value) is str and value.isprintable() and ":" not in value and "\\" not in value:
        return f"{name}:{value}\n".encode()
    return "".join(_header_line(name, value, command, version)).encode()


_MOST_NAMES = 1_024
# A cache of header names that need no escape in any version: an application uses few names, again and again.
_plain_names: set[str] = set()
# The characters that a header cannot contain and a version cannot escape.
_FAULTS = {"1.2": {"\0": "a NUL character, which STOMP cannot carry"}}
_FAULTS["1.1"] = {**_FAULTS["1.2"], "\r": "a carriage return, and there is no escape for it"}
_FAULTS["1.0"] = {**_FAULTS["1.1"], "\n": "a line feed, and there are no escapes"}


def _header_line(name: str, value: str, command: str, version: str) -> tuple[str, ...]:
    rules = version if has_escapes(command, version) else "1.0"
    try:
        for text, what in ((name, "name"), (value, "value")):
            if not isinstance(text, str):
                raise InvalidFrameType(f"the {what} of the header {name!r} must be str, not {type(text).__name__}")
            for character, fault in _FAULTS[rules].items():
                if character in text:
                    raise InvalidFrame(f"the {what} of the header {name!r} has {fault}")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InvalidFrame(f"the {what} of the header {name!r} cannot be written as UTF-8") from None
        if not name:
            raise InvalidFrame("a header's name is empty")
        if rules == "1.0" and ":" in name:
            raise InvalidFrame(f"the header name {name!r} has a colon, and there are no escapes")
    except InvalidFrame as error:
        where = "STOMP 1.0" if version == "1.0" and command not in UNESCAPED_COMMANDS else f"a {command} frame"
        raise type(error)(f"{error} (in {where})") from None
    is_plain = type(name) is str and name.isprintable() and ":" not in name and "\\" not in name
    if is_plain and len(name) <= 256 and len(_plain_names) < _MOST_NAMES:
        _plain_names.add(name)
    if rules == "1.0":
        return name, ":", value, "\n"
    return escape(name, rules), ":", escape(value, rules), "\n"
