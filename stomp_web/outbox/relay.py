"""`Relay` sends the rows of an outbox until it is stopped. Any number of relays may run at the same time."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import random
import select
import time
import typing

from .._internal.log import get_logger
from .._internal.printable import without_outcome
from .._internal.signals import StopSignals
from .._internal.wakeup import Wakeup
from ..config import seconds, whole_number
from ..connection.deadline import deadline_in
from ..errors import ConfigurationError, InvalidFrame, Rejected
from ..pool import Health
from ..publisher import Publisher
from .claim import Outcomes
from .database_errors import is_conflict, words_of
from .sending import Sending
from .stats import RelayStats
from .store import Listener, Store

__all__ = ["DEFAULT_BATCH", "DEFAULT_MAX_ATTEMPTS", "DEFAULT_POLL", "Relay"]

_log = get_logger("outbox")

DEFAULT_POLL: typing.Final = 1.0
DEFAULT_BATCH: typing.Final = 500
DEFAULT_MAX_ATTEMPTS: typing.Final = 10

_FIRST_PAUSE: typing.Final = 1.0  # seconds before the second try of a message
_LONGEST_PAUSE: typing.Final = 300.0
_LONGEST_LOST: typing.Final = 30.0  # seconds between two tries to reach a database or a broker
# Seconds before the next look at rows that must wait for an earlier row of their key. Each further pause is twice as
# long. The wait is short if another relay sends the earlier row, and long if the broker of this row cannot be reached.
_BUSY_PAUSE: typing.Final = 0.02
_SHOWN_EVERY: typing.Final = 0.5
_COUNTED_EVERY: typing.Final = 5.0
_DRAINED_EVERY: typing.Final = 1.0
_FROM_THE_START_EVERY: typing.Final = 1.0
_ONCE_LIMIT: typing.Final = 60.0  # seconds that a relay with *once* waits while another relay sends
# Seconds. If the relay has not moved for so long, it is stuck. A system may try to reach a database for two minutes.
_STUCK: typing.Final = 300.0
_LONGEST_SLEEP: typing.Final = 60.0  # seconds between two moves of a relay that waits; less than _STUCK
_STARTING: typing.Final = "the relay is starting"
_LARGEST_BATCH: typing.Final = 10_000  # databases limit how many values a statement may have

Progress = typing.Callable[[RelayStats], object]


class Relay:
    """Sends the messages of an outbox to the broker. After the broker's receipt, a row is deleted or kept as sent.

    * *store* - the outbox.
    * *publisher_of* - takes an alias and returns its `Publisher`, or raises `ConfigurationError`.
    * *poll* - how many seconds the relay waits if there is nothing to send. Default: 1. On PostgreSQL, a commit wakes
      the relay at once.
    * *batch* - how many messages at most are claimed and sent together. Default: 500. *batch* may be at most 10000.
    * *max_attempts* - how many times at most the relay tries a message that the broker refuses or that STOMP cannot
      carry. After the last try, the row is *failed*. Default: 10. The pause before the second try is about one second.
      Each later pause is twice as long as the previous pause, up to about five minutes. If the connection fails or no
      receipt comes, the relay tries until the broker has confirmed the message.
    * *alias* - the alias of a broker. If there is nothing to send when the relay starts, the relay checks this broker,
      and logs a failure. With the default ``None``, the relay connects to no broker before the first message.

    Raises `ConfigurationError` for a bad option.
    """

    def __init__(
        self,
        store: Store,
        publisher_of: typing.Callable[[str], Publisher],
        *,
        poll: float = DEFAULT_POLL,
        batch: int = DEFAULT_BATCH,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        alias: str | None = None,
    ) -> None:
        self.store = store
        self._alias = alias
        self._publisher_of = publisher_of
        self._poll = seconds("poll", poll)
        self._batch = whole_number("batch", batch, 1, _LARGEST_BATCH)
        self._max_attempts = whole_number("max_attempts", max_attempts, 1)
        self._wakeup = Wakeup()
        #: Whether the rows are counted for `stats` from time to time, even if `run` has no *on_progress*.
        self.counting = False
        self._stopping = False
        self._listener: Listener | None = None
        self._stats = RelayStats(problem=_STARTING)  # until the first round of `run`
        self._on_progress: Progress | None = None
        self._shown_at = self._counted_at = -math.inf
        self._losses = 0
        self._conflicts = 0
        self._drained_at = self._sent_at = -math.inf
        self._after = 0  # the id after which the next claim begins
        self._found_at = math.inf  # when the first row was sent since the relay began at the start of the table
        self._moved_at = math.inf  # when the relay has last begun to wait or to send a batch; infinite before `run`
        self._seen = False  # whether any row was seen since then
        self._busy = 0  # pauses in a row for rows that must wait
        self._away: dict[str, tuple[int, float]] = {}  # by alias: failures in a row, and when to try again

    def stop(self) -> None:
        """Ask a running relay to end after its current batch. May be called in any thread or signal handler."""
        self._stopping = True
        self._wakeup.wake()

    def stats(self) -> RelayStats:
        """Return the statistics of this relay, and the last known statistics of the outbox."""
        return self._stats

    @property
    def stuck(self) -> str:
        """The reason why the program must be restarted, or an empty text. Use this property for liveness probes.

        The relay is stuck if its thread makes no progress for more than five minutes, for example because the database
        driver never gets an answer. While a broker or the database is away, the relay keeps trying, and is not stuck.
        """
        silent = time.monotonic() - self._moved_at
        return f"the thread that called run has not moved for {silent:.0f} s" if silent > _STUCK else ""

    def check(self, timeout: float | None = None) -> Health | None:
        """Check the broker of the relay's *alias*, as `Publisher.check` does. Without an *alias*, return ``None``."""
        return None if self._alias is None else self._publisher_of(self._alias).check(timeout)

    def run(self, *, once: bool = False, on_progress: Progress | None = None) -> int:
        """Relay messages until SIGTERM, Ctrl-C or `stop`. With *once*, also end when no message can be sent now.

        *on_progress* is called about twice a second with a `RelayStats`. If a broker or the database cannot be reached,
        the relay waits. With *once*, the relay ends instead. With *once*, the relay connects to a broker only if it has
        a message to send.

        Returns the exit code for the program. After SIGTERM, Ctrl-C or `stop`, the code is 0. If the relay ends because
        of *once*, the code is 0 or 1. The code is 1 if a broker or the database cannot be reached, or if unsent rows
        are left.

        Raises `ConfigurationError` if the outbox table does not exist.
        """
        self._on_progress = on_progress
        self._moved_at = self._sent_at = time.monotonic()
        self._stats = dataclasses.replace(self._stats, problem=_STARTING)
        self._wakeup.fileno()
        try:
            with StopSignals(self.stop):
                return self._run(once)
        finally:
            self._stop_listening()
            self._wakeup.close()
            self._stopping, self._moved_at = False, math.inf

    def _run(self, once: bool) -> int:
        checked = begun = False
        woken_at = -math.inf
        while not self._move():
            try:
                if not checked:
                    self.store.check()
                    checked = True
                    _log.info("relaying the messages of %s", self.store.name)
                if not self._keep_listening(once):
                    continue
                if time.monotonic() - woken_at >= self._poll:
                    self.store.wake()
                    woken_at = time.monotonic()
                pause = self._round()
                self._show()
                if once and pause is not None and (code := self._end_of_once()) is not None:
                    return code
                if not (begun or once or pause is None or self._stats.problem):
                    self._try_broker()
                begun = True
                if pause is not None:
                    self._wait(pause)
                    self.store.rest()
            except self.store.lost as error:
                if is_conflict(error):
                    self._conflict(error)
                    if not once or time.monotonic() - self._sent_at < _ONCE_LIMIT:
                        continue
                else:
                    self._lost(error)
                if once:
                    return 1
        sent = self._stats.sent
        _log.info("stopped: %d %s sent", sent, "message was" if sent == 1 else "messages were")
        return 0

    def send(self, ids: typing.Sequence[int], timeout: float | None = None) -> int:
        """Send the rows among *ids* that can be sent within *timeout* seconds. Return how many rows were sent.

        The default of *timeout* is the timeout of the publisher. The other rows are left to a running relay. Errors are
        logged and not raised.
        """
        sending = Sending(self._publisher_of)
        try:
            with self.store.claim(max(len(ids), 1), ids[:_LARGEST_BATCH]) as claim:
                if claim.rows:
                    alias = claim.rows[0].route.alias
                    seconds = self._publisher_of(alias).options.timeout if timeout is None else timeout
                    sending.send(claim.rows, deadline_in(seconds))
                    claim.record(self._outcomes(sending))
        except Exception as error:  # noqa: BLE001 - the caller has committed, and a relay will try again
            _log.warning("messages of %s are left to the relay: %s", self.store.name, words_of(error))
        return len(sending.sent)

    def _round(self) -> float | None:
        """Claim and send rows, and record outcomes. Return the pause in seconds, or ``None`` if more rows may exist."""
        sending = Sending(self._publisher_of, self._move)
        now = time.monotonic()
        skip = [alias for alias, (_, until) in self._away.items() if until > now]
        with self.store.claim(self._batch, skip=skip, after=self._start(now)) as claim:
            sending.send(claim.rows)
            claim.record(self._outcomes(sending))
        self._after = claim.last if claim.seen == self._batch else 0
        self._seen |= claim.seen > 0
        self._stats = dataclasses.replace(
            self._stats,
            sent=self._stats.sent + len(sending.sent),
            failures=self._stats.failures + len(sending.failures) + len(sending.unreadable),
        )
        self._note_brokers(sending, skip)
        self._conflicts = 0
        if self._losses:
            self._losses = 0
            _log.info("%s can be reached again", self.store.name)
        if sending.sent or sending.failures or sending.unreadable:
            self._sent_at = time.monotonic()
            self._found_at = min(self._found_at, self._sent_at)
            self._busy = 0
        if self._after or self._found_at < math.inf:
            return None
        now = time.monotonic()
        pause = min([self._poll, *(until - now for _, until in self._away.values() if until > now)])
        if self._seen and not sending.away:
            pause = min(pause, _BUSY_PAUSE * 2.0 ** min(self._busy, 10))
            self._busy += 1
        return pause

    def _move(self) -> bool:
        """Record the current time, by which `stuck` measures progress. Return whether the relay must stop."""
        self._moved_at = time.monotonic()
        return self._stopping

    def _try_broker(self) -> None:
        """Check the relay's broker. If the check fails, log a warning.

        The relay calls this method once at the start, but only if it has nothing to send and no problem is known.
        """
        try:
            health = self.check()
            problem = "" if health is None or health else str(health)
        except ConfigurationError as error:
            problem = str(error)
        if problem:
            _log.warning("messages will wait in the outbox: %s", without_outcome(problem))

    def _start(self, now: float) -> int:
        """Return the id after which the next claim begins.

        A pass is a series of claims. The first claim of a pass begins at the start of the table. This claim can be
        slow, because the database must skip deleted and waiting rows. After a full batch, the next claim begins after
        the last row of the batch. A pass ends after a claim with fewer rows than a full batch. A pass also ends one
        second after its first row was tried. The next pass begins at the start of the table again. Therefore, the next
        pass finds rows with lower ids that were committed during the last pass, and rows that are now due for another
        try.
        """
        if now - self._found_at >= _FROM_THE_START_EVERY:
            self._after = 0
        if not self._after:
            self._found_at, self._seen = math.inf, False
        return self._after

    def _note_brokers(self, sending: Sending, skip: typing.Collection[str]) -> None:
        """Remember which brokers cannot be reached, and when to try them again."""
        for alias, error in sending.away.items():
            failures = self._away.get(alias, (0, 0.0))[0] + 1
            if failures == 1:
                _log.warning("messages wait in the outbox: %s", error)
            pause = max(getattr(error, "retry_after", None) or 0.0, _growing(failures))
            self._away[alias] = failures, time.monotonic() + pause
        for alias in set(self._away).difference(sending.away, skip):
            del self._away[alias]  # the alias was tried, or has no message now
            _log.info("no broker of the outbox is known to be unreachable any more")
        problem = str(next(iter(sending.away.values()), self._stats.problem if self._away else ""))
        self._stats = dataclasses.replace(self._stats, problem=problem)

    def _outcomes(self, sending: Sending) -> Outcomes:
        outcomes = Outcomes(sending.sent)
        for row, error in sending.failures:
            attempts = row.attempts + 1
            if isinstance(error, Rejected | InvalidFrame) and attempts >= self._max_attempts:
                outcomes.failed[row.id] = attempts, words_of(error)
                _log.error(
                    "message %s to %s has failed after %d attempts, and stays in the outbox: %s",
                    row.message_id,
                    row.route.destination,
                    attempts,
                    error,
                )
            else:
                outcomes.again[row.id] = attempts, words_of(error), _next_attempt(attempts)
        for row, error in sending.unreadable:
            outcomes.failed[row.id] = row.attempts + 1, words_of(error)
        return outcomes

    def _end_of_once(self) -> int | None:
        outbox = self.store.stats()
        if self._stats.problem:
            return 1
        if outbox.pending and time.monotonic() - self._sent_at < _ONCE_LIMIT:  # another relay is sending them
            return None
        return 1 if outbox.pending or outbox.waiting or outbox.failed else 0

    def _lost(self, error: Exception) -> None:
        self._losses += 1
        problem = f"{self.store.name} cannot be reached: {words_of(error)}"
        if self._losses == 1:
            _log.warning("%s; the relay waits", problem)
        self._stats = dataclasses.replace(self._stats, problem=problem)
        self._stop_listening()
        self.store.rest()
        self._show()
        self._wait(_growing(self._losses))

    def _conflict(self, error: Exception) -> None:
        """Log that another transaction's lock made the try fail.

        If this is not the first such failure since the last successful round, wait before the next try.
        """
        problem = f"a lock of another transaction was in the way in {self.store.name}: {words_of(error)}"
        _log.warning("%s; the relay tries again, and messages that were sent go out again with the same ids", problem)
        self._stats = dataclasses.replace(self._stats, problem=problem)
        self.store.rest()
        if self._conflicts:
            self._wait(_growing(self._conflicts))
        self._conflicts += 1

    # -- waiting and showing ----------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Wait until *seconds* have passed, a notification has come or `stop` was called."""
        end = time.monotonic() + seconds
        listens = self._listener is not None
        while not self._move() and (left := end - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._wakeup.fileno(), select.POLLIN)
            if (descriptor := self._descriptor()) is not None:
                poll.register(descriptor, select.POLLIN)
            elif listens:  # the connection of the listener is lost
                return
            longest = _SHOWN_EVERY if self.counting or self._on_progress is not None else _LONGEST_SLEEP
            ready = [descriptor for descriptor, _ in poll.poll(math.ceil(min(left, longest) * 1000))]
            if self._listener is not None and self._descriptor() in ready:
                self._drain()
                return
            if ready:
                self._wakeup.drain()
            self._show()

    def _descriptor(self) -> int | None:
        """Return the listener's file descriptor, or ``None`` if there is no listener or its connection is lost."""
        try:
            return None if self._listener is None else self._listener.fileno()
        except Exception:  # noqa: BLE001 - a driver's exception
            self._stop_listening()
            return None

    def _keep_listening(self, once: bool) -> bool:
        """Drain the listener, at most once a second. If there is no listener, start one, unless *once* is true.

        PostgreSQL keeps notifications until they are drained. Returns whether the database could be reached.
        """
        if self._listener is not None and time.monotonic() - self._drained_at >= _DRAINED_EVERY:
            self._drain()
        if self._listener is None and not once:
            try:
                self._listener = self.store.listen()
            except self.store.lost:
                raise
            except Exception as error:  # noqa: BLE001 - a driver's exception: the connection is lost
                self._lost(error)
                return False
        return True

    def _drain(self) -> None:
        self._drained_at = time.monotonic()
        try:
            if self._listener is not None:
                self._listener.drain()
        except Exception:  # noqa: BLE001 - a driver's exception: the connection is lost
            self._stop_listening()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(Exception):  # the connection is lost
                listener.close()

    def _show(self) -> None:
        if not self.counting and self._on_progress is None:
            return
        if (now := time.monotonic()) - self._shown_at < _SHOWN_EVERY:
            return
        self._shown_at = now
        # The rows are counted while a broker is away, but not while the database is.
        if now - self._counted_at >= _COUNTED_EVERY and not (self._losses or self._conflicts):
            self._stats = dataclasses.replace(self._stats, outbox=self.store.stats())
            self._counted_at = now
        try:
            if self._on_progress is not None:
                self._on_progress(self._stats)
        except Exception:  # noqa: BLE001 - the application's function may raise anything
            _log.exception("on_progress failed")


def _growing(failures: int) -> float:
    """Return the pause in seconds after *failures* failures in a row."""
    return min(0.1 * 2.0 ** min(failures - 1, 10), _LONGEST_LOST)


def _next_attempt(attempts: int) -> datetime.datetime:
    seconds = min(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 30), _LONGEST_PAUSE)
    seconds *= random.uniform(0.9, 1.1)  # noqa: S311 - not a secret
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
