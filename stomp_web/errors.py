"""All exceptions of stomp-web, in one tree that is ordered by what happened to the message.

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
    """The base class of all exceptions that stomp-web raises on purpose."""


class ConfigurationError(StompError, ValueError):
    """An option is unknown, or its value cannot be used.

    `option` is the name that the user wrote, such as ``STOMP_TIMEOUT``. It is ``None`` if no single option is wrong.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class SerializationError(StompError, ValueError):
    """A payload cannot be written as a body, or a body cannot be read as a payload. No message was sent.

    `serializer` is the serializer's name.
    """

    def __init__(self, message: str, serializer: str | None = None) -> None:
        super().__init__(message)
        self.serializer = serializer


class ProtocolError(StompError):
    """The peer sent bytes that are not STOMP. If the caller's frame is at fault, the class is `InvalidFrame`."""


class InvalidFrame(ProtocolError, ValueError):
    """The caller asked for a frame that STOMP cannot carry. No byte of it was written."""


class InvalidFrameType(InvalidFrame, TypeError):
    """A part of a frame has the wrong Python type, for example a header value that is a list."""


class MessageError(StompError):
    """The base class of `NotSent`, `Rejected` and `DeliveryUnknown`, which tell what happened to the message.

    These attributes are ``None`` or empty if their values are not known:

    * `broker` - the broker's address without credentials, such as ``stomp://mq1:61613``.
    * `destination` - the destination of the message.
    * `message_id` - the message's ``x-message-id``, if it had one.
    * `message_ids` - the ``x-message-id`` of each message of a batch, in order.
    * `confirmed` - the positions (from 0) of those messages of a batch that a receipt has confirmed.
    * `frame` - the broker's ERROR frame, if there is one.
    * `not_sent` - after `DeliveryUnknown` or `Rejected`, the positions of the messages of a batch that the broker has
      certainly not accepted. Sending these messages again is safe.
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
    """The broker cannot have accepted the message. Sending it again is safe.

    If a publisher raises `NotSent` itself and not a subclass, the connection ended or the time ran out while the
    message was being written. No broker accepts an incomplete frame. If the message exceeds a limit of the broker,
    sending it again fails again. By default, the library repeats a send only after errors of this class.
    """


class BrokerUnavailable(NotSent):
    """No broker could be reached, or no broker accepted the session.

    `retry_after` is the number of seconds until the next attempt, or ``None`` if the next call tries at once.
    `timed_out` is true if a broker did not answer within the time for connecting.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, timed_out: bool = False, **attributes: typing.Any
    ) -> None:
        super().__init__(message, **attributes)
        self.retry_after = retry_after
        self.timed_out = timed_out


class AuthenticationFailed(NotSent):
    """The broker did not accept login, passcode or virtual host. Trying again does not help."""


class PoolTimeout(NotSent):
    """No client of the pool became free in time, or too many callers were waiting already."""


class PoolClosed(NotSent):
    """The pool is closed."""


class Rejected(MessageError):
    """The broker did not accept this message, and answered with an ERROR frame that refuses the message.

    If an ERROR only announces the end of the connection, the class is `DeliveryUnknown`: the broker may have accepted
    the message. RabbitMQ 3.10 and 4.3 send ``AMQP channel died`` when an administrator closes the connection.
    """

    @property
    def message(self) -> str:
        """The header ``message`` of `frame`, which is the broker's short description, or ``""`` if there is none."""
        return "" if self.frame is None else self.frame.headers.get("message", "")


class DeliveryUnknown(MessageError):
    """Bytes were sent, and no receipt came. The message may or may not have arrived.

    Sending it again can cause a duplicate. So send it with the same ``x-message-id`` (`message_id`), by which the
    receiver recognizes a duplicate. `frame` may be an ERROR frame, which does not tell the outcome of this message.
    """


class ReceiptTimeout(DeliveryUnknown):
    """The broker did not answer before the deadline."""


class ConnectionLost(DeliveryUnknown):
    """The connection ended before the broker's answer came."""
