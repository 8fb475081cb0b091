"""`send` and `asend` send one message, now or after the commit of a database transaction."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import os
import typing
import weakref

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from .._internal.log import get_logger
from ..client.message import Message
from ..errors import ConfigurationError
from ..publisher import Publisher
from ..publisher.after_commit import TimeLost, deliver_waiting
from ..publisher.events import notify_of_wait
from ..publisher.in_thread import call_in_thread
from .publishers import DEFAULT_ALIAS, publishers

__all__ = ["asend", "send"]

_log = get_logger("django")


def send(
    destination: str,
    payload: typing.Any,
    headers: typing.Mapping[str, str] | None = None,
    *,
    using: str = DEFAULT_ALIAS,
    on_commit: bool = False,
    outbox: bool | None = None,
    key: str | None = None,
    database: str | None = None,
    confirm: bool | None = None,
    timeout: float | None = None,
    **options: typing.Any,
) -> str:
    """Send one message, and return its id.

    * *using* - the alias of the publisher.
    * *on_commit* - send after the commit of the database transaction, and never after a rollback. If no transaction is
      open, send at once. The call itself serializes the payload, and refuses an invalid message.
    * *outbox* - write the message into the outbox table, in the open transaction. After the commit, the relay sends the
      message, and tries again if no receipt comes. Needs ``"stomp_web.django.outbox"`` in INSTALLED_APPS.
      ``None`` means false if *on_commit* is true. Otherwise, ``None`` means the value of
      ``settings.STOMP[using]["OUTBOX"]["default"]``.
    * *key* - only with *outbox*. Messages with the same key, such as ``str(order.id)``, reach the broker in the order
      in which they were written.
    * *database* - the alias of the database. With *outbox*, ``None`` means the database of the outbox. Otherwise,
      ``None`` means the default database.
    * *destination*, *payload*, *headers*, *confirm*, *timeout* and the other *options* - see `Publisher.send`.

    Raises the exceptions of `Publisher.send`. With *on_commit*, the outermost ``atomic`` block sends after the commit,
    and then raises the first error. With *on_commit*, sending may fail after the commit, or the process may die before
    the end of the sending. The message is then lost, or its outcome is unknown.

    With *on_commit*, each publisher sends its messages of the transaction as one batch. If the messages differ in
    *confirm*, the publisher sends several batches. If one message of a batch fails, each message that was not sent
    because of it is tried again alone. If several messages wait for the commit, every error is also logged. The time of
    failed batches is subtracted from the *timeout* of later batches. Each batch keeps at least a twentieth of its
    *timeout*.
    """
    keep = _keeper(using, on_commit, outbox, key, database, confirm, timeout)
    if keep is None:
        return publishers[using].send(destination, payload, headers, confirm=confirm, timeout=timeout, **options)
    _refuse_in_event_loop(destination, "on_commit=True" if on_commit else "outbox=True")
    message = publishers[using].prepare(destination, payload, headers, **options)
    keep(message)
    return typing.cast(str, message.id)


async def asend(
    destination: str,
    payload: typing.Any,
    headers: typing.Mapping[str, str] | None = None,
    *,
    using: str = DEFAULT_ALIAS,
    on_commit: bool = False,
    outbox: bool | None = None,
    key: str | None = None,
    database: str | None = None,
    confirm: bool | None = None,
    timeout: float | None = None,
    **options: typing.Any,
) -> str:
    """Send one message from an async view, and return its id. The event loop is not blocked.

    `send` documents the arguments. The payload is serialized before the first ``await``. If the message is sent now, a
    thread of the event loop's executor sends it. `Publisher.asend` documents the effect of a cancelled task.

    For async code, Django uses the database in one thread (``sync_to_async`` with ``thread_sensitive=True``). With
    *outbox*, this thread writes the row. With *on_commit*, `asend` checks whether this thread has an open transaction.
    If so, `asend` returns at once, and this thread sends after the commit. Otherwise, the message is sent now.
    """
    publisher = publishers[using]
    keep = _keeper(using, on_commit, outbox, key, database, confirm, timeout)
    if keep is None:
        return await publisher.asend(destination, payload, headers, confirm=confirm, timeout=timeout, **options)
    message = publisher.prepare(destination, payload, headers, **options)

    def kept() -> bool:
        if on_commit:
            connection = transaction.get_connection(database)
            if not connection.in_atomic_block and connection.get_autocommit():
                return False
        keep(message)
        return True

    if not await sync_to_async(kept)():
        await call_in_thread(
            lambda left: publisher.deliver([message], confirm=confirm, timeout=left),
            message,
            publisher.options.timeout if timeout is None else timeout,
        )
    return typing.cast(str, message.id)


def _keeper(
    using: str,
    on_commit: bool,
    outbox: bool | None,
    key: str | None,
    database: str | None,
    confirm: bool | None,
    timeout: float | None,
) -> typing.Callable[[Message], None] | None:
    """Return the function that stores a message for sending after the commit.

    Return ``None`` if the message must be sent now. Raises `ConfigurationError` for contradictory arguments.
    """
    if outbox is None:
        outbox = not on_commit and publishers.outbox_is_default(using)
    if not outbox:
        if key is not None:
            raise ConfigurationError("key is for messages in the outbox; add outbox=True", "key")
        return (lambda message: _after_commit(message, using, database, confirm, timeout)) if on_commit else None
    if on_commit:
        raise ConfigurationError("outbox and on_commit exclude each other: the outbox sends after the commit anyway")
    if confirm is not None or timeout is not None:
        raise ConfigurationError(
            "a message in the outbox has no confirm and no timeout: the relay waits for the broker's receipt, and "
            "tries until it comes"
        )
    if not apps.is_installed("stomp_web.django.outbox"):
        raise ConfigurationError(
            "the outbox has no table: add 'stomp_web.django.outbox' to INSTALLED_APPS, and run manage.py migrate"
        )
    from .outbox.writing import write  # its models can be imported only if its app is installed

    return lambda message: write(message, using, key, database)


def _refuse_in_event_loop(destination: str, how: str) -> None:
    """In a running event loop, raise `SynchronousOnlyOperation` with advice on `asend`.

    Without this check, Django would raise the same exception later, without this advice.
    """
    if os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # no loop runs
        return
    raise SynchronousOnlyOperation(
        f"send({how}) to {destination} was called in a running event loop, and the transaction belongs to another "
        f"thread; nothing was sent. Use: await asend(..., {how})"
    )


# -- on_commit --------------------------------------------------------------------------------------------------------
# After a commit, Django calls the waiting functions one after the other. At the first exception, it drops the rest.
# Each message has its own function here, so that a rollback to a savepoint drops only the messages after the savepoint.
# The first function delivers all messages of the transaction, and the last function raises the first error.


def _after_commit(
    message: Message, using: str, database: str | None, confirm: bool | None, timeout: float | None
) -> None:
    """Send *message* after the commit in *database*, and never after a rollback. Without a transaction, send now."""
    publisher = publishers[using]
    options = publisher.options
    confirm = options.confirm if confirm is None else confirm
    timeout = options.timeout if timeout is None else timeout
    connection = transaction.get_connection(database)
    registered = connection.run_on_commit
    group = next((each[1].group for each in reversed(registered) if isinstance(each[1], _Waiting)), None) or _Group()
    waiting = _Waiting(message, using, database, confirm, timeout, group)
    transaction.on_commit(waiting, using=database)
    group.registered.append(weakref.ref(waiting))
    if connection.in_atomic_block and publisher.observers.known and publisher.observers:
        notify_of_wait(publisher.observers, message)


class _Group:
    """The messages of one transaction, and the errors of messages that could not be sent.

    `registered` has weak references to the `_Waiting` objects of the transaction. Only Django keeps these objects
    alive, in its list of functions to call after the commit. A rollback to a savepoint drops objects from this list.
    """

    def __init__(self) -> None:
        self.registered: collections.deque[weakref.ref[_Waiting]] = collections.deque()
        self.errors: list[Exception] = []
        self.lost = TimeLost()


@dataclasses.dataclass(slots=True, weakref_slot=True, eq=False)
class _Waiting:
    """One message. Django calls this object as a function after the commit."""

    message: Message
    using: str
    database: str | None
    confirm: bool
    timeout: float
    group: _Group
    sent: bool = False
    called: bool = False

    @property
    def publisher(self) -> Publisher:
        return publishers[self.using]

    def __call__(self) -> None:
        self.called = True
        group = self.group
        if not self.sent:
            batch = [self, *(each for each in self._later() if not each.sent)]
            for each in batch:
                each.sent = True
            group.errors += [error for _, error in deliver_waiting(batch, _log, group.lost)]
        if group.errors and next(self._later(), None) is None:
            first, group.errors, group.lost = group.errors[0], [], TimeLost()
            try:
                raise first
            finally:
                del first  # otherwise this frame and the traceback refer to each other

    def _later(self) -> typing.Iterator[_Waiting]:
        """Yield the later `_Waiting` objects of the same transaction, in the order in which Django will call them."""
        calls = [each[1] for each in transaction.get_connection(self.database).run_on_commit]
        if self in calls:
            # A TestCase never commits: a function stays in the list after its call, or if it is never called.
            behind = calls[calls.index(self) + 1 :]
            yield from (each for each in behind if isinstance(each, _Waiting) and each.group is self.group)
            return
        registered = self.group.registered
        while registered and ((first := registered[0]()) is None or first.called):
            registered.popleft()
        yield from (each for reference in registered if (each := reference()) is not None)
