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
    * `text_without_length` - a body that is text is sent without ``content-length``, so that a JMS consumer gets a
      TextMessage (ActiveMQ 5.17: with that header the message becomes a BytesMessage).
    * `expiry_header` - the header for time-to-live; `expiry_is_absolute` - its value is a moment in milliseconds since
      1970 (JMS), and not the milliseconds to live (RabbitMQ).
    * `prefetch_header` - the header of SUBSCRIBE that limits the unacknowledged messages; `prefetch_bytes` - how many
      bytes count as one message there; 0: the header counts messages.
    * `nack_requeues` - a NACK returns the message to its queue; `nack_requeue_headers` - headers that ask for that.
    * `acks_over_all` - a cumulative ACK also counts for the messages of the connection's other subscriptions. (RabbitMQ
      3.10 answers ERROR to the next ACK for one of those messages.)
    * `keeps_message_ids` - a message has the same ``message-id`` at each delivery. (RabbitMQ 3.10: always a new one.)
    * `duplicate_header` - the header by which the broker drops a message that is sent twice (Artemis 2.40: and confirms
      it). Only a send that may be repeated has it, with a new id: a dead letter that is sent back is not dropped.
    * `acks_in_transactions` - an ACK or NACK with a ``transaction`` takes effect at the COMMIT.
    * `destination_types` - maps the beginning of a destination to its kind, which SEND and SUBSCRIBE name in a header.
    * `receipts_after_commit` - the receipts of SENDs in a transaction come after the receipt of COMMIT (RabbitMQ 3.10),
      and only they tell that the messages were taken.
    * `quotes_destinations` - a slash in the name of a queue is written ``%2F``.
    * `frame_limit` - the size of a body in bytes over which the broker closes the connection, unless another limit is
      set; `frame_limit_names` - in words, the settings by which the broker limits the size of a message.
    * `ends_after_refusal` - in STOMP 1.2, after an ERROR that names the refused frame, the broker closes the connection
      and takes no frame after the refused one, as the specification ("ERROR") says. RabbitMQ and ActiveMQ go on.
    * `unnamed_refusals` - the ``message`` headers of ERROR frames without ``receipt-id`` that refuse the frame that was
      sent last; ``None``: all except those that announce an end. See `refuses`.
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
        """The headers of SUBSCRIBE that allow *count* unacknowledged messages, as nearly as the broker can.

        For a broker that counts bytes, 1 is still exact: to Artemis 2.40 a window of 0 means "one after the other".
        """
        if self.prefetch_header is None:
            return {}
        if self.prefetch_bytes:
            count = count * self.prefetch_bytes if count > 1 else 0
        return {self.prefetch_header: str(count)}

    def sent_type(self, destination: str, header: str = "destination-type") -> tuple[str, str] | None:
        """The *header* of a SEND, and its value, that name the kind of *destination*; ``None``: not needed."""
        kinds = self.destination_types.items()
        return next(((header, kind) for start, kind in kinds if destination.startswith(start)), None)

    def subscribed_type(self, destination: str) -> tuple[str, str] | None:
        """The header of SUBSCRIBE, and its value, that name the kind of *destination*; ``None``: not needed."""
        return self.sent_type(destination, "subscription-type")

    def queue(self, name: str) -> str:
        """The destination of the queue called *name*."""
        return "/queue/" + self.quote(name)

    def topic(self, name: str) -> str:
        """The destination of the topic called *name*."""
        return "/topic/" + self.quote(name)

    def quote(self, name: str) -> str:
        """*name* as it is written in a destination. RabbitMQ 3.10 answers ERROR to ``/queue/a/b``."""
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
    # The words of the STOMP plugin of 3.10.8 and 4.3.6 for a frame that it does not understand, and the channel errors
    # of AMQP 0-9-1 (403 to 406), by which a channel refuses a request.
    unnamed_refusals=re.compile(
        "(?:bad|duplicated|invalid|missing|unknown) |(?:no )?subscription (?:not )?found|"
        "(?:access_refused|not_found|precondition_failed|resource_locked)$",
        re.IGNORECASE,
    ),
)
#: Artemis 2.40. Over STOMP 1.0 it sends no ``server`` header, and is then not recognized.
ARTEMIS: typing.Final = Dialect(
    "artemis",
    "ActiveMQ-Artemis",
    text_without_length=True,
    # Its own default is 10 KiB for all messages together, so that each large message waits for the one before.
    prefetch_header="consumer-window-size",
    prefetch_bytes=10_240,
    duplicate_header="_AMQ_DUPL_ID",
    # "stomp acknowledge in transactions is not supported", says its log, and the ACK counts at once.
    acks_in_transactions=False,
    ends_after_refusal=True,
    # As `artemis create` configures it, ``/queue/a`` is MULTICAST, a topic: without a subscription, a message is
    # confirmed and dropped. If the acceptor has prefixes, they say the same as these types.
    destination_types={"/queue/": "ANYCAST", "/topic/": "MULTICAST"},
    # Its words for a SEND, a COMMIT and a SUBSCRIBE. An ERROR that announces the end of the connection has other words,
    # such as "AMQ229108: connections for user guest closed by management" or "AMQ229014: Did not receive data ...
    # within the 60000ms connection TTL"; most of the messages in flight were taken then.
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
#: For an unknown broker, nothing is taken for granted.
GENERIC: typing.Final = Dialect("generic", prefetch_header="prefetch-count")

DIALECTS: typing.Final = (RABBITMQ, ARTEMIS, ACTIVEMQ, DEVELOPMENT, GENERIC)


def choose_dialect(server: str | None) -> Dialect:
    """Return the dialect of the broker whose CONNECTED has this ``server`` header; ``None``: no such header."""
    return next(dialect for dialect in DIALECTS if (server or "").startswith(dialect.server))


# Which ERROR frames refuse the frame that they answer, and which only announce an end. Measured:
#
# * RabbitMQ 3.10.8 and 4.3.6 name no frame in any ERROR. When an administrator closes the connections or deletes the
#   user, every client gets ``AMQP channel died``, some get ``Processing error`` before it, and the queue has taken up
#   to all of the messages in flight. ``Processing error`` is also the answer to a header that the broker cannot read.
# * ActiveMQ 5.17.2 and 6.3.1 and Artemis 2.40 name a frame that asked for a receipt by its ``receipt-id``, unless they
#   could not read the frame, and (Artemis) unless it is a SUBSCRIBE. When an administrator closes the connections,
#   ActiveMQ sends no ERROR and Artemis one that names no frame; the queue has taken most of the messages in flight.
# * Other brokers should name the frame that an ERROR is related to (STOMP 1.2, "ERROR").

# Words of ERROR frames that announce an end, or report a failure inside the broker. They are for unknown brokers, and
# for ActiveMQ, which does not name a frame that has asked for no receipt, such as one in a transaction.
_ENDS = re.compile(
    r"\b(?:cancel|channel|clos(?:e|ing)|connection|crash|died|disconnect|down\b|exit(?:ed|ing|s)?\b|fail(?:ed|ing|over|"
    r"s|ure)\b|forced|internal|lost|maintenance|out of memory|overload|processing error|reboot|restart|server error|"
    r"shut|stop|terminat|timed? ?out|unavailable|unexpected)",
    re.IGNORECASE,
)
# Parts of such an ERROR that the caller has chosen: names in quotation marks, and destinations.
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|/\S+")
# Exceptions in an ERROR that names a frame, by which ActiveMQ says that the broker itself has failed or shuts down. The
# message may have reached its store.
_BROKER_FAILED = re.compile(r"\b(?:BrokerStopped|ServiceStopped|TransportDisposedIO|IO)Exception\b")
# A channel error of RabbitMQ (3.8 and later) that is caused by no frame: a consumer has not acknowledged in time.
_NO_FRAME = re.compile(r"delivery acknowledgement on channel \d+ timed out")


def refuses(error: Frame, dialect: Dialect) -> bool:
    """Whether *error*, an ERROR, says that the broker did not take the frame that it answers.

    It answers the frame of its ``receipt-id``; without this header, any frame that the broker has not answered yet.
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
