"""Calls functions after the commit of a session's transaction. A rollback drops the functions."""

from __future__ import annotations

import dataclasses
import typing
import weakref

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from ..errors import ConfigurationError

__all__ = ["AnySession", "Ending", "plain_session"]

AnySession = typing.Union[Session, "scoped_session[typing.Any]", Connection]
_KEY: typing.Final = "stomp_web.ending"


def plain_session(session: typing.Any) -> Session | Connection:
    """Return *session* if it is a `Session` or a `Connection`. Otherwise, return the `Session` that *session* wraps.

    A ``scoped_session`` and an ``AsyncSession`` wrap a `Session`. Raises `ConfigurationError` for any other type.
    """
    if isinstance(session, scoped_session):
        session = session()
    session = getattr(session, "sync_session", session)  # an AsyncSession has it, inside run_sync()
    if not isinstance(session, Session | Connection):
        raise ConfigurationError(
            f"the session must be a sqlalchemy.orm.Session, a scoped_session or a Connection, not "
            f"{type(session).__name__}",
            "session",
        )
    return session


class Ending:
    """The functions to call after the commit of a session's outermost transaction.

    A function belongs to the transaction or savepoint in which it was added. Rolling back this transaction or savepoint
    drops the function. When a savepoint is released, its functions move to the enclosing transaction or savepoint.
    """

    def __init__(self, session: Session) -> None:
        self._session = weakref.ref(session)
        self._entries: list[_Entry] = []
        self._committed = False
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_soft_rollback", self._after_rollback)
        event.listen(session, "after_transaction_end", self._after_end)

    @classmethod
    def of(cls, session: Session) -> Ending:
        """Return the `Ending` of *session*. The first call for a session makes its `Ending`."""
        known = session.info.get(_KEY)
        if known is None or known.is_of_another(session):  # a sessionmaker may copy its `info`
            known = session.info[_KEY] = cls(session)
        return typing.cast(Ending, known)

    def is_of_another(self, session: Session) -> bool:
        """Return whether this `Ending` belongs to a session other than *session*."""
        return self._session() is not session

    def after_commit(self, group: object, value: object, function: typing.Callable[[list[typing.Any]], object]) -> None:
        """After the commit, call *function* with a list that contains *value*.

        If several calls of this method have the same *group* and *function*, one call of *function* gets the list of
        all their values, in order. If the session has no transaction, begin one. With ``autobegin=False``, raise
        `ConfigurationError` instead.
        """
        session = typing.cast(Session, self._session())
        current = session.get_nested_transaction() or session.get_transaction()
        if current is None and not session.autobegin:
            raise ConfigurationError("the session has no transaction, and autobegin=False: call session.begin() first")
        current = current or session.begin()
        self._entries.append(_Entry(current, group, value, function))

    def _after_commit(self, session: Session) -> None:
        savepoint = session.get_nested_transaction()
        if savepoint is None:
            self._committed = True
            return
        for entry in self._entries:
            if entry.transaction is savepoint and savepoint.parent is not None:
                entry.transaction = savepoint.parent

    def _after_rollback(self, _: Session, ended: SessionTransaction) -> None:
        self._entries = [entry for entry in self._entries if not _is_in(entry.transaction, ended)]

    def _after_end(self, _: Session, ended: SessionTransaction) -> None:
        """At the end of the outermost transaction, call the added functions if the transaction was committed.

        `after_commit` has added the functions. If a transaction or savepoint was rolled back, its functions are
        already dropped. If a function raises an exception, the session stays usable.
        """
        if ended.parent is not None:  # a savepoint: it was released before, or is closed without a release
            self._after_rollback(_, ended)
            return
        entries, self._entries = self._entries, []
        committed, self._committed = self._committed, False
        groups: dict[tuple[object, typing.Callable[[list[typing.Any]], object]], list[typing.Any]] = {}
        for entry in entries if committed else ():
            groups.setdefault((entry.group, entry.function), []).append(entry.value)
        errors: list[Exception] = []
        for (_group, call), values in groups.items():
            try:
                call(values)
            except Exception as error:  # noqa: BLE001 - raised after all functions were called
                errors.append(error)
        if errors:
            try:
                raise errors[0]
            finally:
                errors.clear()  # otherwise this frame and the traceback refer to each other


@dataclasses.dataclass(slots=True)
class _Entry:
    transaction: SessionTransaction
    group: object
    value: object
    function: typing.Callable[[list[typing.Any]], object]


def _is_in(transaction: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while transaction is not None:
        if transaction is outer:
            return True
        transaction = transaction.parent
    return False
