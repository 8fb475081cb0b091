"""`Store`: the operations on the outbox table. Django and SQLAlchemy have subclasses.

A claim locks the rows that one relay sends, until their outcomes are recorded. PostgreSQL, MariaDB 10.6 and MySQL 8 can
lock rows and skip locked rows. On these databases, the transaction that holds the locks stays open while the messages
are sent. If the relay dies, the database releases the locks at once. On SQLite, only one relay works at a time. This
relay holds a lock on a file next to the database, so no transaction is open while the relay sends.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import math
import time
import typing

from ..errors import StompError
from .claim import Claim, Outcomes
from .database_errors import is_conflict
from .order import Candidate, choose
from .rows import FAILED, PENDING, SENT, WAITING, Row
from .stats import OutboxStats

__all__ = ["Listener", "Store", "Turn"]

#: The most bytes that the bodies of one claim have together, unless the claim is only one row.
_MOST_BYTES: typing.Final = 16 * 1024 * 1024
#: How many unsent rows outside of a claim are counted at most. If there are more, each row is examined.
_MOST_OTHERS: typing.Final = 1000
#: The most rows that one statement changes.
_MOST_WOKEN: typing.Final = 1000
#: How often a claim is tried again because it has found rows that must wait.
_MOST_CLAIMS: typing.Final = 100
#: Seconds between two searches for orphans: rows that wait for a row that was deleted without `discard`.
_SWEPT_EVERY: typing.Final = 60.0
#: Seconds that an operator's command waits for the `Turn`.
_TURN_LIMIT: typing.Final = 30.0
#: Seconds for which outcomes are recorded again while SQLite is locked, and the pause between two tries.
_RECORD_LIMIT: typing.Final = 60.0
_RECORD_PAUSE: typing.Final = 0.05


class Listener(typing.Protocol):
    """Wakes a relay when a transaction with new rows has committed."""

    def fileno(self) -> int:
        """Return the descriptor. The descriptor becomes readable when there is a notification."""

    def drain(self) -> None:
        """Read and drop the notifications. Raises an exception of the database if the connection is lost."""

    def close(self) -> None:
        """Close the connection."""


class Turn(typing.Protocol):
    """The right to be the only relay. Relays need this right if the database cannot lock rows."""

    def acquire(self) -> bool:
        """Try to acquire the turn, and return whether this succeeded."""

    def release(self) -> None:
        """Release the turn, so that another relay can acquire the turn."""


class Store:
    """The table of one outbox. A subclass reads and writes the table. `Store` decides when a row changes its state.

    * `name` - the database and the table, for the log. Credentials are not shown.
    * `lost` - the exceptions that mean that the database cannot be reached or has ended the transaction.
    * `turn` - the right to be the only relay, on a database that cannot lock rows. Other databases have ``None``.
    * `keep` - how many seconds a sent row is kept. If `keep` is 0, the row is deleted at once.
    """

    name: str
    lost: tuple[type[Exception], ...] = ()
    turn: Turn | None = None
    keep: float = 0.0
    _swept_at = -math.inf

    # -- what a relay does ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def claim(
        self,
        limit: int,
        ids: typing.Sequence[int] | None = None,
        *,
        skip: typing.Collection[str] = (),
        after: int = 0,
    ) -> typing.Iterator[Claim]:
        """Claim up to *limit* rows that may be sent now, in the order of their ids.

        If *ids* is given, claim only rows with these ids. Claim only rows whose id is greater than *after* and whose
        alias is not in *skip*. A row with a key is claimed only if all earlier unsent rows with this key are claimed,
        too. This rule includes earlier rows that *ids*, *skip* or *after* excludes.
        """
        if self.turn is None:
            for _ in range(_MOST_CLAIMS):
                with self.transaction():
                    rows, seen, last, held = self._choose(limit, ids, skip, after)
                    if not (held and self._hold(held)):  # otherwise commit the waiting rows, and choose again
                        with self.guarded(Claim(rows, seen, last, self._record)) as claim:
                            yield claim
                        return
            yield Claim()
            return
        if not self.turn.acquire():
            yield Claim()
            return
        try:
            with self.transaction():
                rows, seen, last, held = self._choose(limit, ids, skip, after)
                if held:
                    self._hold(held)
            outcomes: list[Outcomes] = []
            yield Claim(rows, seen, last, outcomes.append)
            if rows:
                self._record_later(outcomes)
        finally:
            self.turn.release()

    def _choose(
        self, limit: int, ids: typing.Sequence[int] | None, skip: typing.Collection[str], after: int
    ) -> tuple[list[Row], int, int, list[Candidate]]:
        """Lock rows, and choose the rows that may be sent now.

        Returns these rows, the number of locked rows, the id of the last examined row, and the rows that must wait.
        """
        rows, large = self.pending(limit, ids, skip, after, _MOST_BYTES // limit)
        behind = self._keys_with_others(rows)
        unclear = [row.id for row in rows if row.key in behind or row.id in large] if behind or large else []
        last = rows[-1].id if rows else 0
        if not unclear:
            return rows, len(rows), last, []
        known = {each.id: each for each in self.candidates(unclear)}
        candidates = (known.get(row.id) or Candidate(row.id, row.key, None, None, len(row.body)) for row in rows)
        chosen, held, all_fit = choose(candidates, _MOST_BYTES)
        whole = {row.id: row for row in rows if row.id not in large}
        if missing := large.intersection(chosen):
            whole.update((row.id, row) for row in self.load(sorted(missing)))
        return [whole[id_] for id_ in chosen], len(rows), last if all_fit else chosen[-1], held

    def _keys_with_others(self, rows: typing.Sequence[Row]) -> set[str | None]:
        """Return the keys of *rows* that may have an unsent row outside of *rows*.

        Rows after the last of *rows* do not count. The caller has locked *rows*. One statement counts the unsent rows
        of all keys of *rows*. If the count reaches a limit, return all keys of *rows*.
        """
        own = collections.Counter([row.key for row in rows if row.key is not None])
        if not own:
            return set()
        limit = len(rows) + _MOST_OTHERS
        found = self.unsent(list(own), rows[-1].id, limit)
        if sum(found.values()) >= limit:  # not all were counted
            return set(own)
        return {key for key, count in own.items() if found.get(key) != count}

    def _hold(self, held: typing.Sequence[Candidate]) -> int:
        """Set the state of the candidates in *held* to ``waiting``. Return the number of changed candidates.

        No relay reads a ``waiting`` candidate before the previous row of its key is gone. This method locks the
        previous rows. Without a lock, another transaction could delete or retry a previous row, and would not see that
        the candidate waits. A candidate does not change if another transaction has locked the previous row, or if the
        state of the previous row is no longer ``waiting`` or ``failed``.
        """
        before = {each.previous for each in held if each.previous is not None}
        still = self.lock(before, (WAITING, FAILED))
        waiting: list[int] = []
        for each in held:
            if each.previous in still:
                still.add(each.id)
                waiting.append(each.id)
        if waiting:
            self.update(waiting, state=WAITING, next_attempt_at=None)
        return len(waiting)

    def _record(self, outcomes: Outcomes) -> None:
        sent = [row.id for row in outcomes.sent]
        if sent:
            self.commit_soon()
        if sent and self.keep:
            self.update(sent, state=SENT, next_attempt_at=_now(), last_error="")
        elif sent:
            self.delete(sent)
        for id_, (attempts, error, moment) in outcomes.again.items():
            self.update([id_], state=WAITING, attempts=attempts, last_error=error, next_attempt_at=moment)
        for id_, (attempts, error) in outcomes.failed.items():
            self.update([id_], state=FAILED, attempts=attempts, last_error=error, next_attempt_at=None)
        self._wake_behind({row.key for row in outcomes.sent if row.key is not None})

    def _record_later(self, outcomes: typing.Sequence[Outcomes]) -> None:
        """Record *outcomes* in a new transaction. If SQLite is locked, try again for up to a minute.

        During this time, the relay keeps its turn (see `Turn`), so that no other relay sends.
        """
        deadline = time.monotonic() + _RECORD_LIMIT
        while True:
            try:
                with self.transaction():
                    for each in outcomes:
                        self._record(each)
                return
            except self.lost as error:
                if not is_conflict(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(_RECORD_PAUSE)

    def _wake_behind(self, keys: typing.Collection[str]) -> None:
        """Set the state of rows to pending if their key is in *keys* and they wait for an earlier row.

        A caller has sent, deleted or retried an earlier row of each key. `claim` checks whether a row must wait again.
        """
        while keys and (ids := self.waiting_behind(keys, _MOST_WOKEN)):
            self.update(ids, state=PENDING, next_attempt_at=None)

    def wake(self) -> None:
        """Set rows to pending if their pause is over, or if `orphans` finds them.

        Delete rows that were sent more than `keep` seconds ago, unless `keep` is 0.
        """
        with self.transaction():
            if ids := self.due(WAITING, _now(), _MOST_WOKEN):
                self.update(ids, state=PENDING, next_attempt_at=None)
        if self.keep:
            self.purge(self.keep)
        if time.monotonic() - self._swept_at >= _SWEPT_EVERY:
            self._swept_at = time.monotonic()
            with self.transaction():
                if ids := self.orphans(_MOST_WOKEN):
                    self.update(ids, state=PENDING, next_attempt_at=None)

    # -- what an operator does --------------------------------------------------------------------------------

    def retry(self, ids: typing.Sequence[int] | None = None) -> int:
        """Set the state of all failed rows to pending. Return the number of changed rows.

        With *ids*, change only the rows among *ids* whose state is failed or waiting. Rows that wait for an earlier row
        of the same keys become pending, too, but are not counted.
        """
        return self._each_chunk(ids, (FAILED, WAITING) if ids is not None else (FAILED,), self._retry)

    def discard(self, ids: typing.Sequence[int] | None = None) -> int:
        """Delete all failed rows. With *ids*, delete only the rows with these ids, whether they have failed or not.

        Rows that were sent, or that a relay sends now, are never deleted. After a row is deleted, the later rows of its
        key can be sent. Return how many rows were deleted.
        """
        return self._each_chunk(ids, (FAILED, WAITING, PENDING) if ids is not None else (FAILED,), self._discard)

    def purge(self, seconds: float) -> int:
        """Delete rows that were sent *seconds* ago or earlier. Return how many rows were deleted."""
        before = _now() - datetime.timedelta(seconds=seconds)
        count = 0
        while True:
            with self.transaction():
                ids = self.due(SENT, before, _MOST_WOKEN)
                if ids:
                    self.delete(ids)
            count += len(ids)
            if len(ids) < _MOST_WOKEN:
                return count

    def _each_chunk(
        self,
        ids: typing.Sequence[int] | None,
        states: tuple[str, ...],
        change: typing.Callable[[typing.Sequence[int]], None],
    ) -> int:
        if self.turn is not None:
            end = time.monotonic() + _TURN_LIMIT
            while not self.turn.acquire():
                if time.monotonic() > end:
                    raise StompError(f"a relay is sending the messages of {self.name}; nothing was changed, try again")
                time.sleep(0.01)
        try:
            return self._change_in_chunks(ids, states, change)
        finally:
            if self.turn is not None:
                self.turn.release()

    def _change_in_chunks(
        self,
        ids: typing.Sequence[int] | None,
        states: tuple[str, ...],
        change: typing.Callable[[typing.Sequence[int]], None],
    ) -> int:
        left, last, count = collections.deque(ids or ()), 0, 0
        while True:
            with self.transaction():
                if ids is None:
                    chunk = self.some(states[0], last, _MOST_WOKEN)
                else:
                    wanted = [left.popleft() for _ in range(min(len(left), _MOST_WOKEN))]
                    chunk = sorted(self.lock(wanted, states)) if wanted else []
                if chunk:
                    change(chunk)
                    last = chunk[-1]
            count += len(chunk)
            if not (chunk if ids is None else left):
                return count

    def _retry(self, ids: typing.Sequence[int]) -> None:
        self.update(ids, state=PENDING, attempts=0, next_attempt_at=None)
        self._wake_behind(self.keys(ids))

    def _discard(self, ids: typing.Sequence[int]) -> None:
        keys = self.keys(ids)
        self.delete(ids)
        self._wake_behind(keys)

    # -- what a subclass does ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `ConfigurationError` if the table does not exist."""
        raise NotImplementedError

    def transaction(self) -> contextlib.AbstractContextManager[object]:
        """Return a context manager for a new transaction.

        On all databases except SQLite, the isolation level of the transaction is READ COMMITTED. The methods
        from `pending` to `commit_soon`, which this class defines below, are called only in such a transaction.
        """
        raise NotImplementedError

    def guarded(self, claim: Claim) -> contextlib.AbstractContextManager[Claim]:
        """Return a context manager in which a relay sends the rows of *claim*.

        The manager yields *claim* or a replacement, and the relay must use the yielded claim. In the block, code of the
        application may run, such as an observer. A subclass can prevent this code from breaking the claim's
        transaction.
        """
        return contextlib.nullcontext(claim)

    def pending(
        self, limit: int, ids: typing.Sequence[int] | None, skip: typing.Collection[str], after: int, largest: int
    ) -> tuple[list[Row], set[int]]:
        """Lock at most *limit* pending rows that no other relay has locked.

        If *ids* is given, lock only rows among *ids*. Lock only rows whose id is greater than *after* and whose
        alias is not in *skip*. Returns the rows in the order of their ids, and the ids of those rows whose bodies have
        more than *largest* bytes. To save memory, these bodies are not read.
        """
        raise NotImplementedError

    def unsent(self, keys: typing.Sequence[str], last: int, limit: int) -> dict[str, int]:
        """Count the unsent rows with ids up to *last* for each of *keys*. Count no more than *limit* rows in all."""
        raise NotImplementedError

    def candidates(self, ids: typing.Sequence[int]) -> list[Candidate]:
        """Return a `Candidate` for each row with an id in *ids*, in the order of the ids.

        This relay has locked the rows.
        """
        raise NotImplementedError

    def load(self, ids: typing.Sequence[int]) -> list[Row]:
        """Return the rows *ids* with their bodies, in the order of their ids. The caller must have locked the rows."""
        raise NotImplementedError

    def lock(self, ids: typing.Collection[int], states: typing.Sequence[str]) -> set[int]:
        """Lock the rows among *ids* that are in one of *states* and are not locked yet. Return their ids."""
        raise NotImplementedError

    def some(self, state: str, after: int, limit: int) -> list[int]:
        """Lock up to *limit* rows that have the state *state* and an id above *after*.

        Skip the rows that are already locked. Return the ids of the newly locked rows, in order.
        """
        raise NotImplementedError

    def orphans(self, limit: int) -> list[int]:
        """Lock up to *limit* rows that wait for an earlier row of their key, although no earlier row exists.

        Return the ids of the locked rows.
        """
        raise NotImplementedError

    def due(self, state: str, moment: datetime.datetime, limit: int) -> list[int]:
        """Lock up to *limit* rows in *state* whose `next_attempt_at` is *moment* or earlier. Return their ids."""
        raise NotImplementedError

    def waiting_behind(self, keys: typing.Collection[str], limit: int) -> list[int]:
        """Lock at most *limit* of the rows that wait for an earlier row with the same key. Return their ids.

        Only rows whose key is in *keys* are locked. The state of these rows is ``waiting``, and their
        `next_attempt_at` is empty. If another relay has locked a row
        of *keys*, wait for the lock. The wait is short. Do not wait for locks on rows of other keys.
        """
        raise NotImplementedError

    def keys(self, ids: typing.Sequence[int]) -> set[str]:
        """Return the keys of the rows *ids*."""
        raise NotImplementedError

    def update(self, ids: typing.Sequence[int], **values: object) -> None:
        """Update the rows with the ids *ids*. Each keyword argument is the name of a column and its new value."""
        raise NotImplementedError

    def delete(self, ids: typing.Sequence[int]) -> None:
        """Delete the rows with the ids in *ids*."""
        raise NotImplementedError

    def commit_soon(self) -> None:
        """Let this transaction commit without a wait for the server's disk, if the database has this option.

        If the server fails soon after the commit, the commit may be lost, and the sent rows are in the table again. In
        this case, a relay sends the rows again with the same ids. If a commit is lost, all later commits are lost, too.
        Therefore, the rows of one key stay in order.
        """

    def stats(self) -> OutboxStats:
        """Return the number of rows in each state, and the age of the oldest unsent row."""
        raise NotImplementedError

    def listen(self) -> Listener | None:
        """Begin to listen for new rows. Returns ``None`` if the database or its driver cannot report new rows."""
        return None

    def rest(self) -> None:
        """Close connections that are broken or too old. The relay calls this method after each wait and each error."""

    def close(self) -> None:
        """Close the connections that a subclass has opened. By default, nothing is closed."""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
