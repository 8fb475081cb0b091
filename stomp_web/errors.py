"""The exceptions of stomp-web. If a send fails, the class of the exception tells the outcome of the message.

The possible outcomes are `NotSent`, `Rejected` and `DeliveryUnknown`. No exception holds a passcode or a message's
body. Every exception can be pickled, so another process can receive the exception.
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
    """The base class of stomp-web's errors."""


class ConfigurationError(StompError, ValueError):
    """An option is unknown, an option has an unusable value, or a required part, such as a table, is missing.

    `option` is the name in the user's spelling, such as ``STOMP_TIMEOUT``, or ``None`` if the cause is not one
    particular option.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class SerializationError(StompError, ValueError):
    """A serializer cannot turn a payload into a body, or a body into a payload.

    `serializer` is the name of the serializer, or ``None``. If a send raises this exception, no message was sent.
    """

    def __init__(self, message: str, serializer: str | None = None) -> None:
        super().__init__(message)
        self.serializer = serializer


class ProtocolError(StompError):
    """The peer sent bytes that are not STOMP. If the caller's own frame is invalid, the exception is `InvalidFrame`."""


class InvalidFrame(ProtocolError, ValueError):
    """The caller asked for a frame that STOMP cannot carry. No byte of the frame was written."""


class InvalidFrameType(InvalidFrame, TypeError):
    """A part of a frame has the wrong Python type. For example, the value of a header is a list."""


class MessageError(StompError):
    """The base class of `NotSent`, `Rejected` and `DeliveryUnknown`. An attribute without a value is ``None`` or empty.

    * `broker` - the broker's address without credentials, such as ``stomp://mq1:61613``.
    * `destination` - the destination of the message.
    * `message_id` - the ``x-message-id`` of the message.
    * `message_ids` - the ``x-message-id`` of each message of a batch, in order.
    * `confirmed` - the messages that the broker confirmed, as positions in the batch. The first position is 0.
    * `frame` - the broker's ERROR frame.
    * `not_sent` - the messages that the broker has certainly not accepted, as positions in the batch. Only `Rejected`
      and `DeliveryUnknown` set this attribute. Sending these messages again is safe.
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
    """The broker has not accepted the message. Sending the message again is safe.

    A publisher raises `NotSent`, and not a subclass, if the connection ended or the deadline expired during the write.
    The broker does not accept an incomplete frame. If the message exceeds a limit of the broker, the next attempt fails
    too. By default, the library repeats a send only after `NotSent` or a subclass of `NotSent`.
    """


class BrokerUnavailable(NotSent):
    """No broker could be reached, no broker accepted the session, or no byte of the message could be written.

    `retry_after` is the number of seconds until the next attempt to connect. ``None`` means that the next call tries at
    once.
    `timed_out` is true if a broker did not answer within the time for connecting.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, timed_out: bool = False, **attributes: typing.Any
    ) -> None:
        super().__init__(message, **attributes)
        self.retry_after = retry_after
        self.timed_out = timed_out


class AuthenticationFailed(NotSent):
    """The broker did not accept the login, passcode or virtual host. Another try with the same values does not help."""


class PoolTimeout(NotSent):
    """No connection of the pool became free in time, or too many callers were waiting already."""


class PoolClosed(NotSent):
    """The pool is closed."""


class Rejected(MessageError):
    """The broker refused the message with an ERROR frame.

    If an ERROR only announces the end of the connection, the exception is `DeliveryUnknown`: the message may have
    arrived. For example, RabbitMQ 3.10 and 4.3 send ``AMQP channel died`` when an administrator closes the connection.
    """

    @property
    def message(self) -> str:
        """The broker's short description of the error: the ``message`` header of `frame`, or ``""``."""
        return "" if self.frame is None else self.frame.headers.get("message", "")


class DeliveryUnknown(MessageError):
    """The client sent bytes of the message, and got no receipt. The message may or may not have arrived.

    Another attempt can cause a duplicate. Use the same ``x-message-id`` again, so that the receiver recognizes a
    duplicate. `message_id` holds this id. `frame` may be an ERROR frame that does not tell the outcome of the message.
    """


class ReceiptTimeout(DeliveryUnknown):
    """The broker did not answer before the deadline."""


class ConnectionLost(DeliveryUnknown):
    """The connection ended before the broker answered."""
