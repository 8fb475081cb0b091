"""`StompPanel`: a panel of django-debug-toolbar with the messages that a request has sent.

Importing this module needs django-debug-toolbar. Without it, `ImportError` is raised.
"""

from __future__ import annotations

import functools
import typing

from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine, Template

from ..panels.collector import Collection, watch
from ..panels.report import TITLE, make_report, template
from .publishers import publishers

try:
    from debug_toolbar.panels import Panel
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "debug_toolbar":
        raise
    raise ImportError(
        "stomp_web.django.debug_toolbar needs django-debug-toolbar, which is not installed: "
        "pip install django-debug-toolbar",
        name="debug_toolbar",
    ) from None

__all__ = ["StompPanel"]


class StompPanel(Panel):
    """The panel for ``DEBUG_TOOLBAR_PANELS``. It shows the messages of all publishers, also in async views.

    A row has the destination, the outcome, the duration of the call, the size of the body and the message id. Messages
    that were sent before the request, after the response or by the application's own threads are not in the panel.
    """

    title = TITLE
    nav_title = "STOMP"
    is_async = True

    def __init__(self, toolbar: typing.Any, get_response: typing.Any) -> None:
        super().__init__(toolbar, get_response)
        self._collection = Collection()

    @classmethod
    def ready(cls) -> None:
        """Begin to observe all publishers when the project starts. django-debug-toolbar calls this method."""
        watch(*publishers.made())

    def enable_instrumentation(self) -> None:
        """Begin to record messages."""
        watch(*publishers.made())  # again, because another project's app may have made a publisher before `ready`
        self._collection.begin()

    def disable_instrumentation(self) -> None:
        """Record no more messages."""
        self._collection.end()

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        """Store the data that the panel shows."""
        self.record_stats(make_report(self._collection))  # type: ignore[no-untyped-call, unused-ignore]

    def generate_server_timing(self, request: HttpRequest, response: HttpResponse) -> None:
        """Add the total time of all send calls to the header ``Server-Timing``."""
        stats = self._stats()
        title = f"STOMP: {stats['subtitle']}"
        self.record_server_timing("time", title, stats["milliseconds"])  # type: ignore[no-untyped-call, unused-ignore]

    @property
    def nav_subtitle(self) -> str:
        """Return a text such as ``3 messages in 4.2 ms``."""
        return str(self._stats().get("subtitle", ""))

    @property
    def content(self) -> str:
        """Return the table of messages as HTML."""
        return _template().render(Context(self._stats()))

    def _stats(self) -> dict[str, typing.Any]:
        """Return the dict that `generate_stats` has recorded, or an empty dict.

        The toolbar may load the recorded dict from its store.
        """
        return typing.cast(
            "dict[str, typing.Any]",
            self.get_stats(),  # type: ignore[no-untyped-call, unused-ignore]
        )


@functools.cache
def _template() -> Template:
    # An engine of its own: the project need not have "stomp_web.django" in INSTALLED_APPS, or load templates of apps.
    return Engine(autoescape=True).from_string(template())
