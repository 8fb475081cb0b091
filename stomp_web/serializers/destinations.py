"""Whether a message that was sent to one destination may come from another, because brokers rewrite destinations.

RabbitMQ (3.10, 4.3) percent-encodes characters beyond ASCII (``/queue/für`` comes as ``/queue/f%C3%BCr``), and has
several names for one destination (``/queue/x``, ``/amq/queue/x``, ``/reply-queue/x`` and ``x`` are one; ``/topic/x``
and ``/exchange/amq.topic/x`` are one). ActiveMQ Classic (5.17) delivers the messages of the topic ``VirtualTopic.X``
from queues ``Consumer.*.VirtualTopic.X``, and messages for a list of destinations from each of its members.
"""

from __future__ import annotations

import re

__all__ = ["delivers"]

_ENCODED = re.compile(rb"%(2[Ff]|[89A-Fa-f][0-9A-Fa-f])")


def delivers(sent_to: str, received_from: str) -> bool:
    """Whether a broker delivers a message that was sent to *sent_to* from *received_from*.

    True if both name the same queue, topic, or exchange and routing key; if *received_from* is a member of the list
    *sent_to* (``/queue/a,/topic/b``); or if it is a consumer's queue of the virtual topic *sent_to*.
    """
    if sent_to == received_from:
        return True
    kind, name = _canonical(received_from)
    origins = {(kind, name)}
    consumer, _, topic = name.partition(b".VirtualTopic.")
    # ActiveMQ's default names: "Consumer.*." before the name of the topic, which begins with "VirtualTopic.".
    if kind == "queue" and topic and consumer.startswith(b"Consumer.") and b"." not in consumer[len(b"Consumer.") :]:
        origins.add(("topic", b"VirtualTopic." + topic))
    # To other brokers, a list is the name of one queue. Members without a kind have the kind of the first member.
    targets = [_canonical(sent_to)]
    if "," in sent_to:
        members = map(str.strip, sent_to.split(","))
        targets += (_canonical(text) if text.startswith("/") else (targets[0][0], _decoded(text)) for text in members)
    return not origins.isdisjoint(targets)


def _canonical(destination: str) -> tuple[str, bytes]:
    """Return the kind of *destination* (``queue``, ``topic``, ``exchange`` ...), and its decoded name."""
    if not destination.startswith("/"):  # RabbitMQ and ActiveMQ take a bare name for a queue
        return "queue", _decoded(destination)
    kind, _, name = destination[1:].partition("/")
    first, _, rest = name.partition("/")
    if kind == "amq" and first == "queue" and "/" in name:
        kind, name = "queue", rest
    elif kind == "reply-queue":  # stands in a reply-to, for the temporary queue of another session
        kind = "queue"
    elif kind == "exchange" and _decoded(first) == b"amq.topic":  # the exchange behind RabbitMQ's /topic
        kind, name = "topic", rest
    return kind, _decoded(name)


def _decoded(name: str) -> bytes:
    """Return the bytes of a name. Decode only characters that RabbitMQ encodes: slashes, and those outside ASCII.

    On RabbitMQ 3.10, ``%41`` and ``A`` are two queues. Bytes are returned so that names that are not UTF-8 stay
    different from each other.
    """
    return _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), name.encode("utf-8", "surrogatepass"))
