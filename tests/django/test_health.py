"""`health_urls`: the views that answer the probes of a project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks
from django.test import Client, override_settings
from django.urls import include, path, resolve, reverse

from stomp_web import ConfigurationError
from stomp_web.django import PublisherDoesNotExist
from stomp_web.django.health import health_urls
from tests.cli.running import ended, program
from tests.django.commands import with_tables, worker
from tests.health.probes import PORT, becomes, probe, url_of
from tests.wsgi.helpers import in_threads, run_python, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stomp_web.broker import Broker

urlpatterns = [
    *health_urls(),
    *health_urls("/patient", timeout=60, max_age=600),
    *health_urls("/both", using=["default", "audit"], details=True),
    *health_urls("/unknown", using="unknown"),
    path("internal/", include(health_urls("/up"))),
]


@pytest.fixture(autouse=True)
def urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def sqlite(tmp_path: Path) -> dict[str, Any]:
    return with_tables({"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "shop.sqlite3")})


# Two databases that cannot be opened, and a view that shows it.
WITHOUT_DATABASES = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.urls import path

database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/no/such/folder/shop.sqlite3", "ATOMIC_REQUESTS": True}
settings.configure(
    DATABASES={"default": database, "archive": database},
    INSTALLED_APPS=["stomp_web.django"],
    STOMP={"default": {"OPTIONS": {"url": "memory://"}}},
    ROOT_URLCONF="__main__",
    ALLOWED_HOSTS=["testserver"],
    LOGGING_CONFIG=None,
)
django.setup()

from stomp_web.django.health import health_urls

urlpatterns = [*health_urls(), path("shop", lambda request: HttpResponse())]
client = Client(raise_request_exception=False)
print([client.get(each).status_code for each in ("/shop", "/healthz", "/healthz/ready", "/healthz/live")])
"""


class TestViews:
    def test_a_broker_that_is_away_makes_the_site_not_ready_and_it_stays_live(self, local_broker: Broker):
        with serving("gunicorn", "tests.django.probed:application", STOMP_TEST_URL=local_broker.url) as url:
            answer = becomes(200, f"{url}/healthz")
            assert (answer.status, answer.members) == (200, {"status": "ok", "live": True, "ready": True})
            assert answer.headers["Content-Type"] == "application/json"
            local_broker.stop()
            assert becomes(503, f"{url}/healthz").members["ready"] is False
            assert probe(f"{url}/healthz/live").status == 200
            local_broker.start()
            becomes(200, f"{url}/healthz/ready")

    def test_a_flood_of_probes_asks_the_broker_once(self, broker_settings: Broker):
        statuses = in_threads(20, lambda number: [Client().get("/patient").status_code for _ in range(10)])
        assert statuses == [[200] * 10] * 20
        assert broker_settings.received("ABORT") == 1

    def test_live_asks_no_broker(self, broker_settings: Broker):
        assert Client().get("/healthz/live").json() == {"status": "ok", "live": True}
        assert broker_settings.connections_accepted == 0

    def test_head_has_no_body_and_other_methods_are_refused(self):
        assert Client().head("/healthz").content == b""
        assert Client().post("/healthz").status_code == 405

    def test_several_aliases_can_be_asked(self, local_broker: Broker):
        stomp = {"default": {"OPTIONS": {"url": "memory://"}}, "audit": {"OPTIONS": {"url": local_broker.url}}}
        local_broker.stop()
        with override_settings(STOMP=stomp):
            answer = Client().get("/both")
        assert answer.status_code == 503
        assert [each["ok"] for each in answer.json()["brokers"]] == [True, False]

    def test_they_need_no_login_and_their_names_can_be_reversed(self):
        assert reverse("stomp_web_healthz_ready") == "/healthz/ready"
        assert resolve("/internal/up/live").func.login_required is False  # for Django's LoginRequiredMiddleware

    def test_a_database_that_is_away_does_not_change_the_answers(self):
        done = run_python("-c", WITHOUT_DATABASES)
        assert done.stdout.splitlines()[-1] == "[500, 200, 200, 200]"

    def test_the_checks_of_urls_find_nothing(self):
        assert checks.run_checks(tags=["urls"]) == []

    def test_an_unknown_alias_and_bad_arguments_are_errors(self):
        with pytest.raises(PublisherDoesNotExist, match="'unknown'"):
            Client().get("/unknown")
        with pytest.raises(ConfigurationError, match="must begin with a slash"):
            health_urls("healthz/")
        with pytest.raises(ConfigurationError, match="max_age"):
            health_urls(max_age="long")

    def test_the_app_loads_nothing_of_it(self):
        done = run_python(
            "-c",
            "import sys, tests.django.project as project; project.set_up()\n"
            "print([each for each in sys.modules if 'web' in each and 'health' in each])",
        )
        assert done.stdout == "[]\n"


class TestCommands:
    def test_the_worker_answers_probes(self, local_broker: Broker, sqlite):
        with worker(local_broker, sqlite, "--concurrency", "1", *PORT) as process:
            url = url_of(process)
            assert becomes(200, url).members["executors"] == 1
            local_broker.stop()
            becomes(503, url)
            assert probe(f"{url}/live").status == 200
            local_broker.start()
            becomes(200, url)
            process.terminate()
            assert ended(process)[0] == 0

    def test_the_relay_answers_probes_and_keeps_a_file(self, local_broker: Broker, sqlite, tmp_path: Path):
        file = tmp_path / "health"
        with program(
            *("stomp_relay", *PORT, "--health-file", str(file)),
            module="tests.django.manage",
            STOMP_TEST_URL=local_broker.url,
            TEST_DATABASE=json.dumps(sqlite),
        ) as process:
            url = url_of(process)
            becomes(200, url)
            assert json.loads(file.read_text())["live"]
            process.terminate()
            assert ended(process)[0] == 0
        assert not file.exists()
