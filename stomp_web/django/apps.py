"""The configuration of the app ``"stomp_web.django"``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_deployment, check_outbox_app, check_settings
from .handlers import has_tasks

__all__ = ["StompConfig"]


class StompConfig(AppConfig):
    """The app ``"stomp_web.django"`` for INSTALLED_APPS, without models."""

    name = "stomp_web.django"
    label = "stomp_web"  # the default would be "django", the last part of the name
    verbose_name = "STOMP"

    def ready(self) -> None:
        """Register the system checks."""
        register(check_settings, "stomp_web")
        register(check_outbox_app, "stomp_web")
        register(check_deployment, "stomp_web", deploy=True)
        if has_tasks():
            from . import tasks  # noqa: F401 - registers Django's check of the task backends; an error before Django 6.0
