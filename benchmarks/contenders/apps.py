"""Web applications whose one view sends a confirmed message, called as a server would call them, without a server.

Each has the same view twice, with the message and without it; the difference is what the message adds to a request.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from wsgiref.util import setup_testing_defaults

from benchmarks.case import Case
from benchmarks.contender import Contender, Run
from benchmarks.frames import DESTINATION, payload
from benchmarks.outcome import repeat
from stomp_web.wsgi import StompMiddleware

Application = Callable[[dict[str, typing.Any], Callable[..., typing.Any]], Iterable[bytes]]

PLAIN, SENDING = "/plain", "/sending"


class WebApplication(Contender):
    """What the three have in common: how they are called."""

    def application(self, case: Case) -> Application:
        """The application, whose ``/sending`` sends and whose ``/plain`` does not."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the application's connections."""

    @contextlib.contextmanager
    def _requests(self, case: Case, path: str, sent: int) -> Iterator[Run]:
        application = self.application(case)
        environ: dict[str, typing.Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
        setup_testing_defaults(environ)
        statuses: set[str] = set()

        def start_response(status: str, _headers: object, _exc_info: object = None) -> Callable[[bytes], object]:
            statuses.add(status)
            return io.BytesIO().write

        def call() -> None:
            iterable = application(environ.copy(), start_response)
            for _ in iterable:
                pass
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

        def run(count: int) -> typing.Any:
            call()
            outcome = repeat(count, call, sent=sent)
            outcome.sent += sent
            if statuses != {"200 OK"}:
                raise RuntimeError(f"the application answered {', '.join(statuses)}")
            return outcome

        yield run
        self.close()

    def plain(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        return self._requests(case, PLAIN, 0)

    def sending(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        return self._requests(case, SENDING, 1)


class WsgiApplication(WebApplication):
    """A function and `StompMiddleware`."""

    def application(self, case: Case) -> Application:
        content = payload(case.size)

        def view(environ: dict[str, typing.Any], start_response: Callable[..., typing.Any]) -> Iterable[bytes]:
            if environ["PATH_INFO"] == SENDING:
                environ["stomp_web.publisher"].send(DESTINATION, content)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"done"]

        self._middleware = StompMiddleware(view, url=case.url)
        return typing.cast(Application, self._middleware)

    def close(self) -> None:
        self._middleware.close()


class FlaskApplication(WebApplication):
    """A Flask application with the extension."""

    def application(self, case: Case) -> Application:
        from flask import Flask

        from stomp_web.flask import Stomp

        content = payload(case.size)
        app = Flask("bench")
        app.config["STOMP_URL"] = case.url
        stomp = Stomp(app)
        self._publisher = app.extensions["stomp"].publisher

        @app.get(PLAIN)
        def plain() -> str:
            return "done"

        @app.get(SENDING)
        def sending() -> str:
            stomp.send(DESTINATION, content)
            return "done"

        return typing.cast(Application, app)

    def close(self) -> None:
        self._publisher.close()


class DjangoApplication(WebApplication):
    """A Django project with the app, and no middleware of Django's own."""

    def application(self, case: Case) -> Application:
        from django.conf import settings

        if not settings.configured:
            configure_django(case)
        from django.core.wsgi import get_wsgi_application

        return typing.cast(Application, get_wsgi_application())

    def close(self) -> None:
        from stomp_web.django import publishers

        publishers.close_all()


def configure_django(case: Case) -> None:
    import django
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    settings.configure(
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["stomp_web.django"],
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.urandom(16).hex(),
        STOMP={"default": {"OPTIONS": {"url": case.url}}},
    )
    django.setup()
    from stomp_web.django import publisher

    content = payload(case.size)

    def plain(_: HttpRequest) -> HttpResponse:
        return HttpResponse("done")

    def sending(_: HttpRequest) -> HttpResponse:
        publisher.send(DESTINATION, content)
        return HttpResponse("done")

    sys.modules[__name__].urlpatterns = [path(PLAIN[1:], plain), path(SENDING[1:], sending)]  # type: ignore[attr-defined]
