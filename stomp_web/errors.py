"""Every exception of stomp-web: one tree, ordered by what happened to the message.

`NotSent`, `Rejected` and `DeliveryUnknown` are the three possible outcomes. No exception holds a passcode or a body.
Exceptions can be pickled, so that other processes can receive them.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from .protocol.frame import Frame

__all__ = [
    "AuthenticationFailed",
    "BrokerUnavailable",
    "ConfigurationError",
    "ConnectionLost",
    "DeliveryUnknown",
    "InvalidFrame",
    "InvalidFrameType",
    "MessageError",
    "NotSent",
    "PoolClosed",
    "PoolTimeout",
    "ProtocolError",
    "ReceiptTimeout",
    "Rejected",
    "SerializationError",
    "StompError",
]


class StompError(Exception):
    """The root of every exception that stomp-web raises on purpose."""


class ConfigurationError(StompError, ValueError):
    """An option is unknown, or its value cannot be used.

    `option` is its name as the user wrote it, such as ``STOMP_TIMEOUT``; ``None`` if no single option is at fault.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class SerializationError(StompError, ValueError):
    """A payload cannot be turned into a body, or a body into a payload. No message was sent.

    `serializer` is the serializer's name.
    """

    def __init__(self, message: str, serializer: str | None = None) -> None:
        super().__init__(message)
        self.serializer = serializer


class ProtocolError(StompError):
    """The peer sent bytes that are not STOMP, or (`InvalidFrame`) the caller's frame violates the specification."""


class InvalidFrame(ProtocolError, ValueError):
    """The caller asked for a frame that STOMP cannot carry. No byte of it was written."""


class InvalidFrameType(InvalidFrame, TypeError):
    """A part of a frame has the wrong Python type, for example a header value that is a list."""


class MessageError(StompError):
    """The root of the three answers to "what happened to the message?".

    Attributes, each ``None`` where it is not known:

    * `broker` - the address that was tried, without credentials, such as ``stomp://mq1:61613``.
    * `destination` - the destination of the message.
    * `message_id` - the message's ``x-message-id``, if it had one.
    * `message_ids` - of a batch, the ``x-message-id`` of each message, in order.
    * `confirmed` - of a batch, the positions (from 0) of the messages whose receipt had come.
    * `frame` - the broker's ERROR frame, if it answered with one.
    * `not_sent` - of a batch that is `DeliveryUnknown` or `Rejected`, the positions of the messages that the broker has
      certainly not taken. Sending those again is safe.
    """

    message_ids: tuple[str | None, ...] = ()
    not_sent: tuple[int, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        broker: str | None = None,
        destination: str | None = None,
        message_id: str | None = None,
        confirmed: tuple[int, ...] = (),
        frame: Frame | None = None,
    ) -> None:
        super().__init__(message)
        self.broker = broker
        self.destination = destination
        self.message_id = message_id
        self.confirmed = confirmed
        self.frame = frame


class NotSent(MessageError):
    """No part of the message can have been processed. Sending it again is safe.

    If the class is `NotSent` itself, the connection ended while the message was being written; no broker accepts an
    incomplete frame. If the reason is a limit on the size of messages, retrying fails again. The library retries only
    after errors of this class, unless the caller asks for more.
    """


class BrokerUnavailable(NotSent):
    """No broker could be reached, or none accepted the session.

    `retry_after` is the time in seconds until the next attempt is made; ``None``: the next call tries at once.
    `timed_out` tells whether a broker did not answer within the time for connecting.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, timed_out: bool = False, **attributes: typing.Any
    ) -> None:
        super().__init__(message, **attributes)
        self.retry_after = retry_after
        self.timed_out = timed_out


class AuthenticationFailed(NotSent):
    """The broker did not accept login, passcode or virtual host. Trying again will not help."""


class PoolTimeout(NotSent):
    """No client of the pool became free in time, or too many callers were waiting already."""


class PoolClosed(NotSent):
    """The pool is closed."""


class Rejected(MessageError):
    """The broker did not accept this message: it answered with an ERROR frame that refuses it.

    After an ERROR that only announces the end of the connection, `DeliveryUnknown` is raised instead. (RabbitMQ 3.10
    and 4.3 send ``AMQP channel died`` when an administrator closes the connection; they may have accepted the message.)
    """

    @property
    def message(self) -> str:
        """The broker's short description, the header ``message`` of `frame`; ``""`` if it sent none."""
        return "" if self.frame is None else self.frame.headers.get("message", "")


class DeliveryUnknown(MessageError):
    """Bytes were sent, and no receipt came. The message may or may not have arrived.

    Sending it again can make a duplicate; send it with the same ``x-message-id`` (`message_id`), so that the receiver
    recognizes it. `frame` is an ERROR frame that came, if any; it does not tell the outcome of this message.
    """


class ReceiptTimeout(DeliveryUnknown):
    """The broker did not answer before the deadline."""


class ConnectionLost(DeliveryUnknown):
    """The connection ended before the broker's answer came."""
