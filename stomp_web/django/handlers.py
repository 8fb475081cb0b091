"""The handlers in ``stomp_handlers.py`` of installed apps, the handlers of tasks, and the worker of an alias."""

from __future__ import annotations

import contextlib
import sys
import typing

import django
from django.apps import apps
from django.conf import settings
from django.db import close_old_connections

from ..errors import ConfigurationError
from .publishers import DEFAULT_ALIAS, section_of

if typing.TYPE_CHECKING:
    from ..config import Options
    from ..worker import Handlers, ReceivedMessage, Worker

__all__ = ["fresh_connections", "handlers_by_alias", "handlers_of", "has_tasks", "make_worker", "subscribe"]

_Handler = typing.TypeVar("_Handler", bound="typing.Callable[[ReceivedMessage], object]")

#: The functions that `subscribe` has decorated.
handlers_by_alias: typing.Final[dict[str, Handlers]] = {}


def subscribe(
    destination: str,
    *,
    using: str = DEFAULT_ALIAS,
    ack: str = "client-individual",
    accept: typing.Sequence[str] = ("json", "text", "bytes"),
    headers: typing.Mapping[str, str] | None = None,
    id: str | None = None,
    untyped: str | None = None,
    sent_to: str | typing.Sequence[str] = (),
    once: bool = False,
) -> typing.Callable[[_Handler], _Handler]:
    """Return a decorator. ``stomp_worker`` calls the decorated function with each `ReceivedMessage` of *destination*.

    Define the function at the top level of ``stomp_handlers.py`` in an installed app. Database connections that are
    broken or older than ``CONN_MAX_AGE`` are closed before and after each message.

    * *using* - the alias in ``settings.STOMP`` whose broker has the destination.
    * *once* - handle each message once, even if it is delivered again. The function runs in ``transaction.atomic``. The
      same transaction inserts a row that names the message. Needs ``"stomp_web.django.outbox"`` in INSTALLED_APPS.
    * *ack*, *accept*, *headers*, *id*, *untyped* and *sent_to* - see `Handlers.subscribe`, also for the exceptions.
    """
    from ..worker import Handlers  # a site that only sends does not need it

    handlers = handlers_by_alias.setdefault(using, Handlers(once_arguments=1))
    return handlers.subscribe(
        destination, ack=ack, accept=accept, headers=headers, id=id, untyped=untyped, sent_to=sent_to, once=once
    )


def has_tasks() -> bool:
    """Return whether `stomp_web.django.tasks` was imported, or ``settings.TASKS`` names a backend of this package."""
    name = f"{__package__}.tasks"
    entries = getattr(settings, "TASKS", None)  # before Django 6.0, this name may have any other meaning
    backends = (
        [entry.get("BACKEND") for entry in entries.values() if isinstance(entry, dict)]
        if isinstance(entries, dict)
        else []
    )
    return name in sys.modules or any(str(backend).startswith(f"{name}.") for backend in backends)


def handlers_of(using: str) -> Handlers:
    """Return the imported handlers of the alias *using*, plus a handler for each task queue at the alias's broker.

    Raises `ConfigurationError` or `InvalidFrame` if the settings of the tasks cannot be used.
    """
    from ..worker import Handlers

    handlers = handlers_by_alias.get(using, Handlers(once_arguments=1)).copy()
    if has_tasks():
        from .tasks.running import subscribe_tasks  # needs Django 6.0

        subscribe_tasks(handlers, using)
    return handlers


def make_worker(using: str, options: Options, handlers: Handlers) -> Worker:
    """Return the worker for one alias of ``settings.STOMP``. *using* is the alias.

    The worker gets *options*, and the settings in ``settings.STOMP[using]["WORKER"]``.

    Raises `ConfigurationError` if a setting or a handler cannot be used. The error names the place of a wrong setting.
    """
    from ..worker import Worker

    section = section_of(using, "WORKER")
    inbox = None
    if any(handler.once for handler in handlers):
        if not apps.is_installed("stomp_web.django.outbox"):
            raise ConfigurationError(
                "a handler with once=True needs a table: add 'stomp_web.django.outbox' to INSTALLED_APPS, and run "
                "manage.py migrate"
            )
        from .outbox.inbox import DjangoInbox  # its models can be imported only if its app is installed

        inbox = DjangoInbox(using)
    try:
        return Worker.from_options(
            options, section, handlers=handlers, initializer=django.setup, around=fresh_connections, inbox=inbox
        )
    except ConfigurationError as error:
        if error.option not in section:
            raise
        raise ConfigurationError(f"settings.STOMP[{using!r}]['WORKER']: {error}", error.option) from None


@contextlib.contextmanager
def fresh_connections() -> typing.Iterator[None]:
    """Close broken and old database connections before and after a message. Django does the same for a request."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
