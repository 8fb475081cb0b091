"""Frames to bytes. A frame that STOMP cannot carry is refused here, before a byte of it exists."""

from __future__ import annotations

import typing

from ..errors import InvalidFrame, InvalidFrameType
from .frame import COMMANDS, COMMANDS_WITH_BODY, Frame
from .versions import UNESCAPED_COMMANDS, check_version, escape

__all__ = ["encode", "encode_head", "encode_headers"]


def encode(frame: Frame, version: str = "1.2", *, content_length: bool = True) -> bytes:
    """Return the bytes of *frame* in the given *version* of STOMP, from the command to the closing NUL.

    A ``content-length`` header is added to the frames that may have a body. With ``content_length=False`` it is
    left out - ActiveMQ then hands the body to a JMS consumer as text - and the body may hold no NUL.

    Raises `InvalidFrame` (`InvalidFrameType` where a Python type is wrong) if STOMP cannot carry the frame:

    * the command is none of `COMMANDS`;
    * a header's name is empty, or a name or value has a character that the version can neither carry nor
      escape: NUL in every version; CR in 1.0 and 1.1; LF, and a colon in a name, in 1.0 and in CONNECT,
      CONNECTED and STOMP frames;
    * ``content-length`` is among the headers and is not the length of the body;
    * the command may not have a body ("All other frames MUST NOT have a body", STOMP 1.2, Body) and has one.
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
    """Return the command line and header lines of a frame, without the blank line that ends them.

    Raises `InvalidFrame` as `encode` does.
    """
    check_version(version)
    if not isinstance(command, str) or command not in COMMANDS:
        raise InvalidFrame(f"{command!r} is not a STOMP command")
    return b"%b\n%b" % (command.encode(), encode_headers(headers, command, version))


def encode_headers(headers: typing.Mapping[str, str], command: str, version: str) -> bytes:
    """Return the header lines of a frame with that *command*, each with its line feed.

    Raises `InvalidFrame` as `encode` does.
    """
    # Joined, and not added: a subclass of str, such as markupsafe's Markup, may add in a way of its own.
    lines: list[str] = []
    for name, value in headers.items():
        if (
            name in _plain_names
            and type(value) is str
            and value.isprintable()
            and ":" not in value
            and "\\" not in value
        ):
            lines += (name, ":", value, "\n")  # no version escapes it, and a surrogate is not printable
        else:
            lines += _header_line(name, value, command, version)
    return "".join(lines).encode()


_MOST_NAMES = 1_024
# Names of headers that were found to need no escape in any version: an application uses the same few again and again.
_plain_names: set[str] = set()


def _header_line(name: str, value: str, command: str, version: str) -> tuple[str, ...]:
    escaped_version = None if command in UNESCAPED_COMMANDS or version == "1.0" else version
    try:
        for text, what in ((name, "name"), (value, "value")):
            _check_text(text, what, name, escaped_version)
        if not name:
            raise InvalidFrame("a header's name is empty")
        if escaped_version is None and ":" in name:
            raise InvalidFrame(f"the header name {name!r} has a colon, and there are no escapes")
    except InvalidFrame as error:
        where = "STOMP 1.0" if version == "1.0" and command not in UNESCAPED_COMMANDS else f"a {command} frame"
        raise type(error)(f"{error} (in {where})") from None
    is_plain = type(name) is str and name.isprintable() and ":" not in name and "\\" not in name
    if is_plain and len(name) <= 256 and len(_plain_names) < _MOST_NAMES:
        _plain_names.add(name)
    if escaped_version is None:
        return name, ":", value, "\n"
    return escape(name, escaped_version), ":", escape(value, escaped_version), "\n"


def _check_text(text: object, what: str, name: object, escaped_version: str | None) -> None:
    if not isinstance(text, str):
        raise InvalidFrameType(f"the {what} of the header {name!r} must be str, not {type(text).__name__}")
    if "\0" in text:
        raise InvalidFrame(f"the {what} of the header {name!r} has a NUL character, which STOMP cannot carry")
    if "\r" in text and escaped_version != "1.2":
        raise InvalidFrame(f"the {what} of the header {name!r} has a carriage return, and there is no escape for it")
    if "\n" in text and escaped_version is None:
        raise InvalidFrame(f"the {what} of the header {name!r} has a line feed, and there are no escapes")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidFrame(f"the {what} of the header {name!r} cannot be written as UTF-8") from None
