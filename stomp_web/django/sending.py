"""`send` and `asend`: one message, now or after the commit of a database's transaction."""

from __future__ import annotations

import asyncio
import os
import typing

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from ..client.message import Message
from ..errors import ConfigurationError
from ..publisher.in_thread import call_in_thread
from .on_commit import after_commit
from .publishers import DEFAULT_ALIAS, publishers

__all__ = ["asend", "send"]


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
    * *on_commit* - send after the database's transaction was committed, and not at all if it is rolled back; at once if
      there is none. The payload is written now, and a message that cannot be sent is refused now.
    * *outbox* - write the message into the table of the outbox, in the transaction that is open; the relay sends it
      after the commit, and tries until the broker has confirmed it (``"stomp_web.django.outbox"`` in INSTALLED_APPS).
      Without it, what ``OUTBOX["default"]`` of the alias says; it is false then with *on_commit*.
    * *key* - in the outbox: what must stay in order, such as ``str(order.id)``. Messages with one key reach the broker
      in the order in which they were written.
    * *database* - the alias of the database; without it, the default one, or that of the outbox.
    * *destination*, *payload*, *headers*, *confirm*, *timeout* and the other *options* - those of `Publisher.send`.

    Raises as `Publisher.send` does. With *on_commit*, an error of the broker is raised where the outermost ``atomic``
    block ends. The database has committed then: a message that failed, or whose process died between the two, is
    missing or of unknown outcome.

    The messages of one transaction leave as one batch for each alias. All errors are logged, and the first is raised. A
    message that was certainly not sent because another one failed is sent by itself. Time that a failed batch took is
    taken from the *timeout* of the next one, of which at least a twentieth is left.
    """
    if _in_outbox(using, on_commit, outbox, key, confirm, timeout):
        _refuse_in_event_loop(destination, "outbox=True")
        message = publishers[using].prepare(destination, payload, headers, **options)
        _write(message, using, key, database)
        return typing.cast(str, message.id)
    if not on_commit:
        return publishers[using].send(destination, payload, headers, confirm=confirm, timeout=timeout, **options)
    _refuse_in_event_loop(destination, "on_commit=True")
    message = publishers[using].prepare(destination, payload, headers, **options)
    after_commit(message, using, database, confirm, timeout)
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

    The arguments are those of `send`. The payload is written before the first ``await``, and the message is sent in a
    thread of the event loop's executor; what happens if the task is cancelled, see `Publisher.asend`.

    With *on_commit*, the thread in which Django runs the database for async code (``sync_to_async`` with
    ``thread_sensitive=True``) is asked whether a transaction is open there. If so, the message is sent in that thread
    after the commit, and this returns at once; if not, the message is sent now, as without *on_commit*.
    """
    publisher = publishers[using]
    if _in_outbox(using, on_commit, outbox, key, confirm, timeout):
        message = publisher.prepare(destination, payload, headers, **options)
        await sync_to_async(_write)(message, using, key, database)
        return typing.cast(str, message.id)
    if not on_commit:
        return await publisher.asend(destination, payload, headers, confirm=confirm, timeout=timeout, **options)
    message = publisher.prepare(destination, payload, headers, **options)

    def wait_for_commit() -> bool:
        connection = transaction.get_connection(database)
        if not connection.in_atomic_block and connection.get_autocommit():
            return False
        after_commit(message, using, database, confirm, timeout)
        return True

    if not await sync_to_async(wait_for_commit)():
        await call_in_thread(
            lambda left: publisher.deliver([message], confirm=confirm, timeout=left),
            message,
            publisher.options.timeout if timeout is None else timeout,
        )
    return typing.cast(str, message.id)


def _in_outbox(
    using: str, on_commit: bool, outbox: bool | None, key: str | None, confirm: bool | None, timeout: float | None
) -> bool:
    """Whether a message goes into the outbox. Raises `ConfigurationError` for arguments that contradict each other."""
    if outbox is None:
        outbox = not on_commit and publishers.outbox_is_default(using)
    if not outbox:
        if key is not None:
            raise ConfigurationError("key is for messages in the outbox; say outbox=True, too", "key")
        return False
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
    return True


def _write(message: Message, using: str, key: str | None, database: str | None) -> None:
    from .outbox.writing import write  # whose models only the app of the outbox may import

    write(message, using, key, database)


def _refuse_in_event_loop(destination: str, how: str) -> None:
    """Raise the exception that Django's database connection would raise, before anything is done, and with advice."""
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
