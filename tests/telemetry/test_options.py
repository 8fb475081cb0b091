"""`telemetry=True` in every framework, and its absence."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")

from stomp_web import ConfigurationError, Publisher
from stomp_web.telemetry.handling import WorkerTelemetry
from stomp_web.telemetry.sends import SendTelemetry
from stomp_web.worker import Worker
from stomp_web.wsgi import StompMiddleware, filter_app_factory


def is_on(target):
    return any(isinstance(each, SendTelemetry | WorkerTelemetry) for each in target.observers.known)


def application(environ, start_response):
    raise NotImplementedError


class TestPublisherAndWorker:
    def test_on(self):
        assert is_on(Publisher("memory://", telemetry=True))
        assert is_on(Publisher("stomp://localhost?telemetry=true"))
        worker = Worker(telemetry=True)
        assert is_on(worker)
        assert worker.trace is not None
        assert is_on(Worker("stomp://localhost?telemetry=true"))

    def test_off(self):
        assert not Publisher("memory://").observers
        assert not Publisher("memory://", telemetry=False).observers
        worker = Worker()
        assert not worker.observers
        assert worker.trace is None

    def test_a_worker_has_the_option_of_the_publisher(self):
        assert is_on(Worker.from_options(Publisher("stomp://localhost", telemetry=True).options))
        assert not is_on(Worker.from_options(Publisher("stomp://localhost").options))

    def test_a_bad_value_is_refused(self):
        with pytest.raises(ConfigurationError, match="the option telemetry must be true or false, not 'perhaps'"):
            Publisher("memory://", telemetry="perhaps")


class TestWsgi:
    def test_on(self):
        assert is_on(StompMiddleware(application, url="memory://", telemetry=True).publisher)
        assert is_on(filter_app_factory(application, {}, url="memory://", telemetry="yes").publisher)

    def test_off(self):
        assert not is_on(StompMiddleware(application, url="memory://").publisher)


class TestFlask:
    def make(self, **config):
        flask = pytest.importorskip("flask")
        from stomp_web.flask import Stomp

        app = flask.Flask("shop")
        app.config.update(STOMP_URL="stomp://localhost", **config)
        stomp = Stomp(app)
        stomp.subscribe("/queue/a")(print)
        return app

    @pytest.mark.parametrize("on", [True, False])
    def test_publisher_and_worker(self, on):
        app = self.make(STOMP_TELEMETRY=on)
        from flask.cli import ScriptInfo

        from stomp_web.flask.cli import make_worker

        state = app.extensions["stomp"]
        assert is_on(state.publisher) is on
        assert is_on(make_worker(state, ScriptInfo(create_app=lambda: app), processes=None)) is on


class TestDjango:
    @pytest.fixture(autouse=True)
    def django(self):
        pytest.importorskip("django")
        from django.conf import settings

        if not settings.configured:
            settings.configure(STOMP={})

    @pytest.mark.parametrize("on", [True, False])
    def test_publisher_and_worker(self, on):
        from django.test import override_settings

        from stomp_web.django.handlers import make_worker
        from stomp_web.django.publishers import publishers
        from stomp_web.worker import Handlers

        with override_settings(STOMP={"default": {"OPTIONS": {"url": "stomp://localhost", "telemetry": on}}}):
            assert is_on(publishers["default"]) is on
            assert is_on(make_worker("default", publishers["default"].options, Handlers())) is on


def test_nothing_of_it_is_imported_when_it_is_off():
    code = (
        "import sys\n"
        "from stomp_web import Publisher; from stomp_web.worker import Worker; from stomp_web.outbox import Relay\n"
        "Publisher('memory://').send('/queue/a', 1); Worker()\n"
        "print(*(name for name in sys.modules if name.startswith(('opentelemetry', 'stomp_web.telemetry'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_command_of_the_relay_counts_the_outbox(tmp_path, telemetry):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from stomp_web.outbox.command import run_relay
    from stomp_web.sqlalchemy import Outbox
    from stomp_web.telemetry.meters import meters_of

    with Publisher("memory://") as publisher:
        outbox = Outbox(metadata := sqlalchemy.MetaData(), publisher)
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db")
        metadata.create_all(engine)
        relay = outbox.relay(engine)
        assert run_relay(relay, once=True, telemetry=True) == 0
        assert relay in meters_of(None).relays.alive()
        engine.dispose()
