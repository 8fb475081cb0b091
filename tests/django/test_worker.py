"""`manage.py stomp_worker` calls the handlers of the installed apps, with usable database connections."""

from __future__ import annotations

import contextlib
import inspect
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from stomp_web import ConfigurationError, PublishClient, Publisher
from stomp_web._internal.signals import ONE_REQUEST
from stomp_web.django import publishers, subscribe
from stomp_web.django.checks import check_settings
from stomp_web.django.handlers import handlers_by_alias, make_worker
from stomp_web.worker import Handlers
from tests.cli.running import DEADLINE, ended, line_with
from tests.client.scripted import eventually
from tests.django import postgres
from tests.django.commands import with_tables, worker
from tests.worker.running import Notes, Running
from tests.wsgi.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stomp_web.broker import Broker

IN_PROCESSES = pytest.mark.parametrize("how", [[], ["--processes", "2"]], ids=["threads", "processes"])


@pytest.fixture
def publisher(local_broker: Broker) -> Iterator[Publisher]:
    with Publisher(local_broker.url) as publisher:
        yield publisher


@pytest.fixture
def sqlite(tmp_path: Path) -> dict[str, Any]:
    """The entry of DATABASES for a file with the shop's tables."""
    name = str(tmp_path / "shop.sqlite3")
    return with_tables({"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": {"timeout": DEADLINE}})


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[postgres.Postgres]:
    for server in postgres.provided(request):
        with_tables(server.database)
        yield server


@pytest.fixture
def rows(server: postgres.Postgres) -> Rows:
    rows = Rows(server)
    rows.ask("truncate shop_order")
    return rows


class Rows:
    """What PostgreSQL says, each question over a connection that is not the worker's."""

    def __init__(self, server: postgres.Postgres) -> None:
        self._server = server

    def ask(self, question: str) -> list[Any]:
        with self._server.connect() as connection:
            cursor = connection.execute(question)
            return [row[0] for row in cursor.fetchall()] if cursor.description else []

    @property
    def items(self) -> list[str]:
        return self.ask("select item from shop_order order by item")

    @property
    def others(self) -> int:
        """How many connections there are beside the one that asks."""
        return self.ask(f"select count(*) {self._OTHERS}")[0]

    def terminate_others(self) -> int:
        """End them, wait until they are gone, and return how many there were."""
        return self.ask(f"select count(pg_terminate_backend(pid, 60000)) {self._OTHERS}")[0]

    _OTHERS = (
        "from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() "
        f"and application_name <> '{postgres.TESTS}'"
    )


def answers(broker: Broker, count: int, queue: str = "/queue/stored") -> list[Any]:
    return [json.loads(frame.body) for frame in broker.wait_for(queue, count, DEADLINE)]


def all_acknowledged(broker: Broker, queue: str = "/queue/orders") -> bool:
    return broker.wait_until(lambda: not broker.pending(queue) + broker.unacknowledged(queue), DEADLINE)


class TestCommand:
    @IN_PROCESSES
    def test_handles_messages_until_sigterm(self, local_broker: Broker, publisher: Publisher, sqlite, how):
        with worker(local_broker, sqlite, *how) as process:
            publisher.send_many([("/queue/orders", item) for item in "abcd"])
            told = answers(local_broker, 4)
            assert all_acknowledged(local_broker)
            process.send_signal(signal.SIGTERM)
            code, out, err = ended(process)

        assert sorted(each["item"] for each in told) == ["a", "b", "c", "d"]
        assert all((each["pid"] == process.pid) is (how == []) for each in told)
        assert (code, out) == (0, "")
        assert "INFO receiving from /queue/orders, /queue/counted at stomp://127.0.0.1:" in err

    @IN_PROCESSES
    def test_using_chooses_the_alias(self, local_broker: Broker, publisher: Publisher, sqlite, how):
        with worker(local_broker, sqlite, "--using", "audit", *how):
            publisher.send("/queue/orders", "a")
            publisher.send("/queue/audit", 2, serializer="pickle")
            assert answers(local_broker, 1, "/queue/booked") == [2]

        assert len(local_broker.pending("/queue/orders")) == 1

    def test_the_second_ctrl_c_ends_it_with_130(self, local_broker: Broker, publisher: Publisher, sqlite):
        lock = sqlite3.connect(sqlite["NAME"])
        with contextlib.closing(lock), worker(local_broker, sqlite) as process:
            lock.execute("begin exclusive")  # the handler waits for it
            publisher.send("/queue/orders", "a")
            answers(local_broker, 1, "/queue/begun")
            process.send_signal(signal.SIGINT)
            line_with(process, "stopping: 1 message", "stderr")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(ONE_REQUEST)  # so long it would count as the first
            process.send_signal(signal.SIGINT)
            code, _, err = ended(process)

        assert (code, "Traceback" in err) == (130, False)
        assert local_broker.wait_until(lambda: len(local_broker.pending("/queue/orders")) == 1)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--using", "other"], "settings.STOMP has no publisher 'other'"),
            (["--using", "spare"], "there is no handler for the alias 'spare'"),
            (["--using", "spare"], r"subscribe\('/queue/...'\) in stomp_handlers.py of an app in INSTALLED_APPS"),
            (["--using", "spare"], "there are handlers for 'audit', 'default'"),
            ([], "memory:// opens no connection; a worker needs a broker"),
            (["--using", "down", "--concurrency", "0"], "concurrency must be a whole number, 1 or more"),
            (["--using", "down", "--processes", "-1"], "processes must be a whole number, 0 or more"),
        ],
    )
    def test_says_why_it_cannot_work(self, arguments, says, monkeypatch):
        aliases = {
            name: {"OPTIONS": {"url": url}}
            for name, url in (
                *(("default", "memory://"), ("audit", "memory://"), ("spare", "stomp://127.0.0.1:1")),
                ("down", "stomp://127.0.0.1:1"),
            )
        }
        monkeypatch.setitem(handlers_by_alias, "down", one_handler())
        with override_settings(STOMP=aliases), pytest.raises(CommandError, match=says) as caught:
            call_command("stomp_worker", *arguments)
        assert caught.value.returncode == 1

    def test_from_a_shell_it_ends_with_a_code_and_without_a_traceback(self, sqlite):
        done = run_python(
            *("-m", "tests.django.manage", "stomp_worker", "--using", "other"), TEST_DATABASE=json.dumps(sqlite)
        )

        assert (done.returncode, done.stdout.count("\n")) == (1, 1)
        assert done.stdout.startswith("CommandError: settings.STOMP has no publisher 'other'")

    def test_the_help_says_what_the_command_does(self, sqlite):
        done = run_python(*("-m", "tests.django.manage", "stomp_worker", "--help"), TEST_DATABASE=json.dumps(sqlite))

        text = " ".join(done.stdout.split())
        assert "until Ctrl-C, and call the handlers in stomp_handlers.py of the installed apps" in text
        assert all(option in text for option in ("--using USING", "--concurrency N", "--processes N"))
        assert 'Default: that of STOMP[alias]["WORKER"], else 8.' in text
        assert "While the broker is down, the command waits and connects again." in text


def one_handler() -> Handlers:
    handlers = Handlers()
    handlers.subscribe("/queue/a")(print)
    return handlers


class TestSubscribe:
    @pytest.fixture(autouse=True)
    def alone(self) -> Iterator[None]:
        """The handlers of these tests are nobody else's."""
        others = dict(handlers_by_alias)
        handlers_by_alias.clear()
        yield
        handlers_by_alias.clear()
        handlers_by_alias.update(others)

    def test_returns_the_function_and_keeps_it_for_its_alias(self):
        def handler(message): ...

        assert subscribe("/queue/a", ack="client", accept=("pickle",), id="a")(handler) is handler
        assert subscribe("/queue/b", using="audit")(handler) is handler

        (one,), (other,) = handlers_by_alias["default"], handlers_by_alias["audit"]
        assert (one.function, one.destination, one.ack, one.accept, one.id) == (
            *(handler, "/queue/a", "client", ("pickle",)),
            "a",
        )
        assert (other.function, other.destination) == (handler, "/queue/b")

    def test_two_aliases_may_have_the_same_destination_and_one_may_not_have_it_twice(self):
        subscribe("/queue/a")(print)
        subscribe("/queue/a", using="audit")(print)
        with pytest.raises(ConfigurationError, match=r"handled by builtins\.print already"):
            subscribe("/queue/a")(repr)

    def test_takes_the_arguments_of_handlers_subscribe(self):
        ours, theirs = (
            {name: each.default for name, each in inspect.signature(function).parameters.items() if name != "self"}
            for function in (subscribe, Handlers.subscribe)
        )
        assert ours.pop("using") == "default"
        assert ours == theirs


class TestDatabaseConnections:
    @pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which files a process has open")
    def test_each_message_has_a_connection_and_no_thread_keeps_one(self, local_broker, publisher: Publisher, sqlite):
        items = [f"{number:02}" for number in range(24)]
        with worker(local_broker, sqlite, "--concurrency", "4") as process:
            publisher.send_many([("/queue/orders", item) for item in items])
            assert all_acknowledged(local_broker)
            assert eventually(lambda: open_files(process.pid, sqlite["NAME"]) == 0)

        assert stored(sqlite) == items
        assert local_broker.messages("/queue/DLQ") == []

    @IN_PROCESSES
    def test_a_connection_that_the_database_has_ended_costs_no_message(
        self, local_broker: Broker, publisher: Publisher, server: postgres.Postgres, rows: Rows, how
    ):
        how = ["--processes", "1"] if how else ["--concurrency", "1"]
        with worker(local_broker, {**server.database, "CONN_MAX_AGE": None}, *how) as process:
            for count, item in enumerate("abc", 1):
                publisher.send("/queue/orders", item)
                answers(local_broker, count)
                assert all_acknowledged(local_broker)
                assert rows.terminate_others() == 1
            process.send_signal(signal.SIGTERM)
            code, _, err = ended(process)

        assert rows.items == ["a", "b", "c"]
        assert [each["item"] for each in answers(local_broker, 3)] == ["a", "b", "c"]
        assert local_broker.messages("/queue/DLQ") == []
        assert (code, err.count("failed with message")) == (0, 2), "the first try of b and of c fails"

    def test_with_health_checks_not_even_a_try_fails(
        self, local_broker: Broker, publisher: Publisher, server: postgres.Postgres, rows: Rows
    ):
        database = {**server.database, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
        with worker(local_broker, database, "--concurrency", "1") as process:
            for count, item in enumerate("ab", 1):
                publisher.send("/queue/orders", item)
                answers(local_broker, count)
                assert all_acknowledged(local_broker)
                assert rows.terminate_others() == 1
            process.send_signal(signal.SIGTERM)
            _, _, err = ended(process)

        assert rows.items == ["a", "b"]
        assert "failed with message" not in err

    @IN_PROCESSES
    def test_without_persistent_connections_none_is_left_open(
        self, local_broker: Broker, publisher: Publisher, server: postgres.Postgres, rows: Rows, how
    ):
        with worker(local_broker, server.database, *how):
            publisher.send_many([("/queue/orders", item) for item in "abcdefgh"])
            answers(local_broker, 8)
            assert eventually(lambda: rows.others == 0)

        assert rows.items == list("abcdefgh")


def open_files(pid: int, path: str) -> int:
    count = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread of the process has closed it meanwhile
            count += str(each.readlink()) == path
    return count


def stored(database: dict[str, Any]) -> list[str]:
    connection = sqlite3.connect(database["NAME"])
    try:
        return [item for (item,) in connection.execute("select item from shop_order order by item")]
    finally:
        connection.close()


def test_a_site_that_only_sends_loads_no_worker():
    done = run_python(
        "-c",
        "import sys, stomp_web.django; sys.exit(bool({'stomp_web.worker', 'multiprocessing'} & set(sys.modules)))",
    )

    assert done.returncode == 0, done.stdout


class TestSettings:
    def test_the_settings_say_what_the_worker_is_to_know(self, local_broker: Broker, publisher: Publisher):
        def fail(message: Any) -> None:
            raise LookupError("no such order")

        handlers = Handlers()
        handlers.subscribe("/queue/orders")(fail)
        entry = {
            "OPTIONS": {"url": local_broker.url},
            "WORKER": {"dead_letter": "/queue/failed", "max_redeliveries": 0, "concurrency": 2},
        }
        with override_settings(STOMP={"default": entry}):
            worker = make_worker("default", publishers["default"].options, handlers)
            assert worker.concurrency == 2
            running = Running(worker).alive()
            publisher.send("/queue/orders", 1)
            assert local_broker.wait_for("/queue/failed")
            assert running.stop() == 0

    def test_the_settings_say_how_untyped_bodies_are_read(self, local_broker: Broker):
        notes, handlers = Notes(), Handlers()
        handlers.subscribe("/queue/orders", accept=("json",))(notes)
        entry = {"OPTIONS": {"url": local_broker.url}, "WORKER": {"untyped": "json"}}
        with override_settings(STOMP={"default": entry}):
            running = Running(make_worker("default", publishers["default"].options, handlers)).alive()
            with PublishClient.from_url(local_broker.url) as client:
                client.send("/queue/orders", b'{"id": 1}', confirm=True)
            assert notes.wait(1)[0].payload == {"id": 1}
            assert running.stop() == 0

    @pytest.mark.parametrize(
        ("worker", "problem"),
        [
            ({"prefetched": 3}, "no option prefetched; did you mean prefetch?"),
            ({"grace": -1}, "settings.STOMP['default']['WORKER']: grace must be"),
            (8, "settings.STOMP['default']['WORKER'] must be a dict, not of type int"),
        ],
    )
    def test_what_cannot_be_used_is_found_by_the_checks(self, worker: Any, problem: str):
        with override_settings(STOMP={"default": {"OPTIONS": {"url": "stomp://localhost:1"}, "WORKER": worker}}):
            (found,) = check_settings()
        assert found.id == "stomp_web.E002"
        assert problem in found.msg
