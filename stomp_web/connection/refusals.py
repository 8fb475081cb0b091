"""Which ERROR frames refuse the frame that they answer, and which only say that something has ended.

`Rejected` tells a caller that the message was not taken, so an ERROR must be the answer to this very frame. Measured:

* RabbitMQ 3.10.8 and 4.3.6 name no frame in any ERROR. When an administrator closes the connections or deletes the
  user, every client gets ``AMQP channel died``, some get ``Processing error`` before it, and the queue has up to all
  messages in flight. ``Processing error`` is also the answer to a header that the broker cannot read.
* ActiveMQ 5.17.2 and 6.3.1 and Artemis 2.40 name a frame that asked for a receipt by its ``receipt-id``, unless they
  could not read it, and (Artemis) unless it is a SUBSCRIBE. When an administrator closes the connections, ActiveMQ
  sends no ERROR and Artemis one that names no frame; the queue has most of the messages in flight.
* Other brokers should name the frame that an ERROR is related to (STOMP 1.2, "ERROR").
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

    That is the frame of its ``receipt-id``; without one, it can be any frame that the broker has not answered.
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
