"""The differences between brokers."""

from __future__ import annotations

import dataclasses
import re
import time
import typing
import urllib.parse

from ..protocol import Frame

__all__ = ["ACTIVEMQ", "ARTEMIS", "DIALECTS", "GENERIC", "RABBITMQ", "Dialect", "choose_dialect", "refuses"]


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """The properties of one kind of broker.

    * `name` - ``rabbitmq``, ``activemq``, ``artemis``, ``development`` or ``generic``.
    * `server` - the beginning of the ``server`` header in the CONNECTED frame.
    * `text_without_length` - whether text is sent without ``content-length``, so that a JMS consumer of ActiveMQ 5.17
      gets a TextMessage instead of a BytesMessage.
    * `expiry_header` - the header for time-to-live. Its value is in milliseconds.
    * `expiry_is_absolute` - whether `expiry_header` holds a time since 1970 (JMS) instead of a duration (RabbitMQ).
    * `prefetch_header` - the header of SUBSCRIBE that limits the unacknowledged messages.
    * `prefetch_bytes` - how many bytes in `prefetch_header` stand for one message, or 0 if the header counts messages.
    * `nack_requeues` - whether a NACK returns the message to its queue. The NACK needs `nack_requeue_headers` for this.
    * `acks_over_all` - whether a cumulative ACK also covers messages of the connection's other subscriptions. If the
      client acknowledges one of these messages again, RabbitMQ 3.10 answers with ERROR.
    * `keeps_message_ids` - whether the ``message-id`` is the same at each delivery. RabbitMQ 3.10 changes the id.
    * `duplicate_header` - the header by which the broker recognizes a repeated message. Artemis 2.40 confirms the
      repeated message and drops it. Only a send that the library may repeat has the header. The header has the same
      value in all attempts of a send. If a dead letter is sent again later, the value is new, so the broker does
      not drop the dead letter.
    * `acks_in_transactions` - whether an ACK or NACK with the header ``transaction`` takes effect only at the COMMIT.
    * `destination_types` - maps the beginning of a destination to a type, which SEND and SUBSCRIBE name in a header.
    * `receipts_after_commit` - whether the receipts of SENDs in a transaction come after the receipt of COMMIT
      (RabbitMQ 3.10). If so, only the receipts of the SENDs confirm the messages.
    * `quotes_destinations` - whether a slash in the name of a queue is written ``%2F``.
    * `frame_limit` - the broker's default limit for the size of a body, in bytes. A larger body ends the connection.
    * `frame_limit_names` - a text that names the broker's settings for the maximum size of a message.
    * `ends_after_refusal` - whether an ERROR that names a refused frame ends the connection in STOMP 1.2. If so,
      the broker accepts no later frame. STOMP 1.2 ("ERROR") requires this, but RabbitMQ and ActiveMQ continue.
    * `unnamed_refusals` - a pattern for the ``message`` header of an ERROR without ``receipt-id``. Such an
      ERROR refuses a frame only if the header matches the pattern. If there is no pattern (``None``), the library
      searches the text of the ERROR for words about the end of the connection or about a failure inside the broker. An
      ERROR without such words refuses a frame.
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
        """Return the value of `expiry_header` for a message that expires after *ttl* seconds."""
        milliseconds = max(round(ttl * 1000), 1)
        if self.expiry_is_absolute:
            milliseconds += round(time.time() * 1000)
        return str(milliseconds)

    def prefetch(self, count: int) -> dict[str, str]:
        """Return the header of SUBSCRIBE that allows about *count* unacknowledged messages, or an empty dict.

        Artemis counts bytes. Therefore, the limit is exact only if *count* is 1. In this case, the value of the header
        is 0, with which Artemis 2.40 sends one message at a time.
        """
        if self.prefetch_header is None:
            return {}
        if self.prefetch_bytes:
            count = count * self.prefetch_bytes if count > 1 else 0
        return {self.prefetch_header: str(count)}

    def sent_type(self, destination: str, header: str = "destination-type") -> tuple[str, str] | None:
        """Return *header* and its value for *destination*, or ``None`` if the broker does not need the header.

        *header* is ``destination-type`` in SEND (the default) and ``subscription-type`` in SUBSCRIBE.
        """
        kinds = self.destination_types.items()
        return next(((header, kind) for start, kind in kinds if destination.startswith(start)), None)

    def queue(self, name: str) -> str:
        """Return the destination of the queue that has the name *name*."""
        return "/queue/" + self.quote(name)

    def topic(self, name: str) -> str:
        """Return the destination of the topic *name*."""
        return "/topic/" + self.quote(name)

    def quote(self, name: str) -> str:
        """Return *name* as part of a destination. For RabbitMQ, characters such as ``/`` are percent-encoded.

        For the queue ``a/b``, the destination is ``/queue/a%2Fb``. RabbitMQ 3.10 answers ``/queue/a/b`` with ERROR.
        """
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
    # The first line has the words of the STOMP plugin (3.10.8, 4.3.6) for a frame that it does not understand. The
    # second line has the channel errors of AMQP 0-9-1 (403 to 406), by which a channel refuses a request.
    unnamed_refusals=re.compile(
        "(?:bad|duplicated|invalid|missing|unknown) |(?:no )?subscription (?:not )?found|"
        "(?:access_refused|not_found|precondition_failed|resource_locked)$",
        re.IGNORECASE,
    ),
)
#: Artemis 2.40. In STOMP 1.0, Artemis sends no ``server`` header and cannot be recognized.
ARTEMIS: typing.Final = Dialect(
    "artemis",
    "ActiveMQ-Artemis",
    text_without_length=True,
    # Its default is 10 KiB for all messages together, so that each large message waits for the previous one.
    prefetch_header="consumer-window-size",
    prefetch_bytes=10_240,
    duplicate_header="_AMQ_DUPL_ID",
    # Its log says "stomp acknowledge in transactions is not supported", and the ACK counts at once.
    acks_in_transactions=False,
    ends_after_refusal=True,
    # In the configuration by `artemis create`, ``/queue/a`` is MULTICAST, a topic: without a subscription, a message is
    # confirmed and dropped. If the acceptor has prefixes, they have the same meaning as these types.
    destination_types={"/queue/": "ANYCAST", "/topic/": "MULTICAST"},
    # Artemis begins its ERRORs for SEND, COMMIT and SUBSCRIBE with these words. An ERROR that announces the end of the
    # connection does not match: "AMQ229108: connections for user guest closed by management", or "AMQ229014: Did not
    # receive data ... within the 60000ms connection TTL". After such an ERROR, most messages in flight were accepted.
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
#: The development broker of this package.
DEVELOPMENT: typing.Final = Dialect(
    "development", "stomp-web/", prefetch_header="prefetch-count", nack_requeues=True, ends_after_refusal=True
)
#: An unknown broker, without any special feature.
GENERIC: typing.Final = Dialect("generic", prefetch_header="prefetch-count")

DIALECTS: typing.Final = (RABBITMQ, ARTEMIS, ACTIVEMQ, DEVELOPMENT, GENERIC)


def choose_dialect(server: str | None) -> Dialect:
    """Return the dialect for the ``server`` header of a CONNECTED frame. ``None`` means a frame without this header."""
    return next(dialect for dialect in DIALECTS if (server or "").startswith(dialect.server))


# Some ERROR frames refuse a frame; others only announce the end of the connection. Measured:
#
# * RabbitMQ 3.10.8 and 4.3.6 name no frame in any ERROR. When an administrator closes the connections or deletes the
#   user, every client gets ``AMQP channel died``, some after ``Processing error``. The queue has accepted none, some or
#   all of the messages in flight. ``Processing error`` is also the answer to a header that the broker cannot read.
#   In about one of 1,000 cases, RabbitMQ 4.3.6 sends it before the refusal of a queue, for example ``access_refused``:
#   the refusal ends the channel, and the next call on that channel fails.
# * ActiveMQ 5.17.2 and 6.3.1 and Artemis 2.40 name a frame that asked for a receipt by its ``receipt-id``. They do not
#   name a frame that they could not read, and Artemis does not name a SUBSCRIBE. When an administrator closes the
#   connections, ActiveMQ sends no ERROR, and Artemis sends one without a name. Most messages in flight were accepted.
# * Other brokers should name the frame that an ERROR is related to (STOMP 1.2, "ERROR").

# Words of an ERROR that announces an end, or reports a failure inside the broker. They are for unknown brokers and for
# ActiveMQ, which does not name a frame without a receipt, such as a frame in a transaction.
_ENDS = re.compile(
    r"\b(?:cancel|channel|clos(?:e|ing)|connection|crash|died|disconnect|down\b|exit(?:ed|ing|s)?\b|fail(?:ed|ing|over|"
    r"s|ure)\b|forced|internal|lost|maintenance|out of memory|overload|processing error|reboot|restart|server error|"
    r"shut|stop|terminat|timed? ?out|unavailable|unexpected)",
    re.IGNORECASE,
)
# Parts of an ERROR that contain words of the caller: names in quotation marks, and destinations.
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|/\S+")
# With these exceptions in an ERROR that names a frame, ActiveMQ reports that the broker has failed or shuts down. The
# message may be in its store.
_BROKER_FAILED = re.compile(r"\b(?:BrokerStopped|ServiceStopped|TransportDisposedIO|IO)Exception\b")
# A channel error of RabbitMQ (3.8 and later) that no frame has caused: a consumer did not acknowledge in time.
_NO_FRAME = re.compile(r"delivery acknowledgement on channel \d+ timed out")


def refuses(error: Frame, dialect: Dialect) -> bool:
    """Return whether the ERROR frame *error* says that the broker did not accept a frame.

    The ``receipt-id`` of *error* names the frame. Without ``receipt-id``, *error* may be about any unanswered frame.
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
