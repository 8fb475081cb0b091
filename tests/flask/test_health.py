"""`health_blueprint`: the views that answer the probes of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flask import Flask

from stomp_web import ConfigurationError
from stomp_web.flask import Stomp
from stomp_web.flask.health import health_blueprint
from tests.cli.running import ended, program
from tests.health.probes import PORT, becomes, probe, url_of
from tests.wsgi.helpers import in_threads, run_python, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web.broker import Broker


@pytest.fixture(autouse=True)
def made() -> Iterator[list[Flask]]:
    """The apps of the test, whose publishers are closed at its end."""
    _made.clear()
    yield _made
    for app in _made:
        for key in ("stomp", "audit_stomp"):
            if key in app.extensions:
                app.extensions[key].close()


_made: list[Flask] = []


def create_app(url: str = "memory://", name: str = "shop", audit: str | None = None, **config) -> Flask:
    app = Flask(name)
    _made.append(app)
    app.config.update(STOMP_URL=url, **config)
    Stomp(app)
    if audit is not None:
        app.config["AUDIT_STOMP_URL"] = audit
        Stomp(app, config_prefix="AUDIT_STOMP")
    return app


class TestViews:
    def test_a_broker_that_is_away_makes_the_app_not_ready_and_it_stays_live(self, local_broker: Broker):
        with serving("waitress", "tests.flask.probed:app", STOMP_TEST_URL=local_broker.url) as url:
            answer = becomes(200, f"{url}/healthz")
            assert (answer.status, answer.members) == (200, {"status": "ok", "live": True, "ready": True})
            assert answer.headers["Content-Type"] == "application/json"
            local_broker.stop()
            assert becomes(503, f"{url}/healthz").members["ready"] is False
            assert probe(f"{url}/healthz/live").status == 200
            local_broker.start()
            becomes(200, f"{url}/healthz/ready")

    def test_a_flood_of_probes_asks_the_broker_once(self, local_broker: Broker):
        app = create_app(local_broker.url)
        app.register_blueprint(health_blueprint(timeout=60, max_age=600))
        statuses = in_threads(20, lambda number: [app.test_client().get("/healthz").status_code for _ in range(10)])
        assert statuses == [[200] * 10] * 20
        assert local_broker.received("ABORT") == 1

    def test_live_asks_no_broker(self, local_broker: Broker):
        app = create_app(local_broker.url)
        app.register_blueprint(health_blueprint())
        assert app.test_client().get("/healthz/live").json == {"status": "ok", "live": True}
        assert local_broker.connections_accepted == 0

    def test_head_has_no_body_and_other_methods_are_refused(self):
        app = create_app()
        app.register_blueprint(health_blueprint())
        assert app.test_client().head("/healthz").data == b""
        assert app.test_client().post("/healthz").status_code == 405

    def test_several_extensions_can_be_asked(self, local_broker: Broker):
        app = create_app("memory://", audit=local_broker.url)
        app.register_blueprint(health_blueprint("stomp", "audit_stomp", details=True, max_age=1e-6))
        brokers = app.test_client().get("/healthz").json["brokers"]
        assert [each["broker"] for each in brokers] == ["memory://", local_broker.url]
        local_broker.stop()
        answer = app.test_client().get("/healthz")
        assert answer.status_code == 503
        assert [each["ok"] for each in answer.json["brokers"]] == [True, False]

    def test_apps_that_share_a_blueprint_have_their_own_brokers(self, local_broker: Broker):
        blueprint = health_blueprint(details=True)
        apps = [create_app("memory://"), create_app(local_broker.url)]
        for app in apps:
            app.register_blueprint(blueprint)
        told = [app.test_client().get("/healthz").json["brokers"][0]["broker"] for app in apps]
        assert told == ["memory://", local_broker.url]

    def test_another_path_and_two_blueprints(self):
        app = create_app(audit="memory://")
        app.register_blueprint(health_blueprint(path="/up"), url_prefix="/internal")
        app.register_blueprint(health_blueprint("audit_stomp", path="/audit/up", name="audit_health"))
        client = app.test_client()
        for path in ("/internal/up", "/internal/up/ready", "/internal/up/live", "/audit/up"):
            assert client.get(path).status_code == 200
        assert client.get("/healthz").status_code == 404


class TestMistakes:
    def test_an_app_without_the_extension_is_told_so(self):
        with pytest.raises(RuntimeError, match=r"has no Stomp under app\.extensions\['stomp'\]; call init_app"):
            Flask("shop").register_blueprint(health_blueprint())

    def test_a_bad_path_and_a_bad_option_are_refused_at_once(self):
        with pytest.raises(ConfigurationError, match="must begin with a slash"):
            health_blueprint(path="healthz")
        with pytest.raises(ConfigurationError, match="timeout"):
            health_blueprint(timeout=-1)

    def test_the_extension_loads_nothing_of_it(self):
        done = run_python(
            "-c", "import sys, stomp_web.flask; print([each for each in sys.modules if 'health' in each])"
        )
        assert done.stdout == "[]\n"


class TestCommands:
    def test_the_worker_answers_probes(self, local_broker: Broker):
        arguments = ("--app", "tests.flask.consumer", "stomp", "worker", *PORT)
        with program(*arguments, module="flask", STOMP_TEST_URL=local_broker.url) as process:
            url = url_of(process)
            assert becomes(200, url).members["executors"] == 8
            local_broker.stop()
            becomes(503, url)
            assert probe(f"{url}/live").status == 200
            local_broker.start()
            becomes(200, url)
            process.terminate()
            assert ended(process)[0] == 0

    def test_the_relay_answers_probes(self, local_broker: Broker, tmp_path):
        pytest.importorskip("flask_sqlalchemy")
        database = f"sqlite:///{tmp_path}/shop.db"
        arguments = ("--app", "tests.flask.probed:create_app_with_outbox()", "stomp", "relay", *PORT)
        environment = {"STOMP_TEST_URL": local_broker.url, "TEST_DATABASE": database}
        with program(*arguments, module="flask", **environment) as process:
            url = url_of(process)
            becomes(200, url)
            process.terminate()
            assert ended(process)[0] == 0

    def test_what_is_no_port_is_a_wrong_command_line(self):
        done = run_python(
            *("-m", "flask", "--app", "tests.flask.probed", "stomp", "worker", "--health-port", "http"),
            STOMP_TEST_URL="stomp://127.0.0.1:1",
        )
        assert done.returncode == 2
        assert "Invalid value for '--health-port': 'http' is not a number from 0 to 65535" in done.stdout
