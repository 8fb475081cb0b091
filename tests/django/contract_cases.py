"""Django's own tests of task backends, with the backend of this package: `.ci/django-contract` runs them.

They are run as they are, but for those that assert what only Django's own backends are or do. These are named here,
with the reason. `tasks` is the package of that name in the tests of Django.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.test import override_settings
from tasks import test_dummy_backend, test_immediate_backend, test_tasks

from stomp_web.django import publisher
from stomp_web.django.outbox.models import TaskRecord
from stomp_web.django.tasks import StompTaskBackend
from stomp_web.django.tasks.running import TaskHandler
from tests.django.task_backends import received

if TYPE_CHECKING:
    from django.tasks import TaskResult


class Enqueuing(StompTaskBackend):
    """Remembers what it has sent, as Django's dummy backend does."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.results: list[TaskResult] = []

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> TaskResult:
        self.results.append(super().enqueue(task, args, kwargs))
        return self.results[-1]

    def clear(self) -> None:
        self.results.clear()
        TaskRecord.objects.all().delete()


class Running(StompTaskBackend):
    """Runs what it has sent as a worker does, and then reads the result."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> TaskResult:
        result = super().enqueue(task, args, kwargs)
        TaskHandler(self.alias)(received(publisher.outbox[-1]))
        result.refresh()
        return result


def backend(kind: type[StompTaskBackend], *queues: str, **options: Any) -> dict[str, Any]:
    return {"BACKEND": f"{kind.__module__}.{kind.__qualname__}", "QUEUES": list(queues), "OPTIONS": options}


TASKS = {
    "default": backend(Enqueuing, "default", "queue_1", scheduler=True),
    "immediate": backend(Running),
    "missing": {"BACKEND": "does.not.exist"},
}


@override_settings(TASKS=TASKS)
class TaskContract(test_tasks.TaskTestCase):
    databases = "__all__"

    # They name the class of the backend.
    test_using_correct_backend = None
    test_get_backend = None


@override_settings(TASKS={"default": backend(Enqueuing, "default", "unknown_queue")})
class EnqueuingContract(test_dummy_backend.DummyBackendTestCase):
    databases = "__all__"

    test_using_correct_backend = None  # names the class of the backend
    # They change an object in `results`; here a result is a row.
    test_refresh_result = None
    test_refresh_result_async = None
    # They replace the setting TASKS by one with Django's own backend.
    test_validate_on_enqueue = None
    test_validate_on_aenqueue = None


@override_settings(TASKS={"default": backend(Enqueuing, "default")})
class EnqueuingInTransactionContract(test_dummy_backend.DummyBackendTransactionTestCase):
    available_apps = ("stomp_web.django.outbox",)


@override_settings(TASKS={"default": backend(Running, "default")})
class RunningContract(test_immediate_backend.ImmediateBackendTestCase):
    databases = "__all__"

    test_using_correct_backend = None  # names the class of the backend
    # Results can be read here.
    test_cannot_get_result = None
    test_cannot_refresh_result = None
    # They replace the setting TASKS by one with Django's own backend.
    test_validate_on_enqueue = None
    test_validate_on_aenqueue = None
