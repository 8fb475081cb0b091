"""`stomp_web.django.tasks` where Django has no tasks, and where nobody uses them."""

from __future__ import annotations

import importlib.util

import pytest

from tests.wsgi.helpers import run_python

HAS_TASKS = importlib.util.find_spec("django.tasks") is not None
PROJECT = """
import django, sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["stomp_web.django"], STOMP={{"default": {{"OPTIONS": {{"url": "memory://"}}}}}}, {more}
)
django.setup()
from django.core.management import call_command
call_command("check")
parts = ("django.tasks", "stomp_web.django.tasks", "stomp_web.worker")
print([name for name in sys.modules if name.startswith(parts)])
"""
TASKS = 'TASKS={"default": {"BACKEND": "stomp_web.django.tasks.StompTaskBackend"}}'


def test_with_an_older_django_the_import_says_so():
    if HAS_TASKS:
        assert importlib.import_module("stomp_web.django.tasks").StompTaskBackend.supports_priority is True
        return
    with pytest.raises(ImportError, match=r"stomp_web\.django\.tasks needs django\.tasks, .* 6\.0; this is Django 5\."):
        importlib.import_module("stomp_web.django.tasks")


def test_a_site_without_tasks_loads_none_of_it():
    done = run_python("-c", PROJECT.format(more=""))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stdout


def test_a_site_with_tasks_has_them_checked_or_does_not_start():
    done = run_python("-c", PROJECT.format(more=TASKS.replace('Backend"', 'Backend", "QUEUES": []')))
    assert done.returncode == 1
    if HAS_TASKS:
        assert "(stomp_web.E007) settings.TASKS['default']['QUEUES']: QUEUES is empty" in done.stdout
    else:
        assert "ImportError: stomp_web.django.tasks needs django.tasks" in done.stdout


@pytest.mark.skipif(HAS_TASKS, reason="Django gives this name a meaning since 6.0")
@pytest.mark.parametrize("value", ["['a']", "{'default': 'a'}", "{'default': {'BACKEND': 'django_tasks.backends.x'}}"])
def test_with_an_older_django_the_name_of_the_setting_may_mean_something_else(value):
    done = run_python("-c", PROJECT.format(more=f"TASKS={value}"))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stdout


@pytest.mark.skipif(not HAS_TASKS, reason="django.tasks is new in Django 6.0")
def test_a_site_that_only_sends_tasks_loads_no_worker():
    send = (
        "import django, sys; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['stomp_web.django'],"
        f"STOMP={{'default': {{'OPTIONS': {{'url': 'memory://'}}}}}}, {TASKS});"
        "django.setup(); from django.tasks import task_backends; task_backends['default'];"
        "print('stomp_web.worker.worker' in sys.modules, 'stomp_web.django.tasks.running' in sys.modules)"
    )
    done = run_python("-c", send)
    assert (done.returncode, done.stdout.strip()) == (0, "False False"), done.stdout
