"""`send` and `asend`: one message, now or after the commit of a database's transaction."""

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
    * *on_commit* - send after the database's transaction is committed, not at all after a rollback, and at once if no
      transaction is open. The payload is serialized now, and a message that cannot be sent is refused now.
    * *outbox* - write the message into the table of the outbox, in the open transaction; the relay sends it after the
      commit, and tries until the broker has confirmed it. Needs ``"stomp_web.django.outbox"`` in INSTALLED_APPS.
      ``None`` means false with *on_commit*, and otherwise what ``OUTBOX["default"]`` of the alias says.
    * *key* - in the outbox, a text that names what must stay in order, such as ``str(order.id)``. Messages with the
      same key reach the broker in the order in which they were written.
    * *database* - the alias of the database; ``None``: the default database, or, with *outbox*, that of the outbox.
    * *destination*, *payload*, *headers*, *confirm*, *timeout* and the other *options* - those of `Publisher.send`.

    Raises what `Publisher.send` raises. With *on_commit*, an error of the broker is raised where the outermost
    ``atomic`` block ends. The database has committed then. A message that failed, or whose process died after the
    commit, is missing, or its outcome is unknown.

    The messages of one transaction leave as one batch for each alias. All errors are logged, and the first is raised. A
    message that was certainly not sent because another one failed is sent again, alone. Time that a failed batch took
    is subtracted from the *timeout* of the next batch, of which at least a twentieth is left.
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
    """Send one message from an async view without blocking the event loop, and return its id.

    The arguments are those of `send`. The payload is serialized before the first ``await``, and the message is sent in
    a thread of the event loop's executor. `Publisher.asend` tells what happens if the task is cancelled.

    With *on_commit*, the thread in which Django runs the database for async code (``sync_to_async`` with
    ``thread_sensitive=True``) is asked whether a transaction is open there. If so, the message is sent in that thread
    after the commit, and `asend` returns at once; if not, the message is sent now, as without *on_commit*.
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
    """Return the function that keeps a message until the commit; ``None`` if the message is to be sent now.

    Raises `ConfigurationError` for arguments that contradict each other.
    """
    if outbox is None:
        outbox = not on_commit and publishers.outbox_is_default(using)
    if not outbox:
        if key is not None:
            raise ConfigurationError("key is for messages in the outbox; say outbox=True, too", "key")
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
    from .outbox.writing import write  # its models can only be imported with the app of the outbox

    return lambda message: write(message, using, key, database)


def _refuse_in_event_loop(destination: str, how: str) -> None:
    """In an event loop, raise what Django's connection would raise, but before anything is done, and with advice."""
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
# Django calls the functions that wait for a commit one after the other, and at the first exception it drops the rest.
# Each message has a function here, so that a rollback to a savepoint drops exactly the messages sent after it. The
# first function to be called delivers all messages of the transaction; the last one raises the first error.


def _after_commit(
    message: Message, using: str, database: str | None, confirm: bool | None, timeout: float | None
) -> None:
    """Send *message* after the commit in *database*, never after a rollback, and at once if no transaction is open."""
    options = publishers[using].options
    confirm = options.confirm if confirm is None else confirm
    timeout = options.timeout if timeout is None else timeout
    registered = transaction.get_connection(database).run_on_commit
    group = next((each[1].group for each in reversed(registered) if isinstance(each[1], _Waiting)), None) or _Group()
    waiting = _Waiting(message, using, database, confirm, timeout, group)
    transaction.on_commit(waiting, using=database)
    group.registered.append(weakref.ref(waiting))


class _Group:
    """The messages of one transaction, and the errors of those that could not be sent.

    The references are weak, so that only Django keeps a function, until the function is called or rolled back.
    """

    def __init__(self) -> None:
        self.registered: collections.deque[weakref.ref[_Waiting]] = collections.deque()
        self.errors: list[Exception] = []
        self.lost = TimeLost()


@dataclasses.dataclass(slots=True, weakref_slot=True, eq=False)
class _Waiting:
    """One message, as the function that Django calls after the commit."""

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
                del first  # otherwise, this frame and the exception's traceback hold each other

    def _later(self) -> typing.Iterator[_Waiting]:
        """The functions of the same transaction that Django will call after this one, in order."""
        calls = [each[1] for each in transaction.get_connection(self.database).run_on_commit]
        if self in calls:
            # A TestCase never commits: a function stays in the list even after its call, or if it will never be called.
            behind = calls[calls.index(self) + 1 :]
            yield from (each for each in behind if isinstance(each, _Waiting) and each.group is self.group)
            return
        registered = self.group.registered
        while registered and ((first := registered[0]()) is None or first.called):
            registered.popleft()
        yield from (each for reference in registered if (each := reference()) is not None)
