"""Whether a message that was sent to one destination may come from another: brokers write destinations anew.

RabbitMQ (3.10, 4.3) percent-encodes what is not ASCII (``/queue/für`` comes as ``/queue/f%C3%BCr``) and has several
forms for one destination (``/queue/x``, ``/amq/queue/x``, ``/reply-queue/x`` and ``x``, ``/topic/x`` and
``/exchange/amq.topic/x``).
ActiveMQ Classic (5.17) delivers the messages of the topic ``VirtualTopic.X`` from queues ``Consumer.*.VirtualTopic.X``,
and those for a list of destinations from each of them.
"""

from __future__ import annotations

import re
import typing

__all__ = ["canonical", "delivers"]

Canonical = tuple[str, bytes]

_ENCODED = re.compile(rb"%(2[Ff]|[89A-Fa-f][0-9A-Fa-f])")


def delivers(sent_to: str, received_from: str) -> bool:
    """Whether a broker delivers a message that was sent to *sent_to* from *received_from*.

    That is: both are the same queue, topic or exchange and routing key; or *sent_to* is one of ActiveMQ's lists
    (``/queue/a,/topic/b``) and *received_from* a member of it; or *received_from* is a consumer's queue of ActiveMQ's
    virtual topic *sent_to*.
    """
    if sent_to == received_from:
        return True
    source = canonical(received_from)
    origins = {source}
    kind, name = source
    consumer, _, topic = name.partition(b".VirtualTopic.")
    # The names that ActiveMQ has by default: "Consumer.*." before the topic's, which begins with "VirtualTopic.".
    if kind == "queue" and topic and consumer.startswith(b"Consumer.") and b"." not in consumer[len(b"Consumer.") :]:
        origins.add(("topic", b"VirtualTopic." + topic))
    return any(target in origins for target in _targets(sent_to))


def canonical(destination: str) -> Canonical:
    """Return what *destination* names: its kind (``queue``, ``topic``, ``exchange`` ...), and its decoded name."""
    if not destination.startswith("/"):  # RabbitMQ and ActiveMQ take a bare name for a queue
        return "queue", _decoded(destination)
    kind, _, name = destination[1:].partition("/")
    if kind == "amq" and name.startswith("queue/"):
        return "queue", _decoded(name.removeprefix("queue/"))
    if kind == "reply-queue":  # what a reply-to names: the temporary queue of another session
        return "queue", _decoded(name)
    if kind == "exchange":
        exchange, _, key = name.partition("/")
        if _decoded(exchange) == b"amq.topic":  # behind RabbitMQ's /topic
            return "topic", _decoded(key)
    return kind, _decoded(name)


def _targets(destination: str) -> typing.Iterator[Canonical]:
    """Return what *destination* names: one thing, or each member of a list, whose kind is the first member's.

    The list itself is among them, as it is the name of one queue elsewhere.
    """
    first = canonical(destination)
    yield first
    if "," not in destination:
        return
    for member in destination.split(","):
        text = member.strip()
        yield canonical(text) if text.startswith("/") else (first[0], _decoded(text))


def _decoded(name: str) -> bytes:
    """The bytes of a name, with what RabbitMQ encodes decoded: slashes, and what is not ASCII.

    Nothing else is: on RabbitMQ 3.10 the queue ``%41`` is another one than ``A``. Bytes, because two names that are not
    UTF-8 must not become one.
    """
    return _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), name.encode("utf-8", "surrogatepass"))
