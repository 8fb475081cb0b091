"""The configuration of the app ``"stomp_web.django.outbox"``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

__all__ = ["StompOutboxConfig"]


class StompOutboxConfig(AppConfig):
    """The app ``"stomp_web.django.outbox"``. List it in INSTALLED_APPS beside ``"stomp_web.django"``."""

    name = "stomp_web.django.outbox"
    # Not "outbox", because an app of the project may have that label.
    label = "stomp_web_outbox"
    verbose_name = "STOMP outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from .checks import check_outbox, check_relays

        register(check_outbox, "stomp_web")
        register(check_relays, "stomp_web", deploy=True)
