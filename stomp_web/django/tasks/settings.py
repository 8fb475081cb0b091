"""The options of a task backend: ``OPTIONS`` of an alias in ``settings.TASKS``."""

from __future__ import annotations

import dataclasses
import types
import typing

from django.apps import apps

from ..._internal.redacted import redact_secrets
from ...config import unknown_option, whole_number
from ...errors import ConfigurationError
from ..publishers import DEFAULT_ALIAS, publishers

if typing.TYPE_CHECKING:
    from .results import TaskResults

__all__ = ["DEFAULT_DESTINATION", "QUEUE", "TaskSettings", "read_task_settings"]

OUTBOX_APP: typing.Final = "stomp_web.django.outbox"
#: Stands for the name of the queue in the option `destination`.
QUEUE: typing.Final = "{queue}"
DEFAULT_DESTINATION: typing.Final = f"/queue/tasks.{QUEUE}"
#: The serializers for tasks. A task has only JSON values, and a reader must not load pickles.
_SERIALIZERS: typing.Final = ("json", "signed-json")
_NO_HEADERS: typing.Final[typing.Mapping[str, str]] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True, slots=True)
class TaskSettings:
    """The options of a task backend.

    * `using` - the alias in ``settings.STOMP`` whose broker has the queues. Default: ``default``.
    * `destination` - the destination of a queue. ``{queue}`` stands for the queue's name. Default:
      ``/queue/tasks.{queue}``.
    * `headers` - additional headers of each SEND and SUBSCRIBE, such as ``x-queue-type`` for RabbitMQ. Default: none.
    * `serializer` - ``json`` or ``signed-json``. ``signed-json`` needs the alias's ``signing_keys``. Default: ``json``.
    * `outbox` - whether a task is written into the outbox. Default: ``None``. If `on_commit` is true, ``None`` means
      no. Otherwise, ``None`` means the value of ``OUTBOX["default"]`` of the alias.
    * `on_commit` - whether a task is sent after the commit of the open transaction. Default: no.
    * `results` - whether results are stored. Default: ``None``, which means yes if the outbox app is installed.
    * `keep` - after how many days a finished result is removed. Default: 7.
    * `max_attempts` - how many attempts a task has, if each attempt raises. Default: 1, so there is no second attempt.
    * `scheduler` - whether the broker delays a message that has the header ``AMQ_SCHEDULED_DELAY``. ActiveMQ's
      scheduler does so. If `scheduler` is true, tasks may have `run_after`. Default: no.
    """

    using: str = DEFAULT_ALIAS
    destination: str = DEFAULT_DESTINATION
    headers: typing.Mapping[str, str] = _NO_HEADERS
    serializer: str = _SERIALIZERS[0]
    outbox: bool | None = None
    on_commit: bool = False
    results: bool | None = None
    keep: float = 7.0
    max_attempts: int = 1
    scheduler: bool = False

    def destination_of(self, queue: str) -> str:
        """Return the destination of the queue *queue*."""
        return self.destination.replace(QUEUE, queue)

    @property
    def uses_outbox(self) -> bool:
        """Whether a task is written into the outbox."""
        if self.outbox is None:
            return not self.on_commit and publishers.outbox_is_default(self.using)
        return self.outbox

    @property
    def stores_results(self) -> bool:
        """Whether the backend stores the results of tasks in the database."""
        return apps.is_installed(OUTBOX_APP) if self.results is None else self.results

    @property
    def database(self) -> str:
        """The alias of the database with the outbox and the results."""
        from ..outbox.settings import database_of, read_outbox_settings

        return database_of(read_outbox_settings(self.using))

    @property
    def store(self) -> TaskResults | None:
        """The stored results. ``None`` if results are not stored.

        Raises `ConfigurationError` if results are to be stored, but the outbox app is not installed.
        """
        if not self.stores_results:
            return None
        if not apps.is_installed(OUTBOX_APP):
            raise ConfigurationError(
                f"the results of tasks have no table: add {OUTBOX_APP!r} to INSTALLED_APPS, and run manage.py migrate",
                "results",
            )
        from .results import TaskResults  # its models can be imported only if its app is installed

        return TaskResults(self.database)


_NAMES: typing.Final = tuple(field.name for field in dataclasses.fields(TaskSettings))


def read_task_settings(alias: str, options: dict[str, typing.Any]) -> TaskSettings:
    """Return the settings of the task backend *alias*. Raises `ConfigurationError` if an option is invalid."""
    if not isinstance(options, dict):
        raise ConfigurationError(
            f"settings.TASKS[{alias!r}]['OPTIONS'] must be a dict, not of type {type(options).__name__}", "OPTIONS"
        )
    options = redact_secrets(options)
    try:
        for name, value in options.items():
            _check(name, value)
        settings = TaskSettings(**options)
        if settings.outbox and settings.on_commit:
            raise ConfigurationError(
                "outbox and on_commit exclude each other: the outbox sends after the commit anyway", "outbox"
            )
    except ConfigurationError as error:
        raise ConfigurationError(f"settings.TASKS[{alias!r}]['OPTIONS']: {error}", error.option) from None
    return settings


def _check(name: str, value: object) -> None:
    problem = ""
    if name not in _NAMES:
        raise unknown_option(name, known=_NAMES)
    if name in {"on_commit", "scheduler"} and not isinstance(value, bool):
        problem = "must be True or False"
    elif name in {"outbox", "results"} and value is not None and not isinstance(value, bool):
        problem = "must be True, False or None"
    elif name == "serializer" and value not in _SERIALIZERS:
        problem = f"must be {' or '.join(map(repr, _SERIALIZERS))}, because a task has only JSON values"
    elif name == "destination" and (not isinstance(value, str) or QUEUE not in value):
        problem = f"must be a text that contains {QUEUE}, such as {DEFAULT_DESTINATION!r}"
    elif name == "using" and not isinstance(value, str):
        problem = "must be an alias of settings.STOMP"
    elif name == "headers" and not (
        isinstance(value, typing.Mapping) and all(isinstance(each, str) for pair in value.items() for each in pair)
    ):
        problem = "must be a dict of str to str"
    elif name == "keep" and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0.001 <= value < 36_500
    ):
        problem = "must be a number of days"
    elif name == "max_attempts":
        whole_number(name, value, 1, 10_000)
    if problem:
        raise ConfigurationError(f"{name} {problem}, not {value!r}", name)
