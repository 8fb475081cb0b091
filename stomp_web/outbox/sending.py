"""Sends the rows of a claim in batches. If a batch fails, smaller batches show which row causes the failure."""

from __future__ import annotations

import collections
import typing

from .._internal.log import get_logger
from ..client.message import Message
from ..connection.deadline import Deadline
from ..errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConfigurationError,
    InvalidFrame,
    MessageError,
    PoolClosed,
    PoolTimeout,
    ReceiptTimeout,
    Rejected,
    SerializationError,
)
from ..publisher import Publisher
from .order import waves
from .rows import Row, message_of

__all__ = ["Sending"]

_log = get_logger("outbox")

# Errors for which no message is at fault: there is no connection to the broker, or no connection is free.
_AWAY: typing.Final = (BrokerUnavailable, AuthenticationFailed, PoolTimeout, PoolClosed)


class Sending:
    """Sends the rows of one claim, and keeps their outcomes.

    * *publisher_of* - takes an alias and returns its publisher, or raises `ConfigurationError`.
    * *stopping* - returns true if no further batch may begin.

    `sent` holds the rows that the broker has confirmed. `failures` holds the rows that were not sent or have an
    unknown outcome, with their errors. `unreadable` holds the rows that can never be sent, with their errors. A row
    outside these three lists stays unchanged. `away` maps the alias of each publisher that could not send to the error.
    """

    def __init__(
        self, publisher_of: typing.Callable[[str], Publisher], stopping: typing.Callable[[], bool] = lambda: False
    ) -> None:
        self._publisher_of = publisher_of
        self._stopping = stopping
        self._stuck: set[str] = set()  # keys of rows that were not sent: later rows with these keys must wait
        self.sent: list[Row] = []
        self.failures: list[tuple[Row, Exception]] = []
        self.unreadable: list[tuple[Row, Exception]] = []
        self.away: dict[str, Exception] = {}

    def send(self, rows: typing.Sequence[Row], deadline: Deadline | None = None) -> None:
        """Send *rows* until *deadline*. Without a deadline, each batch may take the timeout of its publisher."""
        for wave in waves(rows):
            by_alias: dict[str, list[Row]] = collections.defaultdict(list)
            for row in wave:
                by_alias[row.route.alias].append(row)
            for alias, together in by_alias.items():
                if alias in self.away or not self._send(alias, together, deadline):
                    self._stuck.update(row.key for row in together if row.key is not None)

    def _send(self, alias: str, rows: typing.Sequence[Row], deadline: Deadline | None) -> bool:
        """Send *rows*, which are all rows of one wave with *alias*. Return false if sending has stopped early.

        Sending stops early if the constructor's function *stopping* returns true, if *deadline* has expired, or if
        `away` now contains *alias*.
        """
        try:
            publisher = self._publisher_of(alias)
        except ConfigurationError as error:
            for row in rows:
                self._fail(self.unreadable, row, error)
            return True
        todo: list[tuple[Row, Message]] = []
        for row in rows:
            try:
                todo.append((row, message_of(row)))
            except SerializationError as error:
                self._fail(self.unreadable, row, error)
            except InvalidFrame as error:
                self._fail(self.failures, row, error)
        size = len(todo)
        while todo:
            if self._stopping() or (deadline is not None and deadline.expired):
                return False
            part = [each for each in todo[:size] if each[0].key not in self._stuck]
            del todo[:size]
            if not part:
                continue
            left = self._try(alias, publisher, part, None if deadline is None else max(deadline.remaining(), 0.001))
            if left is None:
                return False
            size = 1 if left else 2 * size
            todo[:0] = left
        return True

    def _try(
        self, alias: str, publisher: Publisher, part: list[tuple[Row, Message]], timeout: float | None
    ) -> list[tuple[Row, Message]] | None:
        """Send *part* as one batch. Return the items of *part* that are still to be sent.

        If the rows of *alias* cannot be sent now, add *alias* to `Sending.away`, and return ``None``.
        """
        try:
            publisher.deliver_ready([message for _, message in part], True, timeout)
        except Exception as error:  # noqa: BLE001 - written into the row, and logged
            confirmed = set(error.confirmed) if isinstance(error, MessageError) else set()
            self.sent += [part[position][0] for position in sorted(confirmed)]
            left = [each for position, each in enumerate(part) if position not in confirmed]
            if isinstance(error, _AWAY):
                self.away[alias] = error
                return None
            at_fault = part[0][0] if len(part) == 1 else _refused(error, left)
            if at_fault is None:
                return left
            self._fail(self.failures, at_fault, error)
            if isinstance(error, ReceiptTimeout):  # every other row could take as long
                self.away[alias] = error
                return None
            return [each for each in left if each[0] is not at_fault]
        self.sent += [row for row, _ in part]
        return []

    def _fail(self, where: list[tuple[Row, Exception]], row: Row, error: Exception) -> None:
        _log.warning("message %s to %s was not sent from the outbox: %s", row.message_id, row.route.destination, error)
        where.append((row, error))
        if row.key is not None:
            self._stuck.add(row.key)


def _refused(error: Exception, left: typing.Sequence[tuple[Row, Message]]) -> Row | None:
    """Return the row of the message that the broker has refused, or ``None`` if the row is not known.

    The row is known if *error* is a `Rejected` with the message id of exactly one row in *left*.
    """
    if not isinstance(error, Rejected) or error.message_id is None:
        return None
    named = [row for row, _ in left if row.message_id == error.message_id]
    return named[0] if len(named) == 1 else None
