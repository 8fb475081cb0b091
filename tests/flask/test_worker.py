"""`flask stomp worker` calls the extension's handlers, each message in an application context of its own."""

from __future__ import annotations

import inspect
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.cli import ScriptInfo

from stomp_web import ConfigurationError, Publisher
from stomp_web.flask import Stomp
from stomp_web.flask.cli import cli, make_worker
from stomp_web.worker import Handlers
from tests.cli.running import DEADLINE, ROOT, ended, program
from tests.worker.running import Running
from tests.wsgi.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from subprocess import Popen

    from stomp_web.broker import Broker

IN_PROCESSES = pytest.mark.parametrize("how", [[], ["--processes", "2"]], ids=["threads", "processes"])
CONSUMER = ["--app", "tests.flask.consumer"]


@pytest.fixture
def publisher(local_broker: Broker) -> Iterator[Publisher]:
    with Publisher(local_broker.url) as publisher:
        yield publisher


def worker(broker: Broker, *arguments: str, app: list[str] = CONSUMER, **more: Any) -> AbstractContextManager[Popen]:
    return program(*app, "stomp", "worker", *arguments, module="flask", STOMP_TEST_URL=broker.url, **more)


def answers(broker: Broker, count: int, queue: str = "/queue/done") -> list[Any]:
    return [json.loads(frame.body) for frame in broker.wait_for(queue, count, DEADLINE)]


def run(app: Flask, *arguments: str):
    return app.test_cli_runner().invoke(cli, ["worker", *arguments])


class TestCommand:
    @IN_PROCESSES
    def test_handles_messages_until_sigterm(self, local_broker: Broker, publisher: Publisher, how):
        with worker(local_broker, *how) as process:
            publisher.send_many([("/queue/orders", number) for number in range(4)])
            told = answers(local_broker, 4)
            assert local_broker.wait_until(lambda: not local_broker.unacknowledged("/queue/orders"))
            process.send_signal(signal.SIGTERM)
            code, out, err = ended(process)

        assert sorted(each["order"] for each in told) == [0, 1, 2, 3]
        assert all((each["pid"] == process.pid) is (how == []) for each in told)
        assert local_broker.pending("/queue/orders") == []
        assert (code, out) == (0, "")
        assert "INFO receiving from /queue/orders, /queue/bad at stomp://127.0.0.1:" in err

    @IN_PROCESSES
    def test_each_message_has_an_application_context_of_its_own(self, local_broker, publisher: Publisher, how):
        how = how or ["--concurrency", "1"]
        with worker(local_broker, *how):
            publisher.send_many([("/queue/orders", number) for number in range(4)])
            told = answers(local_broker, 4)

        assert {each["app"] for each in told} == {"shop"}
        assert [each["left over"] for each in told] == [False] * 4

    @IN_PROCESSES
    def test_the_context_hears_of_a_handler_that_fails(self, local_broker: Broker, publisher: Publisher, how):
        with worker(local_broker, *how):
            publisher.send("/queue/bad", "no such order", serializer="text")
            assert answers(local_broker, 1, "/queue/torn-down")[0] == "LookupError('no such order')"

    @pytest.mark.parametrize(
        ("app", "environment"),
        [
            (["--app", "tests.flask.consumer:create_app('other')"], {}),
            ([], {"FLASK_APP": "tests.flask.consumer:create_app('other')"}),
            ([], {}),
        ],
        ids=["option", "environment", "app.py"],
    )
    @IN_PROCESSES
    def test_processes_load_the_app_as_the_command_does(
        self, local_broker: Broker, publisher: Publisher, tmp_path: Path, app, environment, how
    ):
        # Without a word, flask looks for app.py in the current directory.
        (tmp_path / "app.py").write_text("from tests.flask.consumer import create_app\napp = create_app('other')\n")
        with worker(local_broker, *how, app=app, cwd=tmp_path, PYTHONPATH=str(ROOT), **environment):
            publisher.send("/queue/orders", 1)
            assert answers(local_broker, 1)[0]["app"] == "other"

    def test_an_app_that_a_process_cannot_load_is_an_error_at_the_start(self, local_broker: Broker):
        app = ["--app", "tests.flask.consumer:create_app_in_first_process"]
        with worker(local_broker, "--processes", "1", app=app) as process:
            code, _, err = ended(process)

        assert code == 1
        assert err.splitlines()[-1] == "Error: a worker process cannot run the handlers: LookupError: not here"
        assert local_broker.received("SUBSCRIBE") == 0

    def test_a_second_extension_is_chosen_by_its_key(self, local_broker: Broker, publisher: Publisher):
        with worker(local_broker, "--extension", "audit_stomp") as process:
            publisher.send("/queue/orders", 1)
            publisher.send("/queue/audit", 1)
            assert answers(local_broker, 1, "/queue/booked") == ["shop"]
            process.send_signal(signal.SIGTERM)
            _, _, err = ended(process)

        assert len(local_broker.pending("/queue/orders")) == 1
        assert "receiving from /queue/audit at" in err

    def test_an_app_without_handlers_is_told_what_to_do(self):
        app = Flask("bare")
        app.config["STOMP_URL"] = "stomp://127.0.0.1:1"
        Stomp(app)

        result = run(app)

        assert result.exit_code == 1
        assert "the app 'bare' has no handler for messages" in result.output
        assert "subscribe('/queue/...')" in result.output

    def test_an_app_without_the_extension_is_told_what_to_do(self):
        result = run(Flask("bare"))

        assert result.exit_code == 1
        assert "init_app(app)" in result.output

    def test_an_address_without_a_broker_is_an_error(self):
        app, stomp = Flask("shop"), Stomp()
        app.config["STOMP_URL"] = "memory://"
        stomp.init_app(app)
        stomp.subscribe("/queue/orders")(print)

        result = run(app)

        assert result.exit_code == 1
        assert "Error: memory:// opens no connection; a worker needs a broker" in result.output

    def test_a_handler_that_no_other_process_can_import_is_an_error(self):
        app, stomp = Flask("shop"), Stomp()
        app.config["STOMP_URL"] = "stomp://127.0.0.1:1"
        stomp.init_app(app)

        @stomp.subscribe("/queue/orders")
        def inner(message): ...

        result = run(app, "--processes", "2")

        assert result.exit_code == 1
        assert "cannot be used in another process" in result.output

    @pytest.mark.parametrize("arguments", [["--concurrency", "0"], ["--processes", "-1"], ["--processes", "two"]])
    def test_a_wrong_number_is_a_wrong_command_line(self, arguments):
        assert run(Flask("shop"), *arguments).exit_code == 2

    def test_the_help_says_what_the_command_does(self):
        text = " ".join(run(Flask("shop"), "--help").output.split())

        assert "Receive messages until Ctrl-C, and call the handlers." in text
        assert "--concurrency N" in text
        assert "--processes N" in text
        assert "Default: that of STOMP_WORKER, else 8." in text
        assert "While the broker is down, the command waits and connects again." in text


class TestSubscribe:
    def test_needs_no_app_and_returns_the_function(self):
        stomp = Stomp()

        def handler(message): ...

        assert stomp.subscribe("/queue/orders", ack="client", accept=("pickle",), id="orders")(handler) is handler
        (each,) = stomp.handlers
        assert (each.function, each.destination, each.ack, each.accept) == (
            *(handler, "/queue/orders", "client"),
            ("pickle",),
        )
        assert each.id == "orders"

    def test_the_apps_of_an_extension_have_the_same_handlers_and_another_extension_has_its_own(self):
        stomp, other, apps = Stomp(), Stomp(config_prefix="OTHER_STOMP"), [Flask("one"), Flask("two")]
        for app in apps:
            stomp.init_app(app)
            other.init_app(app)
        stomp.subscribe("/queue/orders")(print)

        assert all(app.extensions["stomp"].handlers is stomp.handlers for app in apps)
        assert len(stomp.handlers) == 1
        assert len(apps[0].extensions["other_stomp"].handlers) == 0

    def test_takes_the_arguments_of_handlers_subscribe(self):
        assert signature(Stomp.subscribe) == signature(Handlers.subscribe)

    def test_refuses_what_cannot_be_subscribed_to(self):
        stomp = Stomp()
        stomp.subscribe("/queue/orders")(print)
        with pytest.raises(ConfigurationError, match=r"handled by builtins\.print already"):
            stomp.subscribe("/queue/orders")(repr)


def signature(function) -> dict[str, object]:
    return {name: each.default for name, each in inspect.signature(function).parameters.items()}


def test_an_app_that_only_sends_loads_no_worker():
    done = run_python(
        "-c",
        "import sys; from flask import Flask; from stomp_web.flask import Stomp; Stomp(Flask('shop'));"
        "sys.exit(bool({'stomp_web.worker', 'multiprocessing'} & set(sys.modules)))",
    )

    assert done.returncode == 0, done.stdout


class TestSettings:
    def test_the_configuration_says_what_the_worker_is_to_know(self, local_broker: Broker, publisher: Publisher):
        stomp = Stomp()

        @stomp.subscribe("/queue/orders")
        def handle(message: Any) -> None:
            raise LookupError("no such order")

        app = Flask(__name__)
        app.config["STOMP_URL"] = local_broker.url
        app.config["STOMP_WORKER"] = {"dead_letter": "/queue/failed", "max_redeliveries": 0, "concurrency": 2}
        stomp.init_app(app)
        worker = make_worker(app.extensions["stomp"], ScriptInfo(create_app=lambda: app), processes=None)
        assert worker.concurrency == 2
        running = Running(worker).alive()
        publisher.send("/queue/orders", 1)
        assert local_broker.wait_for("/queue/failed")
        assert running.stop() == 0

    def test_what_is_unknown_is_refused_with_the_nearest_name(self, local_broker: Broker):
        stomp = Stomp()
        stomp.subscribe("/queue/orders")(print)
        app = Flask(__name__)
        app.config |= {"STOMP_URL": local_broker.url, "STOMP_WORKER": {"prefetched": 3}}
        stomp.init_app(app)
        result = run(app)
        assert result.exit_code == 1
        assert "no option prefetched; did you mean prefetch?" in result.output

    def test_what_is_no_mapping_is_refused_at_once(self):
        app = Flask(__name__)
        app.config["STOMP_WORKER"] = 8
        with pytest.raises(ConfigurationError, match="STOMP_WORKER must be a mapping"):
            Stomp(app)
