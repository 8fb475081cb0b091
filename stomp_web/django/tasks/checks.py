"""The system checks of a task backend. `stomp_web.django.checks` lists them."""

from __future__ import annotations

import typing

from django.apps import apps
from django.core import checks
from django.tasks import task_backends

from ...errors import ConfigurationError, InvalidFrame
from ...serializers import check_keys, get_serializer
from ...worker import Handlers
from ..publishers import publishers, section_of
from .backend import StompTaskBackend
from .running import subscribe_queues
from .settings import OUTBOX_APP

__all__ = ["check_backend"]

_DEFAULT_REDELIVERIES: typing.Final = 5  # of a worker


def check_backend(backend: StompTaskBackend) -> typing.Iterator[checks.CheckMessage]:
    """Yield the problems of the settings of *backend*."""
    where = f"settings.TASKS[{backend.alias!r}]"
    try:
        settings = backend.settings
        options = publishers.make(settings.using).options
        check_keys(get_serializer(settings.serializer), options.signing_keys)
        redeliveries = section_of(settings.using, "WORKER").get("max_redeliveries", _DEFAULT_REDELIVERIES)
        max_attempts = settings.max_attempts
        if isinstance(redeliveries, int) and max_attempts - 1 > redeliveries:
            raise ConfigurationError(
                f"max_attempts is {max_attempts}, and the worker of settings.STOMP[{settings.using!r}] makes a dead "
                f"letter after {redeliveries + 1} failures; set max_redeliveries in its WORKER to "
                f"{max_attempts - 1} or more",
                "max_attempts",
            )
        if apps.is_installed(OUTBOX_APP) and (store := settings.store) is not None:
            store.check_settings()
    except ConfigurationError as error:
        text = str(error) if str(error).startswith(where) else f"{where}['OPTIONS']: {error}"
        yield checks.Error(text, id="stomp_web.E006")
        return
    yield from _check_queues(backend, where)
    if not apps.is_installed("stomp_web.django"):
        text = f"{where} needs manage.py stomp_worker, and 'stomp_web.django' is not in INSTALLED_APPS."
        yield checks.Error(text, "Add it to INSTALLED_APPS.", id="stomp_web.E008")
    needing = [name for name in ("outbox", "results") if getattr(settings, name)]
    if needing and not apps.is_installed(OUTBOX_APP):
        text = f"{where}['OPTIONS'] has {' and '.join(needing)}, and {OUTBOX_APP!r} is not in INSTALLED_APPS."
        yield checks.Error(text, "Add it to INSTALLED_APPS, and run manage.py migrate.", id="stomp_web.E004")


def _check_queues(backend: StompTaskBackend, where: str) -> typing.Iterator[checks.CheckMessage]:
    try:
        subscribe_queues(Handlers(), backend)
    except ConfigurationError as error:
        yield checks.Error(f"{where}['QUEUES']: {error}", id="stomp_web.E007")
        return
    except InvalidFrame as error:  # a name in QUEUES, the option destination, or the option headers
        yield checks.Error(f"{where} has a queue that cannot be received from: {error}", id="stomp_web.E007")
        return
    mine = _destinations_of(backend)
    for alias in task_backends:
        other = task_backends[alias]
        if isinstance(other, StompTaskBackend) and alias < backend.alias and (shared := mine & _destinations_of(other)):
            names = ", ".join(sorted(shared))
            text = f"{where} and settings.TASKS[{alias!r}] have the same queue at the broker: {names}."
            hint = "Name another queue, or set the option destination of one of them."
            yield checks.Error(text, hint, id="stomp_web.E007")


def _destinations_of(backend: StompTaskBackend) -> set[str]:
    """Return a set with the text ``DESTINATION of 'ALIAS'`` for each queue of *backend*.

    ALIAS is the alias of the publisher. If an option is invalid, the set is empty.
    """
    try:
        settings = backend.settings
    except ConfigurationError:
        return set()
    return {f"{settings.destination_of(name)} of {settings.using!r}" for name in backend.queues}
