"""The message that a handler gets, and the exception by which it rejects one."""

from __future__ import annotations

import dataclasses
import typing

from ..client.message import message_id_of
from ..serializers import deserialize

__all__ = ["Reading", "ReceivedMessage", "Reject", "read_message"]


class Reject(Exception):
    """Raised by a handler: this message cannot be handled, and another try would not change that.

    It becomes a dead letter at once, and is not delivered again.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """How the messages of one handler are read: the arguments of `stomp_web.serializers.deserialize`."""

    accept: tuple[str, ...]
    untyped: str
    sent_to: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as a handler gets it.

    * `payload` - the sender's payload, read by the serializer that the ``content-type`` names.
    * `body` - the bytes as they came. `headers` - those of the MESSAGE frame, unescaped.
    * `destination` - the destination from which it came.
    * `id` - the sender's ``x-message-id``, the same at every delivery; without one, or with an empty
      one, the broker's ``message-id``.
    * `redelivered` - whether it may have been handled before: the broker says so, or this worker has tried already.
    * `failures` - how often it has failed, as far as this worker knows: its own tries, or, if that is more, how often a
      quorum queue of RabbitMQ has delivered it before (``x-delivery-count`` of 3.10, ``x-acquired-count`` of 4.3). The
      queue counts also the deliveries that a worker gave back unhandled when it stopped.
    * `defects` - the defects of the frame in which it came, a sentence for each: replacement characters stand for bytes
      of a header that are not UTF-8, for example. See `stomp_web.protocol.FrameBuffer`.
    """

    payload: typing.Any = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)
    headers: dict[str, str] = dataclasses.field(repr=False)
    destination: str
    id: str
    redelivered: bool
    failures: int
    defects: tuple[str, ...] = ()


def read_message(
    headers: dict[str, str],
    body: bytes,
    *,
    reading: Reading,
    keys: typing.Sequence[str | bytes],
    redelivered: bool,
    failures: int,
    defects: tuple[str, ...] = (),
) -> ReceivedMessage:
    """Return the message with its payload decoded; the body, if nothing is accepted. Raises `SerializationError`."""
    payload = (
        deserialize(body, headers, accept=reading.accept, keys=keys, untyped=reading.untyped, sent_to=reading.sent_to)
        if reading.accept
        else body
    )
    return ReceivedMessage(
        payload,
        body,
        headers,
        headers.get("destination", ""),
        message_id_of(headers) or headers.get("message-id", ""),
        redelivered,
        failures,
        defects,
    )
