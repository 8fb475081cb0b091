"""A WSGI middleware that puts a `Publisher` into the environ of each request (PEP 3333).

The middleware returns the application's iterable unchanged, so ``close()``, ``len()`` and ``wsgi.file_wrapper`` work.
One pool serves all requests of a process. The end of a request does not close the pool.
"""

from __future__ import annotations

import re
import typing

from ._internal.redacted import redact_secret, redact_secrets
from .config import DEFAULTS, read_options
from .errors import ConfigurationError
from .publisher import Publisher

if typing.TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ENVIRON_KEY", "StompMiddleware", "filter_app_factory", "filter_factory", "get_publisher"]

#: The default key in the environ.
ENVIRON_KEY: typing.Final = "stomp_web.publisher"

# PEP 3333. For validators, a key without a dot is a CGI variable, whose value must be a str.
_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


class StompMiddleware:
    """A middleware that puts a `Publisher` into the environ of *app*.

    * *publisher* - a publisher to share with other code. The middleware does not close a shared publisher.
    * *environ_key* - the key of the publisher in the environ. The key must contain a dot.
    * *health_path* - a path such as ``/healthz``, where the middleware answers health checks. See `HealthMiddleware`.
      Without this argument, no request is a health check.
    * *options* - the options of a new `Publisher`, such as ``url``. Options are not allowed together with *publisher*.

    Raises `ConfigurationError` for a bad key or option. A request raises this error if an outer middleware has another
    publisher under the same key. Without the error, messages could go to the wrong broker.

    >>> def application(environ, start_response):
    ...     environ["stomp_web.publisher"].send("/queue/orders", {"id": 7})
    ...     start_response("202 Accepted", [])
    ...     return []
    >>> application = StompMiddleware(application, url="memory://")
    """

    def __init__(
        self,
        app: WSGIApplication,
        publisher: Publisher | None = None,
        *,
        environ_key: str = ENVIRON_KEY,
        health_path: str | None = None,
        **options: typing.Any,
    ) -> None:
        publisher, options = redact_secret("url", publisher), redact_secrets(options)
        if not isinstance(environ_key, str) or not _KEY.fullmatch(environ_key):
            raise ConfigurationError(
                f"environ_key must be lower-case words joined by dots, such as {ENVIRON_KEY!r}, not {environ_key!r}",
                "environ_key",
            )
        if isinstance(publisher, str):
            raise ConfigurationError("publisher must be a Publisher; give an address as url='stomp://...'", "publisher")
        if publisher is not None and options:
            raise ConfigurationError(
                f"give StompMiddleware a publisher or options for one, not both: {', '.join(sorted(options))}",
                "publisher",
            )
        self.app = app
        self.environ_key = environ_key
        #: The publisher in the environ of each request.
        self.publisher = Publisher(**options) if publisher is None else publisher
        self._owner = publisher is None
        if health_path is not None:
            from .health import HealthCheck, HealthMiddleware

            self.app = HealthMiddleware(app, HealthCheck(self.publisher.check), health_path)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application. Raises `ConfigurationError` if *environ* has another publisher under the same key."""
        if environ.setdefault(self.environ_key, self.publisher) is not self.publisher:
            raise ConfigurationError(
                f"the environ already has another publisher under {self.environ_key!r}, from a StompMiddleware further "
                "out; give one of the two another environ_key, or both the same publisher",
                "environ_key",
            )
        return self.app(environ, start_response)

    def close(self, timeout: float = DEFAULTS.timeout) -> None:
        """Close the publisher within *timeout* seconds. A publisher that was passed to the constructor stays open."""
        if self._owner:
            self.publisher.close(timeout)


def get_publisher(environ: WSGIEnvironment, key: str = ENVIRON_KEY) -> Publisher:
    """Return the publisher in *environ*. Raises `ConfigurationError` if `StompMiddleware` has not set a publisher."""
    publisher: Publisher | None = environ.get(key)
    if publisher is None:
        raise ConfigurationError(
            f"there is no publisher in the environ under {key!r}; wrap the application: "
            f"StompMiddleware(application, url='stomp://...'{'' if key == ENVIRON_KEY else f', environ_key={key!r}'})",
            "environ_key",
        )
    return publisher


def filter_app_factory(
    app: WSGIApplication,
    global_conf: typing.Mapping[str, str] | None,  # noqa: ARG001 - PasteDeploy passes it
    **local_conf: str,
) -> StompMiddleware:
    """Wrap *app* for PasteDeploy.

    *local_conf* holds ``environ_key``, ``health_path`` and the options of `Publisher`, as strings.
    """
    local_conf = redact_secrets(local_conf)
    own: dict[str, typing.Any] = {
        name: local_conf.pop(name) for name in ("environ_key", "health_path") if name in local_conf
    }
    return StompMiddleware(app, **own, **read_options(local_conf))


def filter_factory(
    global_conf: typing.Mapping[str, str] | None, **local_conf: str
) -> typing.Callable[[WSGIApplication], StompMiddleware]:
    """Return a function that wraps an application for PasteDeploy. `filter_app_factory` describes the options."""
    local_conf = redact_secrets(local_conf)
    return lambda app: filter_app_factory(app, global_conf, **local_conf)
