"""The supervisor runs a worker once, from the first connection to DISCONNECT.

The supervisor runs in the thread that called `Worker.run`. During a session, the thread ``stomp-worker-reader`` runs
the client's loop. ``stomp-worker-1`` and so on are worker threads. Each worker thread handles one message at a time.
"""

from __future__ import annotations

import dataclasses
import math
import re
import threading
import time
import typing

from .._internal.log import get_logger
from .._internal.printable import sentence
from .._internal.wakeup import Wakeup
from ..client.duplex import QueueingDuplexClient
from ..connection.deadline import Deadline
from ..errors import AuthenticationFailed, MessageError, Rejected, StompError
from ..pool import PublishClientPool
from ..pool.breaker import back_off
from .acknowledger import Counters
from .delivery import CurrentSession
from .error_text import error_in_one_line
from .handlers import Handler
from .inbox import Inbox
from .worker_thread import WorkerThread

__all__ = ["Progress", "Supervisor", "WorkerStats"]

_log = get_logger("worker")

_CHECK_INTERVAL = 0.5  # seconds between two checks, and two calls of *on_progress*
_LONG_ENOUGH = 10.0  # seconds; a session that lasted longer does not count as a failed attempt
_PARTING_LIMIT = 5.0  # seconds for DISCONNECT, and for the end of a thread
# Seconds. The thread of `run` is stuck if it has not moved for so much longer than it may wait for a broker. If no name
# server answers, the system may try for minutes. The reader is stuck if heart-beats are overdue for so long.
_STUCK, _READER_STUCK = 300.0, 60.0

# The `message` headers of ERROR frames that refuse a subscription until the program or the broker is changed.
_PERMANENT: typing.Final = re.compile(
    # RabbitMQ 3.10.8 and 4.3.6 send these if the destination is unknown, if a permission is missing (AMQP reply code
    # 403), or if the queue exists with other arguments or no queue can have the arguments (406). Other errors may be
    # temporary. After NOT_FOUND (404), another program may declare the queue or exchange. After RESOURCE_LOCKED (405),
    # an exclusive consumer may leave. RabbitMQ 3.10 also sends "Processing error" to one of two clients that declare
    # the same quorum queue at the same time.
    "(?:unknown|invalid|missing) destination$|access_refused$|precondition_failed$"
    # The development broker.
    "|access denied$"
    # ActiveMQ 5.17.2, Artemis (AMQ229032): no permission.
    "|.*is not authorized to read from|.*does not have permission="
    # ActiveMQ 5.17.2: a SUBSCRIBE without a destination.
    "|invalid empty or 'null' destination header",
    re.IGNORECASE | re.DOTALL,
)
# ActiveMQ 5.17.2 names this exception in the first line of the body if it cannot parse a selector.
_PERMANENT_EXCEPTION: typing.Final = re.compile(rb"[\w.]*\bInvalidSelectorException\b")


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerStats:
    """The statistics of a worker since the call of `Worker.run`.

    * `received` - messages from the broker, including redelivered messages.
    * `handled` - calls of handlers that returned.
    * `failed` - failed tries: the handler raised, its process died, or the message could not be read.
    * `given_back` - messages that the worker returned to their queue by NACK.
    * `retried` - messages that the worker tried again without NACK.
    * `dead_lettered` - messages that the worker sent to the dead letter destination.
    * `duplicates` - messages that had been handled before and were dropped.
    * `stale` - acknowledgements that were not sent because their session had ended. The broker delivers the messages
      again.
    * `in_flight` - messages in a handler now.
    * `waiting` - messages that wait for a handler.
    * `connects` - sessions so far.
    * `connected` - whether there is a session now.
    * `stopping` - whether the worker shuts down or has ended.
    * `executors` - the number of threads or processes for handlers.
    * `executors_ready` - how many of these threads or processes can handle a message now or after the current message.
    * `seconds` - how many seconds ago the run began.
    """

    received: int = 0
    handled: int = 0
    failed: int = 0
    given_back: int = 0
    retried: int = 0
    dead_lettered: int = 0
    duplicates: int = 0
    stale: int = 0
    in_flight: int = 0
    waiting: int = 0
    connects: int = 0
    connected: bool = False
    stopping: bool = False
    executors: int = 0
    executors_ready: int = 0
    seconds: float = 0.0


Progress = typing.Callable[[WorkerStats], object]


@dataclasses.dataclass(repr=False, eq=False)
class Supervisor:
    """Runs and owns the parts of a worker. When `run` ends, all parts end."""

    _client: QueueingDuplexClient
    _session: CurrentSession
    _inbox: Inbox
    _pool: PublishClientPool
    _handlers: typing.Sequence[Handler]
    _threads: typing.Sequence[WorkerThread]
    _counters: Counters
    _wakeup: Wakeup
    _prefetch: int
    _grace: float
    _on_progress: Progress | None

    def __post_init__(self) -> None:
        self._progress_failed = False  # whether the last call of *on_progress* failed
        self._moved_at = self._reported_at = self._began = time.monotonic()
        self._stopping = False
        self._reader: threading.Thread | None = None
        self._reading = False  # all subscriptions exist, and the reader's loop has not ended
        self._reason: StompError | None = None  # why the reader's loop has ended
        self._wakeup.fileno()  # open now: otherwise the first `stop` could be missed

    def stop(self) -> None:
        """Ask the worker to shut down. Safe in any thread or signal handler, because no lock is taken."""
        self._stopping = True
        self._inbox.pause()
        self._wakeup.wake()

    @property
    def is_alive(self) -> bool:
        """Whether the worker receives messages now, and every worker thread can handle messages."""
        return (
            self._reading
            and self._client.connected
            and not self._stopping
            and all(thread.is_alive for thread in self._threads)
        )

    @property
    def stuck(self) -> str:
        """The reason why only a restart of the program helps, or an empty text if the worker is not stuck."""
        silent = time.monotonic() - self._moved_at
        if silent > _STUCK + (1 + len(self._handlers)) * self._client.timeout:  # it connects, and subscribes to each
            return f"the thread that called run has not moved for {silent:.0f} s"
        failed = sum(thread.ended for thread in self._threads)
        if failed and not self._stopping:
            return f"{failed} of {len(self._threads)} threads for handlers have failed, as the log says"
        if self._reading and self._client.is_overdue(_READER_STUCK):
            return "the thread that reads has not noticed that the broker sends no heart-beats"
        return ""

    def stats(self) -> WorkerStats:
        """Return the current statistics."""
        return WorkerStats(
            received=self._inbox.received,
            in_flight=self._busy(),
            waiting=self._inbox.qsize(),
            connected=self._reading and self._client.connected,
            stopping=self._stopping,
            executors=len(self._threads),
            executors_ready=sum(thread.is_alive for thread in self._threads),
            seconds=time.monotonic() - self._began,
            **self._counters.snapshot(),
        )

    def run(self) -> bool:
        """Run until `stop`. Return whether all handlers ended in time. Raises the exceptions of `Worker.run`."""
        try:
            self._start_threads()
            self._receive()
            finished = self._shut_down()
            # The receipt of DISCONNECT says that the broker has processed every earlier acknowledgement.
            self._client.disconnect(_PARTING_LIMIT)
            self._report_progress()  # the final numbers
            return finished
        except BaseException:  # for example from a second signal: do not wait
            self._inbox.abandon()
            for thread in self._threads:
                thread.abandon()
            self._client.close()
            raise
        finally:
            if self._reader is not None:
                self._reader.join(_PARTING_LIMIT)
            for thread in self._threads:
                thread.join(_PARTING_LIMIT)
            self._pool.close(_PARTING_LIMIT)
            self._wakeup.close()
            self._stopping, self._moved_at = True, math.inf

    def _start_threads(self) -> None:
        for thread in self._threads:
            thread.start()
        while not self._stopping and not all(thread.started for thread in self._threads):
            self._wait()
        for thread in self._threads:
            if thread.broken is not None:
                raise thread.broken

    def _receive(self) -> None:
        """Connect and subscribe until `stop` is called. Connect again after each lost connection."""
        failures = 0
        while not self._stopping:
            began = time.monotonic()
            try:
                self._begin_session()
                while self._reading and not self._stopping:
                    self._wait()
                    if all(thread.ended for thread in self._threads):
                        raise StompError("every thread of the worker has failed, as the log says")
            except MessageError as error:
                if not self._counters.snapshot()["connects"] and _is_permanent(error):
                    raise
                self._reason = error
            if self._stopping and self._reading:
                return  # the connection is needed for the last acknowledgements
            self._end_session()
            if self._stopping:
                return
            failures = 1 if time.monotonic() - began > _LONG_ENOUGH else failures + 1
            pause = back_off(failures)
            when = "at once" if pause < 0.05 else f"in {pause:.1f} s"
            _log.warning("%s Connecting again %s", sentence(self._reason), when)
            end = time.monotonic() + pause
            while not self._stopping and time.monotonic() < end:
                self._wait(end - time.monotonic())

    def _begin_session(self) -> None:
        self._reason = None
        self._client.connect()
        self._session.begin(self._client.server)
        for handler in self._handlers:
            headers = {**self._session.dialect.prefetch(self._prefetch), **handler.headers}
            ack = self._session.ack_mode(handler)
            self._client.subscribe(handler.destination, id=handler.id, ack=ack, headers=headers)
        self._counters.add("connects")
        self._reading = True
        self._reader = threading.Thread(target=self._read, name="stomp-worker-reader", daemon=True)
        self._reader.start()
        names = ", ".join(handler.destination for handler in self._handlers)
        _log.info("receiving from %s at %s (%s)", names, self._client.broker, self._client.server)

    def _read(self) -> None:
        try:
            self._client.listen_forever(connect=False)  # a new session would have no subscriptions
        except StompError as error:
            self._reason = error
        except BaseException as error:  # noqa: BLE001 - a bug of the library, or other code raised it in this thread
            self._reason = StompError(f"the thread that reads has failed: {error_in_one_line(error)}")
            _log.exception("the thread that reads has failed")
        finally:
            self._reading = False
            self._wakeup.wake()

    def _end_session(self) -> None:
        self._session.end()
        self._client.close()
        if self._reader is not None:
            self._reader.join(_PARTING_LIMIT)
            self._reader = None

    def _shut_down(self) -> bool:
        """Take no more messages. Return whether all handlers ended within the grace time."""
        deadline = Deadline(self._grace)
        busy = self._busy()
        _log.info("stopping: %d %s being handled", busy, "message is" if busy == 1 else "messages are")
        self._inbox.close()
        for thread in self._threads:
            thread.end()
        while not all(thread.ended for thread in self._threads) and not deadline.expired:
            self._wait(deadline.remaining())
        late = [thread for thread in self._threads if not thread.ended]
        if late:
            busy = self._busy()
            handlers = "handler has" if busy == 1 else "handlers have"
            text = "%d %s not ended within %g s; what was not acknowledged comes again"
            _log.error(text, busy, handlers, self._grace)
            lost = self._inbox.abandon()
            if lost:
                _log.error("%d messages, acknowledged before they were handled (ack='auto'), are lost", lost)
            for thread in late:
                thread.abandon()
        return not late

    def _busy(self) -> int:
        return sum(thread.busy for thread in self._threads)

    def _wait(self, seconds: float = _CHECK_INTERVAL) -> None:
        """Wait for a wakeup. The limit is *seconds* or `_CHECK_INTERVAL`, whichever is shorter.

        After the wait, report progress if the last report is at least `_CHECK_INTERVAL` old.
        """
        self._wakeup.wait(min(seconds, _CHECK_INTERVAL))
        self._moved_at = time.monotonic()
        if self._moved_at - self._reported_at >= _CHECK_INTERVAL:
            self._report_progress()

    def _report_progress(self) -> None:
        if self._on_progress is None:
            return
        self._reported_at = time.monotonic()
        failed_before, self._progress_failed = self._progress_failed, False
        try:
            self._on_progress(self.stats())
        except Exception:  # noqa: BLE001 - a failed display must not stop the worker
            self._progress_failed = True
            if not failed_before:  # log only the first of several failures in a row
                _log.exception("on_progress has failed; the worker goes on, and calls it again")


def _is_permanent(error: MessageError) -> bool:
    """Return whether the broker refused the login, or will always refuse the same SUBSCRIBE.

    If true, the program or the broker's permissions must be changed. If false, the error may be temporary.
    """
    if not isinstance(error, Rejected) or error.frame is None:
        return isinstance(error, AuthenticationFailed)
    message = error.frame.headers.get("message", "")
    return bool(_PERMANENT.match(message)) or bool(_PERMANENT_EXCEPTION.match(error.frame.body))
