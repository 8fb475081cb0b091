"""Web applications whose one view sends a confirmed message, called as a server would call them, without a server.

Each has the same view three times: with the message, without it, and with a message over a bare socket. The difference
to the one without is what the message adds to a request.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from wsgiref.util import setup_testing_defaults

from benchmarks.case import Case
from benchmarks.contender import Contender, Run
from benchmarks.contenders.raw import RawConnection
from benchmarks.frames import DESTINATION, payload, send_frame
from benchmarks.outcome import repeat
from stomp_web.observers import Event, SendBegan
from stomp_web.wsgi import StompMiddleware

Application = Callable[[dict[str, typing.Any], Callable[..., typing.Any]], Iterable[bytes]]

PLAIN, SENDING, TRACING, RAW = "/plain", "/sending", "/tracing", "/raw"


def add_trace(event: Event) -> None:
    """Do what a tracing observer does: a new ``traceparent`` for every message."""
    if isinstance(event, SendBegan):
        identifier = os.urandom(24).hex()
        event.headers["traceparent"] = f"00-{identifier[:32]}-{identifier[32:]}-01"


class WebApplication(Contender):
    """What the three have in common: how they are called."""

    #: Sends a message over a bare socket, for the view at `RAW`, and waits for the receipt.
    send_raw: Callable[[], None]

    def application(self, case: Case) -> Application:
        """The application: ``/sending`` and ``/tracing`` send, ``/raw`` calls `send_raw`, ``/plain`` does neither."""
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

    @contextlib.contextmanager
    def raw(self, case: Case) -> Iterator[Run]:
        frame = send_frame(case.size, "1", DESTINATION)
        connection = RawConnection(case)
        self.send_raw = functools.partial(connection.confirmed, frame)
        with self._requests(case, RAW, 1) as run:
            yield run
        connection.close()

    def plain(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        return self._requests(case, PLAIN, 0)

    def sending(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        return self._requests(case, SENDING, 1)

    def tracing(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        return self._requests(case, TRACING, 1)


class WsgiApplication(WebApplication):
    """A function and `StompMiddleware`."""

    def application(self, case: Case) -> Application:
        content = payload(case.size)

        def view(environ: dict[str, typing.Any], start_response: Callable[..., typing.Any]) -> Iterable[bytes]:
            if environ["PATH_INFO"] == SENDING:
                environ["stomp_web.publisher"].send(DESTINATION, content)
            elif environ["PATH_INFO"] == RAW:
                self.send_raw()
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
        numbers = itertools.count(1)
        app = Flask("bench")
        app.config["STOMP_URL"] = case.url
        stomp = Stomp(app)
        self._publisher = app.extensions["stomp"].publisher
        if case.task == "tracing":
            self._publisher.observers.add(add_trace)

        @app.get(PLAIN)
        def plain() -> str:
            return "done"

        @app.get(SENDING)
        def sending() -> str:
            stomp.send(DESTINATION, content)
            return "done"

        @app.get(TRACING)
        def tracing() -> str:
            number = str(next(numbers))
            stomp.send(DESTINATION, content, {"order": number, "customer": "c" + number})
            return "done"

        @app.get(RAW)
        def raw() -> str:
            self.send_raw()
            return "done"

        return typing.cast(Application, app)

    def close(self) -> None:
        self._publisher.close()


class DjangoApplication(WebApplication):
    """A Django project with the app, and no middleware of Django's own."""

    def application(self, case: Case) -> Application:
        from django.conf import settings

        if not settings.configured:
            configure_django(case, lambda: self.send_raw())  # noqa: PLW0108 - it is set later
        from django.core.wsgi import get_wsgi_application

        return typing.cast(Application, get_wsgi_application())

    def close(self) -> None:
        from stomp_web.django import publishers

        publishers.close_all()


def configure_django(case: Case, send_raw: Callable[[], None]) -> None:
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

    def raw(_: HttpRequest) -> HttpResponse:
        send_raw()
        return HttpResponse("done")

    views = {PLAIN: plain, SENDING: sending, RAW: raw}
    sys.modules[__name__].urlpatterns = [path(where[1:], view) for where, view in views.items()]  # type: ignore[attr-defined]
