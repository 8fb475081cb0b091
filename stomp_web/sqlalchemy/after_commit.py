"""Messages that are sent after the commit of a session, without an outbox table."""

from __future__ import annotations

import typing

from sqlalchemy.orm import Session

from .._internal.log import get_logger
from ..errors import ConfigurationError
from ..publisher import Publisher
from ..publisher.after_commit import Waiting, deliver_waiting
from ..publisher.events import notify_of_wait
from .sessions import AnySession, Ending, plain_session

__all__ = ["send_after_commit"]

_log = get_logger("sqlalchemy")


def send_after_commit(
    session: AnySession,
    publisher: Publisher,
    destination: str,
    payload: typing.Any,
    headers: typing.Mapping[str, str] | None = None,
    *,
    confirm: bool | None = None,
    timeout: float | None = None,
    **options: typing.Any,
) -> str:
    """Prepare one message, and return its id at once. The message is sent after the commit of *session*.

    After a rollback, the message is not sent. The payload is serialized now, and an invalid message is refused now. A
    message belongs to the savepoint in which it was made. If the savepoint is rolled back, the message is not sent. For
    each publisher, all messages of a transaction are sent as one batch, or as several batches if the messages differ in
    *confirm*. Sending begins after the transaction.

    * *session* - a `sqlalchemy.orm.Session`, or a ``scoped_session``.
    * *publisher* - the `Publisher` that sends the message.
    * the other arguments - see `Publisher.send`.

    If sending fails, the first error is raised at the end of the outermost transaction, for example by
    ``session.commit()``. The database has committed by then. If sending fails or the process dies after the commit, the
    message is lost or its outcome is unknown. If this is not acceptable, use an `Outbox`.

    Raises the exceptions of `Publisher.prepare`, and `ConfigurationError` for a *session* of another type.
    """
    plain = plain_session(session)
    if not isinstance(plain, Session):
        raise ConfigurationError("send_after_commit needs a Session; a Connection does not report its commits")
    message = publisher.prepare(destination, payload, headers, **options)
    confirm = publisher.options.confirm if confirm is None else confirm
    timeout = publisher.options.timeout if timeout is None else timeout
    Ending.of(plain).after_commit("send", Waiting(publisher, message, confirm, timeout), _deliver)
    if publisher.observers.known and publisher.observers:
        notify_of_wait(publisher.observers, message)
    return typing.cast(str, message.id)


def _deliver(waiting: list[Waiting]) -> None:
    failures = deliver_waiting(waiting, _log)
    if failures:
        raise failures[0][1]
