"""What differs between brokers, in one place.

The dialect is chosen from the ``server`` header of CONNECTED, when the session begins.
"""

from __future__ import annotations

import dataclasses
import re
import time
import typing
import urllib.parse

__all__ = ["ACTIVEMQ", "ARTEMIS", "DEVELOPMENT", "DIALECTS", "GENERIC", "RABBITMQ", "Dialect", "choose_dialect"]


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """One broker's habits.

    * `name` - ``rabbitmq``, ``activemq``, ``artemis``, ``development`` or ``generic``.
    * `server` - how the ``server`` header of its CONNECTED begins.
    * `text_without_length` - a body that is text goes without ``content-length``, so that a JMS consumer gets a
      TextMessage (ActiveMQ 5.17: with the header it becomes a BytesMessage).
    * `expiry_header` - the header for time-to-live, and `expiry_is_absolute` whether it is the moment in
      milliseconds since 1970 (JMS) or the milliseconds to live (RabbitMQ).
    * `prefetch_header` - the header of SUBSCRIBE that limits unacknowledged messages, if it counts messages.
    * `nack_requeues` - whether a NACK gives the message back to its queue; `nack_drop_headers` and
      `nack_requeue_headers` are the headers of NACK that ask for the one or the other.
    * `acks_over_all` - an ACK that stands for all messages before it stands for those of the connection's other
      subscriptions, too. (RabbitMQ 3.10: the next ACK of one of them is answered by an ERROR.)
    * `keeps_message_ids` - a message has the same ``message-id`` at each delivery. (RabbitMQ 3.10 gives each delivery
      another one.)
    * `duplicate_header` - the header by which the broker itself drops duplicates, if it can.
    * `receipts_after_commit` - SENDs in a transaction get their receipts after that of COMMIT (RabbitMQ 3.10);
      only those receipts tell that the messages were taken.
    * `quotes_destinations` - a slash in the name of a queue is written ``%2F``.
    * `frame_limit` - the bytes of a body over which it closes the connection, unless another limit is set, as far as
      that is known; and `frame_limit_names`, in words, the settings by which it limits the size of a message.
    * `unnamed_refusals` - the ``message`` headers, as a regular expression, of ERROR frames without ``receipt-id`` that
      refuse the frame that was sent last; ``None``: not known. See `stomp_web.client.refusals`.
    """

    name: str
    server: str = ""
    text_without_length: bool = False
    expiry_header: str = "expires"
    expiry_is_absolute: bool = True
    prefetch_header: str | None = None
    nack_requeues: bool = False
    nack_drop_headers: typing.Mapping[str, str] = dataclasses.field(default_factory=dict)
    nack_requeue_headers: typing.Mapping[str, str] = dataclasses.field(default_factory=dict)
    acks_over_all: bool = False
    keeps_message_ids: bool = True
    duplicate_header: str | None = None
    receipts_after_commit: bool = False
    quotes_destinations: bool = False
    frame_limit: int | None = None
    frame_limit_names: str = ""
    unnamed_refusals: re.Pattern[str] | None = None

    def expiry(self, ttl: float) -> dict[str, str]:
        """The header that lets a message live *ttl* seconds from now."""
        milliseconds = max(round(ttl * 1000), 1)
        if self.expiry_is_absolute:
            milliseconds += round(time.time() * 1000)
        return {self.expiry_header: str(milliseconds)}

    def queue(self, name: str) -> str:
        """The destination of the queue called *name*."""
        return "/queue/" + self.quote(name)

    def topic(self, name: str) -> str:
        """The destination of the topic called *name*."""
        return "/topic/" + self.quote(name)

    def quote(self, name: str) -> str:
        """*name* as it stands in a destination. RabbitMQ 3.10 answers ERROR to ``/queue/a/b``."""
        return urllib.parse.quote(name, safe="!#$&'()*+,-.:;<=>?@[]^_`{|}~ ") if self.quotes_destinations else name


RABBITMQ: typing.Final = Dialect(
    "rabbitmq",
    "RabbitMQ/",
    expiry_header="expiration",
    expiry_is_absolute=False,
    prefetch_header="prefetch-count",
    nack_requeues=True,
    nack_drop_headers={"requeue": "false"},
    nack_requeue_headers={"requeue": "true"},
    acks_over_all=True,
    keeps_message_ids=False,
    receipts_after_commit=True,
    quotes_destinations=True,
    # RabbitMQ 4.3.6 closes the connection without an ERROR for a body over 4 MiB; 3.10.8 has no such limit.
    frame_limit=4_194_304,
    frame_limit_names="RabbitMQ's stomp.max_frame_size, which is 4 MiB in 4.3, and max_message_size",
    # RabbitMQ 3.10.8 and 4.3.6 never send a receipt-id. These are what the STOMP plugin says of a frame that it does
    # not understand, and the channel errors of AMQP 0-9-1 (403 to 406): a channel answers so to what it was asked for.
    unnamed_refusals=re.compile(
        "(?:bad|duplicated|invalid|missing|unknown) |(?:no )?subscription (?:not )?found|"
        "(?:access_refused|not_found|precondition_failed|resource_locked)$",
        re.IGNORECASE,
    ),
)
#: Artemis was not run for this; its rows are from its documentation. Its prefetch counts bytes.
ARTEMIS: typing.Final = Dialect(
    "artemis", "ActiveMQ-Artemis", text_without_length=True, duplicate_header="_AMQ_DUPL_ID"
)
ACTIVEMQ: typing.Final = Dialect(
    "activemq",
    "ActiveMQ/",
    text_without_length=True,
    prefetch_header="activemq.prefetchSize",
    frame_limit=104_857_600,
    frame_limit_names="ActiveMQ's wireFormat.maxFrameSize and maxDataLength, which are 100 MiB unless set",
    # ActiveMQ 5.17.2 names every frame that it could read. These are frames of which it did not read the headers.
    unnamed_refusals=re.compile(r"The maximum [\w ]+ was exceeded", re.IGNORECASE),
)
#: The broker for development that comes with this package.
DEVELOPMENT: typing.Final = Dialect("development", "stomp-web/", prefetch_header="prefetch-count", nack_requeues=True)
#: Of a broker that is not known, nothing is taken for granted.
GENERIC: typing.Final = Dialect("generic", prefetch_header="prefetch-count")

DIALECTS: typing.Final = (RABBITMQ, ARTEMIS, ACTIVEMQ, DEVELOPMENT, GENERIC)


def choose_dialect(server: str | None) -> Dialect:
    """Return the dialect of the broker whose CONNECTED has this ``server`` header, or none."""
    return next(dialect for dialect in DIALECTS if (server or "").startswith(dialect.server))
