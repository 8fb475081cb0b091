"""`HealthMiddleware` answers the health probes that come to a WSGI application (PEP 3333)."""

from __future__ import annotations

import http
import re
import typing

from ..errors import ConfigurationError
from .check import HealthCheck
from .report import ALLOWED, HEADERS, LIVE, PATH, error_body, paths_below

if typing.TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["HealthMiddleware", "check_path"]

_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)


def check_path(path: str) -> str:
    """Return *path*. Raises `ConfigurationError` unless *path* is like ``/healthz``, without a slash at the end."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise ConfigurationError(
            f"the path of the health checks must begin with a slash and not end with one, such as {PATH!r}, not "
            f"{path!r}",
            "health_path",
        )
    return path


class HealthMiddleware:
    """Answers GET and HEAD requests for three paths. Other methods for these paths get 405. *app* answers other paths.

    * *check* - tells whether the application is ready.
    * *path* - ``/healthz`` by default. *path* and *path* + ``/ready`` answer 200 if *check* says that the application
      is ready, and otherwise 503. *path* + ``/live`` answers 200, and does not call *check*.

    Raises `ConfigurationError` for a bad *path*.

    >>> from stomp_web import Publisher
    >>> def application(environ, start_response):
    ...     start_response("404 Not Found", [])
    ...     return []
    >>> application = HealthMiddleware(application, HealthCheck(Publisher("memory://").check))
    """

    def __init__(self, app: WSGIApplication, check: HealthCheck, path: str = PATH) -> None:
        self.app = app
        self._check = check
        self._paths = paths_below(check_path(path))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a probe, or call the application."""
        live_only = self._paths.get(environ.get("PATH_INFO", ""))
        if live_only is None:
            return self.app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        headers = dict(HEADERS)
        if method in ALLOWED:
            report = LIVE if live_only else self._check()
            status, body = report.status(live_only), report.body(live_only)
        else:
            status, body = 405, error_body("a health check is a GET or HEAD request")
            headers["Allow"] = ", ".join(ALLOWED)
        headers["Content-Length"] = str(len(body))
        start_response(f"{status} {http.HTTPStatus(status).phrase}", list(headers.items()))
        return [b"" if method == "HEAD" else body]
