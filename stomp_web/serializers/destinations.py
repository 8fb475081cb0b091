"""Whether a message that was sent to one destination may come from another, as brokers rewrite destinations.

RabbitMQ (3.10, 4.3) percent-encodes characters beyond ASCII (``/queue/für`` comes as ``/queue/f%C3%BCr``), and has
several forms for one destination (``/queue/x``, ``/amq/queue/x``, ``/reply-queue/x`` and ``x``, ``/topic/x`` and
``/exchange/amq.topic/x``). ActiveMQ Classic (5.17) delivers the messages of the topic ``VirtualTopic.X`` from queues
``Consumer.*.VirtualTopic.X``, and the messages for a list of destinations from each of them.
"""

from __future__ import annotations

import re
import typing

__all__ = ["canonical", "delivers"]

Canonical = tuple[str, bytes]

_ENCODED = re.compile(rb"%(2[Ff]|[89A-Fa-f][0-9A-Fa-f])")


def delivers(sent_to: str, received_from: str) -> bool:
    """Whether a broker delivers a message that was sent to *sent_to* from *received_from*.

    It does if both name the same queue, topic, or exchange and routing key; if *sent_to* is a list of ActiveMQ
    (``/queue/a,/topic/b``) and *received_from* a member of it; or if *received_from* is a consumer's queue of the
    virtual topic *sent_to* (ActiveMQ).
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
    """Return the kind of *destination* (``queue``, ``topic``, ``exchange`` ...), and its decoded name."""
    if not destination.startswith("/"):  # RabbitMQ and ActiveMQ take a bare name for a queue
        return "queue", _decoded(destination)
    kind, _, name = destination[1:].partition("/")
    if kind == "amq" and name.startswith("queue/"):
        return "queue", _decoded(name.removeprefix("queue/"))
    if kind == "reply-queue":  # in a reply-to: the temporary queue of another session
        return "queue", _decoded(name)
    if kind == "exchange":
        exchange, _, key = name.partition("/")
        if _decoded(exchange) == b"amq.topic":  # behind RabbitMQ's /topic
            return "topic", _decoded(key)
    return kind, _decoded(name)


def _targets(destination: str) -> typing.Iterator[Canonical]:
    """The targets of *destination*: itself, and each member of a list. The first member tells the kind of the others.

    The list itself is among them, because it is the name of one queue for other brokers.
    """
    first = canonical(destination)
    yield first
    if "," not in destination:
        return
    for member in destination.split(","):
        text = member.strip()
        yield canonical(text) if text.startswith("/") else (first[0], _decoded(text))


def _decoded(name: str) -> bytes:
    """The bytes of a name, with the characters decoded that RabbitMQ encodes: slashes, and all that are not ASCII.

    On RabbitMQ 3.10 the queue ``%41`` is another one than ``A``. In bytes, two names that are not UTF-8 stay different.
    """
    return _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), name.encode("utf-8", "surrogatepass"))
