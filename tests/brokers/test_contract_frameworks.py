"""The contract, frameworks: a request handler sends with one call, and a foreign client reads exactly what was sent.

The same handler in Flask, Django and plain WSGI: one payload as JSON, one pickled with a datetime inside.
"""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.foreign import ForeignClient
    from tests.brokers.running import RunningBroker

ORDER = {"id": 7, "name": "Zoë", "lines": [{"sku": "a:b\\c", "count": 2}]}
AUDIT = {"order": 7, "at": datetime(2026, 11, 23, 13, 45, 6, 789, tzinfo=UTC), "raw": b"\0\xff"}


def in_flask(url: str, destination: str) -> list[str]:
    flask = pytest.importorskip("flask")
    from stomp_web.flask import Stomp

    app = flask.Flask(__name__)
    app.config["STOMP_URL"] = url
    Stomp(app)

    @app.post("/orders")
    def create_order() -> Any:
        stomp = flask.current_app.extensions["stomp"]
        return [stomp.send(destination, ORDER), stomp.send(destination, AUDIT, serializer="pickle")]

    answer = app.test_client().post("/orders")
    app.extensions["stomp"].close()
    assert answer.status_code == 200
    return list(answer.get_json())


def in_django(url: str, destination: str) -> list[str]:
    pytest.importorskip("django")
    from tests.django.project import set_up

    set_up()
    from django.http import JsonResponse
    from django.test import RequestFactory, override_settings

    from stomp_web.django import publisher

    def create_order(request: Any) -> JsonResponse:
        ids = [publisher.send(destination, ORDER), publisher.send(destination, AUDIT, serializer="pickle")]
        return JsonResponse(ids, safe=False)

    with override_settings(STOMP={"default": {"OPTIONS": {"url": url}}}):
        answer = create_order(RequestFactory().post("/orders"))
    return list(json.loads(answer.content))


def in_wsgi(url: str, destination: str) -> list[str]:
    pytest.importorskip("webtest")
    from stomp_web.wsgi import StompMiddleware
    from tests.wsgi.browser import Browser

    def application(environ: Any, start_response: Any) -> list[bytes]:
        publisher = environ["stomp_web.publisher"]
        ids = [publisher.send(destination, ORDER), publisher.send(destination, AUDIT, serializer="pickle")]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(ids).encode()]

    middleware = StompMiddleware(application, url=url)
    answer = Browser(middleware).post("/orders")
    middleware.close()
    return list(answer.json)


@pytest.fixture(params=[in_flask, in_django, in_wsgi], ids=["flask", "django", "wsgi"])
def handle(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_handler_puts_a_json_and_a_pickled_message_on_the_broker(
    handle: Callable[[str, str], list[str]], broker: RunningBroker, inbox: ForeignClient, destination: str
) -> None:
    ids = handle(broker.url, destination)
    order, audit = inbox.get(), inbox.get()
    assert json.loads(order.body) == ORDER
    assert order.headers["content-type"] == "application/json"
    assert pickle.loads(audit.body) == AUDIT
    assert audit.headers["content-type"] == "application/x-python-serialize"
    assert [order.headers["x-message-id"], audit.headers["x-message-id"]] == ids
    assert order.headers["persistent"] == audit.headers["persistent"] == "true"
