"""The class `Frame`, and the commands of STOMP."""

from __future__ import annotations

import typing

from ..errors import ProtocolError

__all__ = ["CLIENT_COMMANDS", "COMMANDS", "COMMANDS_WITH_BODY", "SERVER_COMMANDS", "Frame", "UnreadableFrame"]

#: The commands that a client may send (STOMP 1.2, Augmented BNF).
CLIENT_COMMANDS: typing.Final = frozenset(
    "CONNECT STOMP SEND SUBSCRIBE UNSUBSCRIBE ACK NACK BEGIN COMMIT ABORT DISCONNECT".split()
)
#: The commands that a server may send.
SERVER_COMMANDS: typing.Final = frozenset("CONNECTED MESSAGE RECEIPT ERROR".split())
#: Every command of STOMP 1.0, 1.1 and 1.2.
COMMANDS: typing.Final = CLIENT_COMMANDS | SERVER_COMMANDS
#: "Only the SEND, MESSAGE, and ERROR frames MAY have a body" (STOMP 1.2, Body).
COMMANDS_WITH_BODY: typing.Final = frozenset("SEND MESSAGE ERROR".split())

# Header names whose values `repr` does not show. "passcode" is STOMP's own; applications send the others.
_SECRET = frozenset("passcode password authorization token".split())
_FAULTLESS: tuple[tuple[str, ...], bool] = ((), False)


class UnreadableFrame(ProtocolError):
    """A received frame breaks a rule or exceeds a limit. A tolerant `FrameBuffer` tries to read the frame anyway."""


class Frame:
    """One STOMP frame.

    * `command` - an element of `COMMANDS`, in upper case.
    * `headers` - a ``dict`` of ``str`` to ``str``, without escapes, in order of arrival. The constructor copies
      *headers*.
    * `body` - ``bytes``.

    The constructor checks nothing. `encode` checks each frame that it writes.

    Two frames are equal if command, body and headers are equal. The comparison ignores the ``content-length`` header,
    because the same message can be sent with or without this header.

    >>> Frame("SEND", {"destination": "/queue/a"}, b"hello")
    <Frame SEND {'destination': '/queue/a'} with 5 bytes>
    """

    # `_session`: the session in which a client received the frame. `_received`: the values of `defects` and
    # `truncated`, if the frame has a fault. Equality ignores both.
    __slots__ = ("_received", "_session", "body", "command", "headers")

    command: str
    headers: dict[str, str]
    body: bytes
    _received: tuple[tuple[str, ...], bool]
    _session: object

    def __init__(self, command: str, headers: typing.Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.command = command
        self.headers = dict(headers) if headers else {}
        self.body = body

    @property
    def defects(self) -> tuple[str, ...]:
        """The faults of a received frame, as sentences. The tuple is usually empty. See `FrameBuffer`."""
        return getattr(self, "_received", _FAULTLESS)[0]

    @property
    def truncated(self) -> bool:
        """Whether the `FrameBuffer` has left out headers or a part of the body because of a limit."""
        return getattr(self, "_received", _FAULTLESS)[1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        headers, others = ({**frame.headers, "content-length": None} for frame in (self, other))
        return self.command == other.command and self.body == other.body and headers == others

    __hash__ = None  # type: ignore[assignment]  # not hashable, because a frame can be changed

    def __reduce__(self) -> tuple[object, ...]:
        # `copy` and `pickle` call the constructor, so that the copy has its own dict.
        state = (None, {"_received": self._received}) if hasattr(self, "_received") else None
        return type(self), (self.command, self.headers, self.body), state

    def __repr__(self) -> str:
        # str() and the type check: a frame that `encode` refuses has a repr, too.
        shown = {name: "***" if str(name).lower() in _SECRET else value for name, value in self.headers.items()}
        length = f"{len(self.body)} bytes" if isinstance(self.body, bytes) else f"a {type(self.body).__name__} as body"
        return f"<Frame {self.command} {shown} with {length}>"
