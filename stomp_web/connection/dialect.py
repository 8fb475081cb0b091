"""What differs between brokers, in one place."""

from __future__ import annotations

import dataclasses
import re
import time
import typing
import urllib.parse

from ..protocol import Frame

__all__ = [
    "ACTIVEMQ",
    "ARTEMIS",
    "DEVELOPMENT",
    "DIALECTS",
    "GENERIC",
    "RABBITMQ",
    "Dialect",
    "choose_dialect",
    "refuses",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """One broker's habits.

    * `name` - ``rabbitmq``, ``activemq``, ``artemis``, ``development`` or ``generic``.
    * `server` - how the ``server`` header of its CONNECTED begins.
    * `text_without_length` - a body that is text goes without ``content-length``, so that a JMS consumer gets a
      TextMessage (ActiveMQ 5.17: with the header it becomes a BytesMessage).
    * `expiry_header` - the header for time-to-live; `expiry_is_absolute` - it is the moment in milliseconds since 1970
      (JMS), and not the milliseconds to live (RabbitMQ).
    * `prefetch_header` - the header of SUBSCRIBE that limits what may be unacknowledged; `prefetch_bytes` - how many
      bytes it counts for a message; 0: it counts messages.
    * `nack_requeues` - a NACK gives the message back to its queue; `nack_requeue_headers` - its headers that ask so.
    * `acks_over_all` - an ACK for all messages before it counts for those of the connection's other subscriptions, too.
      (RabbitMQ 3.10: the next ACK of one of them is answered by an ERROR.)
    * `keeps_message_ids` - a message has the same ``message-id`` at each delivery. (RabbitMQ 3.10: always another.)
    * `duplicate_header` - the header by which the broker drops what is sent twice (Artemis 2.40: after confirming it).
      Only a send that may be repeated has it, with an id of its own: a dead letter that is sent back is not dropped.
    * `acks_in_transactions` - an ACK or NACK with a ``transaction`` waits for its COMMIT.
    * `destination_types` - by the beginning of a destination, its kind, which a header of SEND and of SUBSCRIBE names.
    * `receipts_after_commit` - SENDs in a transaction get their receipts after that of COMMIT (RabbitMQ 3.10), and only
      those tell that the messages were taken.
    * `quotes_destinations` - a slash in the name of a queue is written ``%2F``.
    * `frame_limit` - the bytes of a body over which it closes the connection, unless another limit is set;
      `frame_limit_names` - in words, the settings by which it limits the size of a message.
    * `ends_after_refusal` - in STOMP 1.2, after an ERROR that names the frame it refuses, it closes the connection and
      takes no frame behind that one, as the specification ("ERROR") says. RabbitMQ and ActiveMQ go on.
    * `unnamed_refusals` - the ``message`` headers of ERROR frames without ``receipt-id`` that refuse the frame that was
      sent last; ``None``: all but those that speak of an end. See `refuses`.
    """

    name: str
    server: str = ""
    text_without_length: bool = False
    expiry_header: str = "expires"
    expiry_is_absolute: bool = True
    prefetch_header: str | None = None
    prefetch_bytes: int = 0
    nack_requeues: bool = False
    nack_requeue_headers: typing.Mapping[str, str] = dataclasses.field(default_factory=dict)
    acks_over_all: bool = False
    keeps_message_ids: bool = True
    duplicate_header: str | None = None
    acks_in_transactions: bool = True
    destination_types: typing.Mapping[str, str] = dataclasses.field(default_factory=dict)
    receipts_after_commit: bool = False
    quotes_destinations: bool = False
    frame_limit: int | None = None
    frame_limit_names: str = ""
    ends_after_refusal: bool = False
    unnamed_refusals: re.Pattern[str] | None = None

    def expiry_of(self, ttl: float) -> str:
        """The value of `expiry_header` that lets a message live *ttl* seconds from now."""
        milliseconds = max(round(ttl * 1000), 1)
        if self.expiry_is_absolute:
            milliseconds += round(time.time() * 1000)
        return str(milliseconds)

    def prefetch(self, count: int) -> dict[str, str]:
        """The headers of SUBSCRIBE that let *count* messages be unacknowledged, as nearly as the broker can.

        Where it counts bytes, 1 is still exact: Artemis 2.40 takes a window of 0 for "one after the other".
        """
        if self.prefetch_header is None:
            return {}
        if self.prefetch_bytes:
            count = count * self.prefetch_bytes if count > 1 else 0
        return {self.prefetch_header: str(count)}

    def sent_type(self, destination: str, header: str = "destination-type") -> tuple[str, str] | None:
        """The *header* and value of a SEND to *destination* that says what kind it is; ``None``: not needed."""
        kinds = self.destination_types.items()
        return next(((header, kind) for start, kind in kinds if destination.startswith(start)), None)

    def subscribed_type(self, destination: str) -> tuple[str, str] | None:
        """The same for SUBSCRIBE."""
        return self.sent_type(destination, "subscription-type")

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
    nack_requeue_headers={"requeue": "true"},
    acks_over_all=True,
    keeps_message_ids=False,
    receipts_after_commit=True,
    quotes_destinations=True,
    # RabbitMQ 4.3.6 closes the connection without an ERROR for a body over 4 MiB; 3.10.8 has no such limit.
    frame_limit=4_194_304,
    frame_limit_names="RabbitMQ's stomp.max_frame_size, which is 4 MiB in 4.3, and max_message_size",
    # What the STOMP plugin of 3.10.8 and 4.3.6 says of a frame that it does not understand, and the channel errors of
    # AMQP 0-9-1 (403 to 406), by which a channel answers what it was asked for.
    unnamed_refusals=re.compile(
        "(?:bad|duplicated|invalid|missing|unknown) |(?:no )?subscription (?:not )?found|"
        "(?:access_refused|not_found|precondition_failed|resource_locked)$",
        re.IGNORECASE,
    ),
)
#: Artemis 2.40. It sends no ``server`` header over STOMP 1.0, and is then not known.
ARTEMIS: typing.Final = Dialect(
    "artemis",
    "ActiveMQ-Artemis",
    text_without_length=True,
    # Its own default is 10 KiB for all messages together, so that of large ones each waits for the one before.
    prefetch_header="consumer-window-size",
    prefetch_bytes=10_240,
    duplicate_header="_AMQ_DUPL_ID",
    # "stomp acknowledge in transactions is not supported", says its log, and the ACK counts at once.
    acks_in_transactions=False,
    ends_after_refusal=True,
    # As `artemis create` configures it, ``/queue/a`` is MULTICAST, a topic: without a subscription, what is sent is
    # confirmed and dropped. Where the acceptor has prefixes they say the same as these.
    destination_types={"/queue/": "ANYCAST", "/topic/": "MULTICAST"},
    # Its words for a SEND, a COMMIT and a SUBSCRIBE. An ERROR that announces the end of the connection has others, as
    # "AMQ229108: connections for user guest closed by management" or "AMQ229014: Did not receive data ... within the
    # 60000ms connection TTL"; most of the messages in flight were taken then.
    unnamed_refusals=re.compile(
        "AMQ3390(?:01|11|13|16|31|41) |Invalid selector |Selector cannot |There already is a subscription for"
    ),
)
ACTIVEMQ: typing.Final = Dialect(
    "activemq",
    "ActiveMQ/",
    text_without_length=True,
    prefetch_header="activemq.prefetchSize",
    frame_limit=104_857_600,
    frame_limit_names="ActiveMQ's wireFormat.maxFrameSize and maxDataLength, which are 100 MiB unless set",
)
#: The broker for development that comes with this package.
DEVELOPMENT: typing.Final = Dialect(
    "development", "stomp-web/", prefetch_header="prefetch-count", nack_requeues=True, ends_after_refusal=True
)
#: Of a broker that is not known, nothing is taken for granted.
GENERIC: typing.Final = Dialect("generic", prefetch_header="prefetch-count")

DIALECTS: typing.Final = (RABBITMQ, ARTEMIS, ACTIVEMQ, DEVELOPMENT, GENERIC)


def choose_dialect(server: str | None) -> Dialect:
    """Return the dialect of the broker whose CONNECTED has this ``server`` header, or none."""
    return next(dialect for dialect in DIALECTS if (server or "").startswith(dialect.server))


# Which ERROR frames refuse the frame that they answer, and which only say that something has ended. Measured:
#
# * RabbitMQ 3.10.8 and 4.3.6 name no frame in any ERROR. When an administrator closes the connections or deletes the
#   user, every client gets ``AMQP channel died``, some get ``Processing error`` before it, and the queue has up to all
#   messages in flight. ``Processing error`` is also the answer to a header that the broker cannot read.
# * ActiveMQ 5.17.2 and 6.3.1 and Artemis 2.40 name a frame that asked for a receipt by its ``receipt-id``, unless they
#   could not read it, and (Artemis) unless it is a SUBSCRIBE. When an administrator closes the connections, ActiveMQ
#   sends no ERROR and Artemis one that names no frame; the queue has most of the messages in flight.
# * Other brokers should name the frame that an ERROR is related to (STOMP 1.2, "ERROR").

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
