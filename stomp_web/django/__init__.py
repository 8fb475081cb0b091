"""The Django app: publishers for the aliases in ``settings.STOMP``, and handlers of messages.

``"stomp_web.django"`` in INSTALLED_APPS adds the system checks and the commands ``stomp_send``, ``stomp_ping`` and
``stomp_worker``. Importing this module needs no settings. The first use reads the settings.
"""

from .handlers import subscribe
from .publishers import PublisherDoesNotExist, Publishers, message_sent, publisher, publishers, send_failed
from .sending import asend, send

__all__ = [
    "PublisherDoesNotExist",
    "Publishers",
    "asend",
    "message_sent",
    "publisher",
    "publishers",
    "send",
    "send_failed",
    "subscribe",
]
