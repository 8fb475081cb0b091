"""Functions that make the frames of a client, one function for each command.

Each frame has the headers that its STOMP version requires. `encode` raises `InvalidFrame` if a frame
cannot be written in the STOMP version of the connection.
"""

from __future__ import annotations

import typing

from ..errors import InvalidFrame, InvalidFrameType
from .frame import Frame

__all__ = ["abort", "ack", "begin", "commit", "connect", "disconnect", "nack", "send", "subscribe", "unsubscribe"]

Headers = typing.Mapping[str, str]

#: Headers of SEND that only the library sets, from the arguments of a call. If a SEND has a ``message-id``, RabbitMQ
#: 3.10 answers with ERROR.
RESERVED_ON_SEND: typing.Final = frozenset(
    ("content-length", "destination", "message-id", "receipt", "transaction", "subscription")
)
# Headers of any frame that only the library sets. A CONNECT may not have a receipt ("Any client frame other than
# CONNECT MAY specify a receipt header", STOMP 1.2).
_RESERVED = frozenset(("content-length", "receipt"))
_ACK_MODES = ("auto", "client", "client-individual")
# The headers of ACK and NACK that name the message. Each gets its value from the given header of the message.
_ACKNOWLEDGED_BY = {
    "1.0": {"message-id": "message-id"},
    "1.1": {"message-id": "message-id", "subscription": "subscription"},
    "1.2": {"id": "ack"},
}


def connect(
    *,
    accept_version: typing.Sequence[str],
    host: str,
    login: str | None = None,
    passcode: str | None = None,
    heart_beat: tuple[int, int] = (0, 0),
    headers: Headers | None = None,
) -> Frame:
    """Return a CONNECT frame. The newer command STOMP is not used, because servers of version 1.0 know only CONNECT.

    *heart_beat* is ``(sent, wanted)``. The client can send a heart-beat every *sent* milliseconds, and wants to receive
    a heart-beat every *wanted* milliseconds. 0 means no heart-beats.
    """
    frame = Frame("CONNECT", {"accept-version": ",".join(accept_version), "host": host})
    if login is not None:
        frame.headers["login"] = login
    if passcode is not None:
        frame.headers["passcode"] = passcode
    frame.headers["heart-beat"] = f"{heart_beat[0]},{heart_beat[1]}"
    return _with(frame, headers)


def send(destination: str, body: bytes = b"", headers: Headers | None = None) -> Frame:
    """Return a SEND frame. *headers* must not contain a header of `RESERVED_ON_SEND`."""
    return _with(Frame("SEND", {"destination": check_destination(destination)}, body), headers, RESERVED_ON_SEND)


def subscribe(destination: str, id: str, ack: str = "auto", headers: Headers | None = None) -> Frame:
    """Return a SUBSCRIBE frame. *ack* is ``auto``, ``client`` or, except in STOMP 1.0, ``client-individual``."""
    if ack not in _ACK_MODES:
        raise InvalidFrame(f"ack must be one of {', '.join(_ACK_MODES)}, not {ack!r}")
    _check_id(id, "subscription")
    frame = Frame("SUBSCRIBE", {"id": id, "destination": check_destination(destination), "ack": ack})
    return _with(frame, headers)


def unsubscribe(id: str, headers: Headers | None = None) -> Frame:
    """Return an UNSUBSCRIBE frame. Some brokers require more *headers*, such as the name of a durable subscription."""
    _check_id(id, "subscription")
    return _with(Frame("UNSUBSCRIBE", {"id": id}), headers)


def ack(message: Frame, version: str, *, transaction: str | None = None) -> Frame:
    """Return an ACK frame for *message*, a MESSAGE frame. Raises `InvalidFrame` if *message* lacks a needed header.

    STOMP 1.0 needs the header ``message-id`` of *message*. STOMP 1.1 also needs the header ``subscription``. In STOMP
    1.2, the header ``ack`` of *message* becomes the header ``id`` of the ACK.
    """
    return _acknowledgement("ACK", message, version, transaction)


def nack(message: Frame, version: str, *, transaction: str | None = None, headers: Headers | None = None) -> Frame:
    """Return a NACK frame for *message*, like `ack`. Raises `InvalidFrame` in STOMP 1.0, which has no NACK."""
    if version == "1.0":
        raise InvalidFrame("STOMP 1.0 has no NACK; leave the message unacknowledged, or ask for version 1.1 or 1.2")
    return _with(_acknowledgement("NACK", message, version, transaction), headers)


def begin(transaction: str) -> Frame:
    """Return a BEGIN frame for the transaction with the id *transaction*."""
    return Frame("BEGIN", {"transaction": transaction})


def commit(transaction: str) -> Frame:
    """Return a COMMIT frame for the transaction with the id *transaction*."""
    return Frame("COMMIT", {"transaction": transaction})


def abort(transaction: str) -> Frame:
    """Return an ABORT frame for the transaction with the id *transaction*."""
    return Frame("ABORT", {"transaction": transaction})


def disconnect() -> Frame:
    """Return a DISCONNECT frame."""
    return Frame("DISCONNECT")


def _check_id(id: str, of: str) -> None:
    if not isinstance(id, str):
        raise InvalidFrameType(f"the id of a {of} must be str, not {type(id).__name__}")
    if not id:
        raise InvalidFrame(f"the id of a {of} is empty")


def check_destination(destination: str) -> str:
    """Return *destination*. Raises `InvalidFrameType` if *destination* is not a ``str``.

    Raises `InvalidFrame` if *destination* is empty, or contains a line break or a NUL.
    """
    if not isinstance(destination, str):
        raise InvalidFrameType(f"the destination must be str, not {type(destination).__name__}")
    if not destination or destination.isspace():
        raise InvalidFrame("the destination is empty; give one such as '/queue/orders'")
    if any(character in destination for character in "\r\n\0"):
        # An escape would make it safe on this connection, but ActiveMQ 5.17 passes it unescaped to STOMP 1.0.
        raise InvalidFrame("the destination has a line break or a NUL, which STOMP does not allow there")
    return destination


def _acknowledgement(command: str, message: Frame, version: str, transaction: str | None) -> Frame:
    try:
        headers = {name: message.headers[source] for name, source in _ACKNOWLEDGED_BY[version].items()}
    except KeyError as error:
        raise InvalidFrame(
            f"{command} needs the message's {error.args[0]!r} header, and this {message.command} frame has none"
            + (": was it subscribed with ack='client' or 'client-individual'?" if version == "1.2" else "")
        ) from None
    if version == "1.0" and "subscription" in message.headers:
        headers["subscription"] = message.headers["subscription"]
    if transaction is not None:
        headers["transaction"] = transaction
    return Frame(command, headers)


def _with(frame: Frame, headers: Headers | None, reserved: frozenset[str] = _RESERVED) -> Frame:
    """Add *headers* to *frame*, and return *frame*. Raises `InvalidFrame` for a header that the library sets."""
    if not headers:
        return frame
    if not isinstance(headers, typing.Mapping):
        raise InvalidFrameType(f"headers must be a mapping of str to str, not {type(headers).__name__}")
    for name, value in headers.items():
        if name in reserved or name in frame.headers:
            raise InvalidFrame(
                f"the header {name!r} of a {frame.command} frame is set by the library; "
                "use the argument of that name instead, or leave it out"
            )
        frame.headers[name] = value
    return frame
