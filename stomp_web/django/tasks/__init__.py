"""The backend of ``django.tasks`` that sends tasks to a STOMP broker. ``manage.py stomp_worker`` runs the tasks.

Needs Django 6.0 or newer. With an older Django, importing this package raises `ImportError`.
"""

import importlib.util

import django

if importlib.util.find_spec("django.tasks") is None:
    raise ImportError(
        f"stomp_web.django.tasks needs django.tasks, which Django has since 6.0; this is Django {django.__version__}. "
        "Upgrade Django, or send messages and handle them: stomp_web.django.send and stomp_web.django.subscribe",
        name="django.tasks",
    )

from .backend import StompTaskBackend  # only now, because it imports django.tasks

__all__ = ["StompTaskBackend"]
