"""`health_urls`: views that answer health probes of a Django project."""

from __future__ import annotations

import functools
import typing

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_safe

from ..health import HealthCheck
from ..health.middleware import check_path
from ..health.report import HEADERS, LIVE, PATH, paths_below
from ..pool import Health
from .publishers import DEFAULT_ALIAS, publishers

__all__ = ["health_urls"]


def health_urls(
    url: str = PATH, *, using: str | typing.Iterable[str] = DEFAULT_ALIAS, **options: typing.Any
) -> list[URLPattern]:
    """Return the patterns of three views, for ``urlpatterns``: *url*, *url* + ``/ready`` and *url* + ``/live``.

    The first two answer 200 if the broker of every alias answers, and otherwise 503. The third answers 200, and asks no
    broker. The views use no database, even with ``ATOMIC_REQUESTS``, and need no login.

    * *url* - ``/healthz`` by default. If a URLconf includes these patterns with a prefix, the prefix comes before
      *url*.
    * *using* - the alias in ``settings.STOMP`` whose broker is asked, or several aliases.
    * *options* - *timeout*, *max_age* and *details* of `HealthCheck`.

    Raises `ConfigurationError` for a bad *url* or option. A view raises `PublisherDoesNotExist` for an unknown alias.
    """
    paths = paths_below(check_path(url))
    aliases = [using] if isinstance(using, str) else list(using)
    check = HealthCheck(*(functools.partial(_check, alias) for alias in aliases), **options)
    return [
        path(route.removeprefix("/"), _view(check, live_only), name=f"stomp_web{route.replace('/', '_')}")
        for route, live_only in paths.items()
    ]


def _check(alias: str, timeout: float) -> Health:
    return publishers[alias].check(timeout)  # looked up for each check, because tests override the settings


def _view(check: HealthCheck, live_only: bool) -> typing.Callable[[HttpRequest], HttpResponse]:
    @login_not_required
    @require_safe
    def answer(_request: HttpRequest) -> HttpResponse:
        report = LIVE if live_only else check()
        return HttpResponse(report.body(live_only), status=report.status(live_only), headers=HEADERS)

    for alias in connections:  # Django would begin a transaction in each database with ATOMIC_REQUESTS
        transaction.non_atomic_requests(alias)(answer)
    return answer
