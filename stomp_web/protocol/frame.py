"""The frame: a command, its headers and a body."""

from __future__ import annotations

import typing

__all__ = ["CLIENT_COMMANDS", "COMMANDS", "COMMANDS_WITH_BODY", "SERVER_COMMANDS", "Frame"]

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


class Frame:
    """One STOMP frame.

    * `command` - one of `COMMANDS`, in upper case.
    * `headers` - a ``dict`` of ``str`` to ``str``, unescaped, in the order of the wire. The frame has a dict
      of its own: the one it was made from is never changed.
    * `body` - ``bytes``.

    Two more say how a frame was received, see `FrameBuffer`; they take no part in equality:

    * `defects` - a tuple of sentences, one for each fault in the content of a frame that was read nevertheless; empty
      for a frame without a fault and for one that was made here.
    * `truncated` - whether a limit of the buffer has cut off headers or a part of the body.

    Nothing is checked here; `encode` checks what it is about to write.

    Two frames are equal when command, body and headers are. ``content-length`` takes no part in that: it
    tells how a body was framed on the wire, and the same message can travel with it or without it.

    >>> Frame("SEND", {"destination": "/queue/a"}, b"hello")
    <Frame SEND {'destination': '/queue/a'} with 5 bytes>
    """

    # `_session`: a receiving client notes there in which session the frame came. `_received`: the values of `defects`
    # and `truncated`, if the frame has a fault. Neither takes part in equality.
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
        """The faults in its content when it was received, a sentence for each."""
        return getattr(self, "_received", _FAULTLESS)[0]

    @property
    def truncated(self) -> bool:
        """Whether a limit of the receiver has cut off headers or a part of the body."""
        return getattr(self, "_received", _FAULTLESS)[1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return (
            self.command == other.command
            and self.body == other.body
            and _without_length(self.headers) == _without_length(other.headers)
        )

    # A frame can be changed, so it has no hash.
    __hash__ = None  # type: ignore[assignment]

    # A copy, shallow or pickled, is made as a new frame is: with a dict of its own.
    def __reduce__(self) -> tuple[object, ...]:
        made = type(self), (self.command, self.headers, self.body)
        return (*made, (None, {"_received": self._received})) if hasattr(self, "_received") else made

    def __repr__(self) -> str:
        # Also of a frame that `encode` will refuse: str() and the test of the type are for those.
        shown = {name: "***" if str(name).lower() in _SECRET else value for name, value in self.headers.items()}
        length = f"{len(self.body)} bytes" if isinstance(self.body, bytes) else f"a {type(self.body).__name__} as body"
        return f"<Frame {self.command} {shown} with {length}>"


def _without_length(headers: dict[str, str]) -> dict[str, str]:
    if "content-length" not in headers:
        return headers
    return {name: value for name, value in headers.items() if name != "content-length"}
