"""`StompMiddleware(health_path=...)` and `HealthMiddleware` answer the probes of a WSGI application."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import pytest

from stomp_web import ConfigurationError, Publisher
from stomp_web.broker import Broker
from stomp_web.health import HealthCheck, HealthMiddleware
from stomp_web.wsgi import StompMiddleware, filter_app_factory
from tests.brokers.ports import lasting_broker
from tests.health.probes import becomes, probe
from tests.wsgi.browser import Browser
from tests.wsgi.helpers import in_threads, run_python, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def local_broker() -> Iterator[Broker]:
    with lasting_broker() as broker:
        yield broker


def handler(environ, start_response):
    start_response("202 Accepted", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


@pytest.mark.parametrize("server", ["gunicorn", "waitress"])
def test_a_broker_that_is_away_makes_it_not_ready_and_it_stays_live(server: str, local_broker: Broker):
    with serving(server, "tests.wsgi.probed:application", STOMP_URL=local_broker.url) as url:
        assert becomes(200, f"{url}/healthz").members == {"status": "ok", "live": True, "ready": True}
        local_broker.stop()
        answer = becomes(503, f"{url}/healthz/ready")
        assert answer.members == {
            "status": "unavailable",
            "live": True,
            "ready": False,
            "reason": "the broker does not answer, or refused the session; the log has the error",
        }
        assert answer.headers["Cache-Control"] == "no-store"
        assert probe(f"{url}/healthz/live").status == 200
        local_broker.start()
        becomes(200, f"{url}/healthz")


def test_a_flood_of_probes_asks_the_broker_once(local_broker: Broker):
    with serving("gunicorn", "tests.wsgi.probed:patient", STOMP_URL=local_broker.url) as url:
        statuses = in_threads(16, lambda number: [probe(f"{url}/healthz").status for _ in range(10)])
        assert statuses == [[200] * 10] * 16
        assert local_broker.received("ABORT") == 1
        assert local_broker.connections_accepted == 1


def test_live_asks_no_broker(local_broker: Broker):
    application = StompMiddleware(handler, url=local_broker.url, health_path="/healthz")
    assert Browser(application, lint=True).get("/healthz/live").json == {"status": "ok", "live": True}
    assert local_broker.connections_accepted == 0


def test_a_broker_that_does_not_answer_costs_a_probe_no_more_than_the_timeout(local_broker: Broker):
    with Publisher(local_broker.url) as publisher:
        application = HealthMiddleware(handler, HealthCheck(publisher.check, timeout=0.1))
        local_broker.faults.freeze()
        browser, done = Browser(application, lint=True), threading.Event()
        thread = threading.Thread(target=lambda: (browser.get("/healthz", status=503), done.set()))
        thread.start()
        assert done.wait(60)  # the publisher alone would take 5 seconds; no time is asserted, as machines differ
        thread.join()


def test_other_requests_go_to_the_application_and_have_the_publisher(local_broker: Broker):
    seen = []
    application = StompMiddleware(
        validator(lambda environ, start_response: (seen.append(environ), handler(environ, start_response))[1]),
        url="memory://",
        health_path="/healthz",
    )
    browser = Browser(validator(application), lint=True)
    for path in ("/", "/healthz/", "/healthz/other", "/orders/healthz"):
        assert browser.get(path).status_code == 202
    assert all(environ["stomp_web.publisher"] is application.publisher for environ in seen)
    assert len(seen) == 4


def test_head_has_no_body_and_other_methods_are_refused():
    browser = Browser(StompMiddleware(handler, url="memory://", health_path="/up"), lint=True)
    assert (browser.head("/up").headers["Content-Length"], browser.head("/up").body) == (
        browser.get("/up").headers["Content-Length"],
        b"",
    )
    assert browser.post("/up", status=405).headers["Allow"] == "GET, HEAD"


def test_pastedeploy_has_it_as_a_text():
    application = filter_app_factory(handler, {}, url="memory://", health_path="/internal/healthz")
    assert Browser(application, lint=True).get("/internal/healthz").json["ready"]
    assert Browser(application, lint=True).get("/healthz").status_code == 202


@pytest.mark.parametrize("path", ["healthz", "/", "", "/healthz/", "/a b", "/a?b", 5])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ConfigurationError, match="must begin with a slash and not end with one"):
        StompMiddleware(handler, url="memory://", health_path=path)


def test_without_a_path_nothing_of_it_is_loaded():
    done = run_python(
        "-c",
        "import sys; from stomp_web.wsgi import StompMiddleware; StompMiddleware(print, url='memory://')\n"
        "print([name for name in sys.modules if 'health' in name])",
    )
    assert done.stdout == "[]\n"
