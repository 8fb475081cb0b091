"""This module decides whether two destinations name the same queue or topic. Brokers rewrite destinations.

RabbitMQ (3.10, 4.3) percent-encodes non-ASCII characters: ``/queue/für`` becomes ``/queue/f%C3%BCr``. On RabbitMQ,
``/queue/x``, ``/amq/queue/x``, ``/reply-queue/x`` and ``x`` are names of one queue. ``/topic/x`` and
``/exchange/amq.topic/x`` are names of one topic. On ActiveMQ Classic (5.17), a message to the topic
``VirtualTopic.X`` also arrives in the queues ``Consumer.*.VirtualTopic.X``. ActiveMQ also accepts a SEND with a list of
destinations, such as ``/queue/a,/topic/b``. The message then arrives in each destination of the list.
"""

from __future__ import annotations

import re

__all__ = ["delivers"]

_ENCODED = re.compile(rb"%(2[Ff]|[89A-Fa-f][0-9A-Fa-f])")


def delivers(sent_to: str, received_from: str) -> bool:
    """Return whether a message that was received from *received_from* may have been sent to *sent_to*.

    The result is true if the destinations name the same queue or topic, or the same exchange and routing key. The
    result is true if *sent_to* is a list, such as ``/queue/a,/topic/b``, that contains *received_from*. The result is
    also true if *received_from* is a consumer's queue of the virtual topic *sent_to*.
    """
    if sent_to == received_from:
        return True
    kind, name = _canonical(received_from)
    origins = {(kind, name)}
    consumer, _, topic = name.partition(b".VirtualTopic.")
    # ActiveMQ's default name is "Consumer.*." and the name of the topic, which begins with "VirtualTopic.".
    if kind == "queue" and topic and consumer.startswith(b"Consumer.") and b"." not in consumer[len(b"Consumer.") :]:
        origins.add(("topic", b"VirtualTopic." + topic))
    # For other brokers, a list is the name of one queue. A member without a kind has the kind of the first member.
    targets = [_canonical(sent_to)]
    if "," in sent_to:
        members = map(str.strip, sent_to.split(","))
        targets += (_canonical(text) if text.startswith("/") else (targets[0][0], _decoded(text)) for text in members)
    return not origins.isdisjoint(targets)


def _canonical(destination: str) -> tuple[str, bytes]:
    """Return the kind of *destination*, such as ``queue`` or ``topic``, and the decoded name."""
    if not destination.startswith("/"):  # for RabbitMQ and ActiveMQ, a bare name is a queue
        return "queue", _decoded(destination)
    kind, _, name = destination[1:].partition("/")
    first, _, rest = name.partition("/")
    if kind == "amq" and first == "queue" and "/" in name:
        kind, name = "queue", rest
    elif kind == "reply-queue":  # used in reply-to: the temporary queue of another session
        kind = "queue"
    elif kind == "exchange" and _decoded(first) == b"amq.topic":  # the exchange behind RabbitMQ's /topic
        kind, name = "topic", rest
    return kind, _decoded(name)


def _decoded(name: str) -> bytes:
    """Return *name* as bytes. Decode the characters that RabbitMQ percent-encodes: slashes and non-ASCII.

    Other percent-escapes stay, because ``%41`` and ``A`` are two queues on RabbitMQ 3.10. The result is bytes, because
    a decoded name may be invalid UTF-8. As text, two different invalid names could become equal.
    """
    return _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), name.encode("utf-8", "surrogatepass"))
