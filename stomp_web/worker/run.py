"""One run of a worker, from the first connection to the last acknowledgement.

The thread that called `Worker.run` supervises: it connects and subscribes, starts the reader, waits, connects again
after a pause when the connection is lost, and ends it all in order. The threads, all of them documented:

* ``stomp-worker-reader`` runs the client's loop; there is one while there is a connection;
* ``stomp-worker-1`` and so on are the hands: one for each handler that may run at the same time. With processes, each
  has one of them.
"""

from __future__ import annotations

import threading
import time
import typing

from .._internal.log import get_logger
from .._internal.printable import sentence
from ..client.duplex import QueueingDuplexClient
from ..connection.deadline import Deadline
from ..connection.dialect import choose_dialect
from ..errors import AuthenticationFailed, DeliveryUnknown, NotSent, Rejected, StompError
from ..pool import PublishClientPool
from ..pool.breaker import back_off
from .bell import Bell
from .describe import error_in_one_line
from .handlers import Handler
from .hands import Hand
from .inbox import Inbox
from .perform import Performer
from .refused import refused_for_good
from .settle import Settlement
from .stats import Counts, WorkerStats

__all__ = ["Run"]

_log = get_logger("worker")

_LOOK_UP = 0.5  # seconds between two looks, and two calls of *on_progress*
_LONG_ENOUGH = 10.0  # seconds after which a session was no failed attempt
_FAREWELL = 5.0  # seconds for DISCONNECT

Progress = typing.Callable[[WorkerStats], object]


class Run:
    """Everything that lives while a worker runs."""

    def __init__(
        self,
        client: QueueingDuplexClient,
        inbox: Inbox,
        pool: PublishClientPool,
        handlers: typing.Sequence[Handler],
        performers: typing.Sequence[Performer],
        settlement: Settlement,
        counts: Counts,
        *,
        prefetch: int,
        grace: float,
        on_progress: Progress | None,
    ) -> None:
        self._client = client
        self._inbox = inbox
        self._pool = pool
        self._handlers = handlers
        self._settlement = settlement
        self._counts = counts
        self._prefetch = prefetch
        self._grace = grace
        self._on_progress = on_progress
        self._progress_failed = False  # the last call of it
        self._told_at = self._began = time.monotonic()
        self._bell = Bell()
        self._stopping = False
        self._reader: threading.Thread | None = None
        self._reading = False  # the reader's loop has not ended
        self._reason: StompError | None = None  # why the reader's loop has ended
        self._subscribed = False
        numbers = {handler.id: number for number, handler in enumerate(handlers)}
        self._hands = [
            Hand(number, inbox, performer, settlement, counts, numbers, self._bell.ring)
            for number, performer in enumerate(performers, 1)
        ]

    # -- what others may ask and say --------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask it to end in order. From any thread or signal handler: it takes no lock."""
        self._stopping = self._inbox.closing = True
        self._bell.ring()

    @property
    def alive(self) -> bool:
        """Whether messages are received now, and could be handled."""
        return (
            self._reading
            and self._client.connected
            and self._subscribed
            and not self._stopping
            and all(hand.able for hand in self._hands)
        )

    def stats(self) -> WorkerStats:
        """The numbers of this moment."""
        return WorkerStats(
            received=self._inbox.received,
            waiting=self._inbox.qsize(),
            connected=self._reading and self._client.connected,
            seconds=time.monotonic() - self._began,
            **self._counts.snapshot(),
        )

    # -- the run ----------------------------------------------------------------------------------------------

    def go(self) -> bool:
        """Run until `stop`; return whether everything that had begun was finished within the grace time.

        Raises `ConfigurationError` if the handlers cannot be run, and `AuthenticationFailed` or `Rejected` if the
        broker refuses the first connection or a first subscription for good.
        """
        orderly = False
        try:
            self._start_hands()
            self._receive()
            finished = self._finish()
            self._tell()  # what came of it in the end
            orderly = True
            return finished
        finally:
            if not orderly:  # an exception, or a second signal: nothing more is waited for
                self._inbox.abandon()
                for hand in self._hands:
                    hand.abandon()
                self._client.close()
            self._join()
            self._pool.close(_FAREWELL)
            self._bell.__exit__(None, None, None)

    def _start_hands(self) -> None:
        for hand in self._hands:
            hand.thread.start()
        while not self._stopping and not all(hand.started.is_set() for hand in self._hands):
            self._wait(_LOOK_UP)
        for hand in self._hands:
            if hand.broken is not None:
                raise hand.broken

    def _receive(self) -> None:
        """Keep a connection with all subscriptions, until `stop`."""
        failures = 0
        while not self._stopping:
            began = time.monotonic()
            try:
                self._begin_session()
                self._watch()
            except (AuthenticationFailed, Rejected) as error:
                first = not self._counts.snapshot().get("connects")
                if first and (isinstance(error, AuthenticationFailed) or refused_for_good(error)):
                    raise
                self._reason = error
            except (NotSent, DeliveryUnknown) as error:
                self._reason = error
            self._end_session()
            if self._stopping:
                return
            failures = 1 if time.monotonic() - began > _LONG_ENOUGH else failures + 1
            pause = back_off(failures)
            _log.warning("%s Connecting again in %.1f s", sentence(self._reason), pause)
            end = time.monotonic() + pause
            while not self._stopping and time.monotonic() < end:
                self._wait(min(end - time.monotonic(), _LOOK_UP))

    def _begin_session(self) -> None:
        self._reason = None
        self._client.connect()
        dialect = choose_dialect(self._client.server)
        self._settlement.session_began(dialect)
        for handler in self._handlers:
            headers = {**dialect.prefetch(self._prefetch), **handler.headers}
            self._client.subscribe(
                handler.destination, id=handler.id, ack=self._settlement.mode(handler), headers=headers
            )
        self._counts.add(connects=1)
        self._subscribed = self._reading = True
        self._reader = threading.Thread(target=self._read, name="stomp-worker-reader", daemon=True)
        self._reader.start()
        names = ", ".join(handler.destination for handler in self._handlers)
        _log.info("receiving from %s at %s (%s)", names, self._client.broker, self._client.server)

    def _read(self) -> None:
        """What the reader's thread runs."""
        try:
            self._client.listen_forever(connect=False)  # in another session, nothing would be subscribed
        except StompError as error:
            self._reason = error
        except BaseException as error:  # noqa: BLE001 - a fault of ours, or raised in this thread by other code
            self._reason = StompError(f"the thread that reads has failed: {error_in_one_line(error)}")
            _log.exception("the thread that reads has failed")
        finally:
            self._reading = False
            self._bell.ring()

    def _watch(self) -> None:
        """Wait until the reader's loop has ended, or somebody has called `stop`."""
        while self._reading and not self._stopping:
            self._wait(_LOOK_UP)
            if all(hand.ended for hand in self._hands):
                raise StompError("every thread of the worker has failed, as the log says; it can handle nothing more")

    def _end_session(self) -> None:
        """Let go of a connection that has ended, or is of no use."""
        if self._stopping and self._reading:
            return  # it is needed for the last acknowledgements
        self._subscribed = False
        self._settlement.session_ended()
        self._client.close()
        if self._reader is not None:
            self._reader.join(_FAREWELL)
            self._reader = None

    def _wait(self, seconds: float) -> None:
        self._bell.wait(seconds)
        if time.monotonic() - self._told_at >= _LOOK_UP:
            self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._told_at = time.monotonic()
            try:
                self._on_progress(self.stats())
            except Exception:  # noqa: BLE001 - a display is no reason to stop working
                if not self._progress_failed:  # once for many failures one after the other
                    _log.exception("on_progress has failed; the worker goes on, and calls it again")
                self._progress_failed = True
            else:
                self._progress_failed = False

    # -- the end ----------------------------------------------------------------------------------------------

    def _finish(self) -> bool:
        """Take nothing more, let handlers end within the grace time, acknowledge, disconnect."""
        deadline = Deadline(self._grace)
        busy = self._counts.snapshot().get("in_flight", 0)
        _log.info("stopping: %d %s being handled", busy, "message is" if busy == 1 else "messages are")
        self._inbox.close()
        for hand in self._hands:
            hand.end()
        while not all(hand.ended for hand in self._hands) and not deadline.expired:
            self._wait(min(deadline.remaining(), _LOOK_UP))
        late = [hand for hand in self._hands if not hand.ended]
        if late:
            busy = sum(hand.busy for hand in late)
            _log.error(
                "%d %s not ended within %g s; what was not acknowledged comes again",
                busy,
                "handler has" if busy == 1 else "handlers have",
                self._grace,
            )
            lost = self._inbox.abandon()
            if lost:
                _log.error("%d messages, acknowledged before they were handled (ack='auto'), are lost", lost)
            for hand in late:
                hand.abandon()
        # Its receipt says that the broker has taken every acknowledgement before it.
        self._client.disconnect(_FAREWELL)
        return not late

    def _join(self) -> None:
        if self._reader is not None:
            self._reader.join(_FAREWELL)
        for hand in self._hands:
            # A process can be killed, and its hand ends with it. A thread in a handler that does not end is left alone.
            if hand.performer.kill() or not hand.busy:
                hand.thread.join(_FAREWELL)
