"""A publisher uses these checks to refuse messages that would be lost, or that would lose their answers.

A broker would confirm these messages, so the sender would not notice the loss:

* A temporary destination belongs to the connection that sends the message, but a publisher's connection receives
  nothing. RabbitMQ 3.10, RabbitMQ 4.3 and ActiveMQ 5.17 confirm a SEND with ``reply-to:/temp-queue/a``. ActiveMQ also
  confirms a SEND to ``/temp-queue/a``. To answer a request, a publisher may send to ``/reply-queue/...`` in RabbitMQ
  and to ``/remote-temp-queue/...`` in ActiveMQ.
* An empty ``x-message-id`` is no id. Receivers that drop duplicates treat all messages with an empty id as one message.
"""

from __future__ import annotations

import typing

from ..errors import InvalidFrame
from .printable import short_repr

__all__ = ["check_destination", "check_headers"]

_TEMPORARY = ("/temp-queue/", "/temp-topic/")
_DIRECT_REPLY = "amq.rabbitmq.reply-to"  # RabbitMQ's pseudo-queue for answers to the channel that sends


def check_headers(headers: typing.Mapping[str, str]) -> None:
    """Raise `InvalidFrame` if *headers* have an empty ``x-message-id`` or a temporary destination as ``reply-to``.

    A broker would confirm such a message. But a receiver could drop a message with an empty id as a duplicate. An
    answer to a temporary destination would be lost, because a publisher's connection receives nothing.
    """
    message_id = headers.get("x-message-id")
    if isinstance(message_id, str) and not message_id.strip():
        raise InvalidFrame(
            "x-message-id must not be empty: receivers would treat all such messages as one; without it, the publisher "
            "gives the message an id. Nothing was sent"
        )
    reply_to = headers.get("reply-to")
    if reply_to is not None and _is_temporary(reply_to):
        raise InvalidFrame(
            f"reply-to {short_repr(reply_to)} belongs to the connection that sends the message, and a publisher's "
            "connections receive nothing: the answer would be lost. Send the request with a QueueingDuplexClient, "
            "which receives the answer, or name a queue that another client reads, such as /queue/answers. "
            "Nothing was sent"
        )


def check_destination(destination: str) -> None:
    """Raise `InvalidFrame` if a message to *destination* would be confirmed and then lost."""
    if _is_temporary(destination):
        raise InvalidFrame(
            f"{short_repr(destination)} belongs to the connection that sends the message, and a publisher's "
            "connections receive nothing: the message would be lost. To answer a request, send to the reply-to of its "
            "MESSAGE. Nothing was sent"
        )


def _is_temporary(destination: object) -> bool:
    return isinstance(destination, str) and (
        destination.startswith(_TEMPORARY) or destination.rpartition("/")[2] == _DIRECT_REPLY
    )
