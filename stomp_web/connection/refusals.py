"""Which ERROR frames refuse the frame that they answer, and which only say that something has ended.

`Rejected` tells a caller that the message was not taken. So an ERROR counts as a refusal only where the broker gives it
for this very frame. What was measured, with sends in flight:

* RabbitMQ 3.10.8 and 4.3.6 name no frame in any ERROR. When an administrator closes the connections or deletes the
  user, every client gets ``AMQP channel died``, some get ``Processing error`` before it, and of the messages in flight
  up to all are in the queue. ``Processing error`` is also the answer to a header that the broker cannot read, such as
  ``priority:abc``, and cannot be told from that.
* ActiveMQ 5.17.2 and 6.3.1 and Artemis 2.40 name the frame by its ``receipt-id``, if it asked for a receipt, except
  a frame that they could not read, and (Artemis) a SUBSCRIBE. When an administrator closes the connections, ActiveMQ
  sends no ERROR, and Artemis one that names no frame; most of the messages in flight are in the queue then.
* Of other brokers nothing is known. STOMP 1.2 ("ERROR") says that a server should name the frame, where the ERROR is
  related to one.
"""

from __future__ import annotations

import re

from ..protocol import Frame
from .dialect import Dialect

__all__ = ["refuses"]

# Words of ERROR frames that announce an end, or speak of a failure inside of the broker: of brokers that are not known,
# and of ActiveMQ, which names no frame that has asked for no receipt, such as one in a transaction.
_ENDS = re.compile(
    r"\b(?:cancel|channel|clos(?:e|ing)|connection|crash|died|disconnect|down\b|exit(?:ed|ing|s)?\b|fail(?:ed|ing|over|"
    r"s|ure)\b|forced|internal|lost|maintenance|out of memory|overload|processing error|reboot|restart|server error|"
    r"shut|stop|terminat|timed? ?out|unavailable|unexpected)",
    re.IGNORECASE,
)
# What such words may hold that the caller has chosen: names in quotation marks, and destinations.
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|/\S+")
# Exceptions by which ActiveMQ says, to a frame that it names, that the broker itself has failed or ends. The message
# may have reached its store.
_BROKER_FAILED = re.compile(r"\b(?:BrokerStopped|ServiceStopped|TransportDisposedIO|IO)Exception\b")
# A channel error of RabbitMQ (3.8 and later) that no frame has caused: a consumer has not acknowledged in time.
_NO_FRAME = re.compile(r"delivery acknowledgement on channel \d+ timed out")


def refuses(error: Frame, dialect: Dialect) -> bool:
    """Whether *error*, an ERROR, says that the broker did not take the frame that it answers.

    If it has a ``receipt-id``, that names the frame. Otherwise it can be the answer to any frame that the broker has
    not answered; the caller knows which those are.
    """
    message = error.headers.get("message", "").strip()
    first_line = error.body[:1000].decode("utf-8", "replace").partition("\n")[0]
    if _BROKER_FAILED.search(first_line) is not None:
        return False
    if "receipt-id" in error.headers:
        return True
    if dialect.unnamed_refusals is not None:
        return dialect.unnamed_refusals.match(message) is not None and _NO_FRAME.search(first_line) is None
    return _ENDS.search(_NAMES.sub("", message or first_line)) is None
