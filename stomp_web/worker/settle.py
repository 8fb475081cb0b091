"""What becomes of a message after its handler: acknowledged, given back, or buried as a dead letter.

The rules:

* A handler that returns: ACK. With ``auto``, the ACK is sent before the handler is called. (Not left to the broker, who
  would count everything as taken that has left it: what waits here would be lost with the worker.)
* A handler that raises: the message goes back to its queue by NACK, after a pause, where the broker requeues (RabbitMQ)
  and the message can be known again at its next delivery. Elsewhere it stays with this worker and is tried again after
  the pause: ActiveMQ 5.17 takes a NACK for the end of a message, not for "again".
* A message whose content breaks STOMP's rules is handled as far as it can be read; one that exceeds a limit is not.
* A message that has failed too often, or that nobody can read, is sent to the dead letter destination, and only when
  the broker has confirmed that, the original is acknowledged. If it cannot be sent, it is tried again later.
* An acknowledgement belongs to the session in which its message came. After that has ended it is not sent; the broker
  gives the message out again.
"""

from __future__ import annotations

import collections
import threading
import typing

from .._internal.log import get_logger
from .._internal.printable import harmless, sentence
from ..client.heads import message_id_of
from ..client.message import Message
from ..connection.deadline import Deadline
from ..errors import ConnectionLost, DeliveryUnknown, InvalidFrame, MessageError, NotSent, Rejected
from .describe import error_in_one_line, traceback_text
from .handlers import Handler
from .inbox import Delivery, Inbox, Step
from .memory import Duplicates, Failures
from .perform import Failure
from .stats import Counts

if typing.TYPE_CHECKING:
    from ..client.duplex import QueueingDuplexClient
    from ..connection.dialect import Dialect
    from ..pool import PublishClientPool
    from ..protocol import Frame

__all__ = ["Settlement"]

_log = get_logger("worker")

_LONGEST_PAUSE = 30.0  # seconds between two tries
_LONGEST_ERROR = 500  # characters of an error that a dead letter tells
_MOST_HEADERS = 50  # of a message that was too large to be read; RabbitMQ 4.3.6 takes 100 of a SEND, ours included
_MOST_LOST = 2  # tries to send a dead letter with all its headers that may end with the connection
_LONGEST_PROPERTY = 255  # bytes of a header that RabbitMQ makes a property of AMQP
_REPLACEMENT = "\ufffd"

# How often a quorum queue of RabbitMQ has delivered a message before. 3.10.8 has one header for all these deliveries.
# 4.3.6 counts them in x-acquired-count, and in x-delivery-count only those that ended with the connection.
_DELIVERY_COUNTS = ("x-acquired-count", "x-delivery-count")

# Of a message that is refused as a dead letter, or cannot be written: the headers that are no danger.
_PROPERTIES = frozenset(("content-type", "content-encoding", "correlation-id"))
_PLAIN = _PROPERTIES | {"x-message-id"}
# Headers of MESSAGE that belong to one delivery, and headers of SEND that RabbitMQ takes for properties of the queue.
_NOT_BURIED = frozenset(
    (
        *("ack", "auto-delete", "content-length", "destination", "durable", "exclusive", "expires", "expiration"),
        *("message-id", "original-destination", "receipt", "redelivered", "subscription", "timestamp", "transaction"),
        # RabbitMQ 3.10 refuses a message whose user-id is not the login of who sends it.
        "user-id",
        # Artemis 2.40: the kind of the destination from which the message came; the dead letter may go to another kind,
        # and would be confirmed and dropped. And by what its sender's repetitions are known.
        *("_amq_dupl_id", "destination-type"),
        *_DELIVERY_COUNTS,
        *("x-dead-letter-exchange", "x-dead-letter-routing-key", "x-error", "x-expires"),
        *("x-failures", "x-max-length", "x-max-length-bytes", "x-max-priority", "x-message-ttl", "x-queue-type"),
    )
)


class Settlement:
    """Ends the way of each message, from the hands' threads."""

    def __init__(
        self,
        client: QueueingDuplexClient,
        inbox: Inbox,
        pool: PublishClientPool,
        counts: Counts,
        *,
        dead_letter: str,
        max_redeliveries: int,
        retry_delay: float,
        deduplicate: int,
    ) -> None:
        self._client = client
        self._inbox = inbox
        self._pool = pool
        self._counts = counts
        self._dead_letter = dead_letter
        self._max_redeliveries = max_redeliveries
        self._retry_delay = retry_delay
        self._failures = Failures()
        self._duplicates: Duplicates[Delivery] = Duplicates(deduplicate)
        self._ledgers: dict[str, _Ledger] = {}
        self._dialect: Dialect | None = None
        self._session = 0  # how many there were; 0 before the first
        inbox.on_take = self._taken

    def session_began(self, dialect: Dialect) -> None:
        """Another session has begun, with a broker of this dialect."""
        self._dialect = dialect
        self._session += 1
        self._ledgers.clear()

    def session_ended(self) -> None:
        """The session has ended: what came in it will come again, and is nothing that this worker has to end."""
        self._session += 1

    def _taken(self, delivery: Delivery) -> None:
        """A hand has taken *delivery*. In the order of the messages: the inbox calls it under its lock."""
        headers = delivery.frame.headers
        delivery.session = self._session
        message_id = message_id_of(headers)
        if message_id is None and self._dialect is not None and self._dialect.keeps_message_ids:
            message_id = headers.get("message-id")
        if message_id is not None and not (delivery.frame.defects and _REPLACEMENT in message_id):
            # Where replacement characters stand for what could not be read, two ids may look the same.
            delivery.key = (delivery.handler.id, message_id)
        delivery.redelivered = headers.get("redelivered") == "true"
        delivery.failures = self._failures.of(delivery.key)
        if delivery.redelivered:  # at the first delivery, such a header is the sender's
            delivery.failures = max(delivery.failures, *(_number(headers.get(name)) for name in _DELIVERY_COUNTS))
        delivery.redelivered = delivery.redelivered or delivery.failures > 0
        if self.mode(delivery.handler) == "client":
            ledger = self._ledgers.get(delivery.handler.id)
            if ledger is None:
                ledger = self._ledgers[delivery.handler.id] = _Ledger()
            ledger.add(delivery)

    def mode(self, handler: Handler) -> str:
        """The ack mode with which the broker is to be told of *handler*'s subscription."""
        if handler.ack == "client" and not (self._dialect is not None and self._dialect.acks_over_all):
            return "client"
        return "client-individual"

    # -- before the handler -----------------------------------------------------------------------------------

    def admit(self, delivery: Delivery) -> bool:
        """Whether the handler is to be called. A duplicate is acknowledged here, or waits for its first."""
        if self._comes_again(delivery):
            self._counts.add(stale=1)
            return False
        if delivery.handler.ack == "auto" and not delivery.taken:
            if not self._tell_the_broker("ACK", delivery, self._client.ack):
                return False  # it comes again
            delivery.taken = True
        kind = self._duplicates.begin(delivery.key, delivery)
        if kind == "done":
            self._counts.add(duplicates=1)
            _log.info("dropped a duplicate of message %s from %s", _name(delivery), delivery.handler.destination)
            self._acknowledge(delivery)
        if kind != "new":
            return False
        if delivery.frame.truncated:
            self.failed(delivery, Failure(f"too large to be read: {'; '.join(delivery.frame.defects)}", permanent=True))
            return False
        if delivery.frame.defects:
            _log.warning(
                "message %s from %s: %s",
                _name(delivery),
                delivery.handler.destination,
                "; ".join(delivery.frame.defects),
            )
        return True

    # -- after it ---------------------------------------------------------------------------------------------

    def succeeded(self, delivery: Delivery) -> None:
        """The handler has returned."""
        self._counts.add(handled=1)
        self._failures.forget(delivery.key)
        self._let_others_in(delivery, handled=True)
        self._acknowledge(delivery)

    def failed(self, delivery: Delivery, failure: Failure) -> None:
        """The handler has raised, or could not be called."""
        self._counts.add(failed=1)
        delivery.failures += 1
        delivery.redelivered = True
        delivery.error = failure.error
        self._failures.note(delivery.key, delivery.failures)
        last = failure.permanent or delivery.failures > self._max_redeliveries
        what_now = f"it goes to {self._dead_letter}" if last else f"this was failure {delivery.failures}"
        _log.error(
            "%s failed with message %s from %s: %s; %s%s",
            delivery.handler.name,
            _name(delivery),
            delivery.handler.destination,
            _printable(failure.error),
            what_now,
            f"\n{failure.details}" if failure.details else "",
        )
        self._let_others_in(delivery, handled=False)
        if self._comes_again(delivery):
            self._counts.add(stale=1)
        elif last:
            self.bury(delivery)
        elif self._can_give_back(delivery):
            self._inbox.later(self._pause(delivery.failures), Step.GIVE_BACK, delivery)
        else:
            self._counts.add(retried=1)
            self._inbox.later(self._pause(delivery.failures), Step.HANDLE, delivery)

    def went_wrong(self, delivery: Delivery, error: BaseException) -> None:
        """Something has raised that is not of the handler: the message is tried again like one that has failed.

        It stays with this worker, whatever the broker: a NACK is one more thing that could raise. The log comes last,
        for the same reason.
        """
        text = error_in_one_line(error)
        self._counts.add(failed=1)
        delivery.failures += 1
        delivery.redelivered = True
        delivery.error = delivery.error or text
        self._failures.note(delivery.key, delivery.failures)
        self._let_others_in(delivery, handled=False)
        step = Step.HANDLE if delivery.failures <= self._max_redeliveries else Step.BURY
        if not self._comes_again(delivery):
            self._inbox.later(self._pause(delivery.failures), step, delivery)
        _log.error(
            "message %s from %s was not seen to its end, and is tried again: %s\n%s",
            _name(delivery),
            delivery.handler.destination,
            _printable(text),
            traceback_text(error, frozenset()),
        )

    def give_back(self, delivery: Delivery) -> None:
        """Return the message to its queue."""
        headers = self._dialect.nack_requeue_headers if self._dialect is not None else {}
        try:
            if self._tell_the_broker("NACK", delivery, lambda frame: self._client.nack(frame, headers=headers)):
                self._counts.add(given_back=1)
        except InvalidFrame:  # CoilMQ 1.1 sends no ack header in STOMP 1.2
            self._counts.add(retried=1)
            self._inbox.later(0.0, Step.HANDLE, delivery)

    def bury(self, delivery: Delivery) -> None:
        """Send the message to the dead letter destination, and acknowledge it once that is confirmed."""
        if self._comes_again(delivery):
            self._counts.add(stale=1)
            return
        try:
            try:
                self._send(self._letter(delivery, plainly=delivery.refused))
            except InvalidFrame:
                # A header as no client of ours can write it, though it could be read: from a sender with another
                # version of STOMP, or one that takes it less strictly.
                self._send(self._letter(delivery, plainly=True))
        except Exception as error:  # noqa: BLE001 - mostly a MessageError, but the message must have a way on
            delivery.tries += 1
            # RabbitMQ 4.3.6 ends the connection without a word for more than 100 headers, and with an ERROR that does
            # not name the message for a name of more than 255 bytes.
            delivery.lost += isinstance(error, ConnectionLost)
            refused = isinstance(error, Rejected | InvalidFrame) or delivery.lost >= _MOST_LOST
            delivery.refused = delivery.refused or refused
            pause = self._pause(delivery.tries + 3)
            _log.error(
                "message %s could not be sent to %s: %s It stays unacknowledged, the next try is in %.1f s",
                _name(delivery),
                self._dead_letter,
                sentence(error if isinstance(error, MessageError) else error_in_one_line(error)),
                pause,
            )
            self._inbox.later(pause, Step.BURY, delivery)
            return
        self._counts.add(dead_lettered=1)
        self._failures.forget(delivery.key)
        self._acknowledge(delivery)

    def _send(self, letter: Message) -> None:
        with self._pool.client() as client:
            client.deliver((letter,), True, None, Deadline(self._pool.timeout))

    def _letter(self, delivery: Delivery, plainly: bool = False) -> Message:
        frame = delivery.frame
        headers = {name: value for name, value in frame.headers.items() if name.lower() not in _NOT_BURIED}
        if frame.truncated:  # who reads the dead letter has limits, too
            short = [(name, value) for name, value in headers.items() if len(name) + len(value) <= _LONGEST_ERROR]
            short.sort(key=lambda header: header[0] not in _PLAIN)  # those first; RabbitMQ 4.3 reverses an AMQP table
            headers = dict(short[:_MOST_HEADERS])
        if plainly:
            headers = {
                name: _printable(value)
                for name, value in headers.items()
                if name in _PLAIN and (name not in _PROPERTIES or len(value.encode()) <= _LONGEST_PROPERTY)
            }
        headers["original-destination"] = frame.headers.get("destination", delivery.handler.destination)
        headers["x-error"] = _printable(delivery.error)
        headers["x-failures"] = str(delivery.failures)
        headers["persistent"] = "true"
        return Message(self._dead_letter, frame.body, headers)

    def _comes_again(self, delivery: Delivery) -> bool:
        """Whether the broker gives the message out again anyhow, as the session in which it came has ended."""
        return delivery.session != self._session and not delivery.taken

    def _can_give_back(self, delivery: Delivery) -> bool:
        """Whether a NACK brings the message back, and it can be known then: its failures must have an end."""
        dialect = self._dialect
        return (
            dialect is not None
            and dialect.nack_requeues
            and delivery.key is not None
            and not delivery.taken
            and self.mode(delivery.handler) == "client-individual"
            and self._client.version != "1.0"
        )

    def _pause(self, failures: int) -> float:
        return float(min(self._retry_delay * 2 ** min(failures - 1, 30), _LONGEST_PAUSE))

    def _let_others_in(self, delivery: Delivery, handled: bool) -> None:
        for other in self._duplicates.end(delivery.key, handled):
            self._inbox.later(0.0, Step.HANDLE, other)

    # -- acknowledgement --------------------------------------------------------------------------------------

    def _acknowledge(self, delivery: Delivery) -> None:
        if delivery.taken:
            return
        if self.mode(delivery.handler) == "client-individual":
            self._acknowledge_one(delivery)
        else:
            ledger = self._ledgers.get(delivery.handler.id)
            if ledger is None or not ledger.finish(delivery, self._acknowledge_one):
                self._counts.add(stale=1)

    def _acknowledge_one(self, delivery: Delivery) -> None:
        try:
            self._tell_the_broker("ACK", delivery, self._client.ack)
        except InvalidFrame:
            _log.exception("message %s cannot be acknowledged; it will come again", _name(delivery))

    def _tell_the_broker(self, what: str, delivery: Delivery, tell: typing.Callable[[Frame], object]) -> bool:
        """Send an ACK or a NACK, and return whether it was sent. Raises `InvalidFrame` if there is none for it."""
        try:
            tell(delivery.frame)
        except (NotSent, DeliveryUnknown) as error:
            # The session of the message has ended: the broker has the message still, and gives it out again.
            self._counts.add(stale=1)
            _log.info("the %s of message %s was not sent: %s", what, _name(delivery), error)
        except InvalidFrame:
            raise
        except Exception:  # noqa: BLE001 - whether the broker has got it is not known
            self._counts.add(stale=1)
            _log.exception(
                "the %s of message %s has failed; the session is ended, so that the broker gives the message out again",
                what,
                _name(delivery),
            )
            self._client.close()
        else:
            return True
        return False


class _Ledger:
    """The messages of one subscription in which an ACK stands for all that came before, in one session.

    Handlers end in any order, so a message is acknowledged when it and all before it are done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: collections.deque[Delivery] = collections.deque()
        self._acknowledging = False

    def add(self, delivery: Delivery) -> None:
        """The message has come, after all that were added before."""
        with self._lock:
            self._open.append(delivery)

    def finish(self, delivery: Delivery, acknowledge: typing.Callable[[Delivery], object]) -> bool:
        """The message is done. Acknowledge the last one of those that can be; ``False`` if it is of another session.

        One thread at a time does it, so that the broker gets the acknowledgements in order.
        """
        with self._lock:
            if delivery not in self._open:
                return False
            delivery.done = True
            if self._acknowledging:
                return True
            self._acknowledging = True
        while True:
            with self._lock:
                last = None
                while self._open and self._open[0].done:
                    last = self._open.popleft()
                if last is None:
                    self._acknowledging = False
                    return True
            try:
                acknowledge(last)
            except BaseException:
                self._acknowledging = False  # otherwise nothing of this subscription would be acknowledged any more
                raise


def _name(delivery: Delivery) -> str:
    """By what a message is called in the log. Its sender has chosen that, so it must not be able to forge a line."""
    headers = delivery.frame.headers
    return _printable(message_id_of(headers) or headers.get("message-id", ""))


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _printable(text: str) -> str:
    text = harmless(text, lines=False)
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 3] + "..."
