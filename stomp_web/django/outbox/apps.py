"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

__all__ = ["StompOutboxConfig"]


class StompOutboxConfig(AppConfig):
    """``"stomp_web.django.outbox"`` in INSTALLED_APPS, beside ``"stomp_web.django"``."""

    name = "stomp_web.django.outbox"
    # An app of the project may be called "outbox".
    label = "stomp_web_outbox"
    verbose_name = "STOMP outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from .checks import check_outbox

        register(check_outbox, "stomp_web")
