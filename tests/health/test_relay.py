"""`stomp-web relay --health-port --health-file`, and what a relay says of itself."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
import typing

import pytest

from stomp_web import ConfigurationError, Publisher
from stomp_web.broker import Broker
from stomp_web.cli import main
from stomp_web.outbox import health as outbox_health
from stomp_web.outbox import relay as outbox_relay
from stomp_web.pool import Health
from tests.brokers.ports import lasting_broker
from tests.cli.running import ended, program
from tests.client.scripted import eventually
from tests.health.databases import outbox_in
from tests.health.probes import PORT, becomes, probe, url_of
from tests.wsgi.helpers import in_threads, run_python

if typing.TYPE_CHECKING:
    from pathlib import Path

sqlalchemy = pytest.importorskip("sqlalchemy")

NOT_READY = "the relay cannot reach a broker or the database, or is starting; the log says why"


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> typing.Iterator[Broker]:
    with lasting_broker() as broker:
        monkeypatch.setenv("STOMP_URL", broker.url)
        yield broker


@pytest.fixture
def publisher(broker: Broker) -> typing.Iterator[Publisher]:
    with Publisher(broker.url) as publisher:
        yield publisher


@pytest.fixture
def database(tmp_path: Path) -> str:
    with Publisher("null://") as publisher:
        engine, _ = outbox_in(tmp_path, publisher)
    engine.dispose()
    return f"sqlite:///{tmp_path}/shop.db"


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_makes_an_idle_relay_not_ready_and_it_stays_live(broker: Broker, database: str) -> None:
    with program("relay", "--database", database, *PORT, limit=300) as process:
        url = url_of(process)
        answer = becomes(200, url)
        assert answer.members["outbox"]["pending"] == 0

        broker.stop()
        answer = becomes(503, url)
        assert answer.members["reason"].startswith("the broker does not answer, or refused the session")
        live = probe(f"{url}/live")
        assert (live.status, live.members["live"], live.members["ready"]) == (200, True, False)

        broker.start()
        becomes(200, url)
        process.send_signal(signal.SIGTERM)
        code, _, err = ended(process)
    assert code == 0
    assert "not ready: cannot open a session with stomp://127.0.0.1:" in err
    assert "ready again: stomp://127.0.0.1:" in err


def test_a_flood_of_probes_does_not_reach_the_broker(broker: Broker, database: str) -> None:
    with program("relay", "--database", database, *PORT) as process:
        url = url_of(process)
        becomes(200, url)
        began, before = time.monotonic(), broker.received("ABORT")
        statuses = in_threads(10, lambda number: [probe(url).status for _ in range(20)])
        asked, checks = broker.received("ABORT") - before, (time.monotonic() - began) / outbox_health._CHECK_EVERY
    assert statuses == [[200] * 20] * 10
    assert asked <= checks + 1, "as often as without probes"


def test_the_file_tells_the_same_without_a_port(broker: Broker, database: str, tmp_path: Path) -> None:
    file = tmp_path / "health"
    with program("relay", "--database", database, "--health-file", str(file)) as process:
        assert eventually(file.exists)
        assert eventually(lambda: json.loads(file.read_text())["ready"])
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
    assert not file.exists()


def test_a_port_in_use_ends_it_with_1(broker: Broker, database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with program("relay", "--database", database, "--health-port", f"127.0.0.1:{port}") as process:
            code, out, err = ended(process)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "another program listens there; choose another port" in err


def test_without_the_options_nothing_of_it_is_loaded(broker: Broker, database: str) -> None:
    done = run_python(
        "-c",
        "import sys\n"
        "from stomp_web.cli import main\n"
        f"main(['relay', '--once', '--database', {database!r}])\n"
        "print([name for name in sys.modules if 'health' in name])\n",
        STOMP_URL=broker.url,
    )
    assert done.stdout.splitlines()[-1] == "[]"


# -- what a relay says ------------------------------------------------------------------------------------------------


class Running:
    """A relay that runs in a thread."""

    def __init__(
        self,
        folder: Path,
        publisher: Publisher,
        progress: typing.Callable[[object], object] | None = None,
        poll: float = 0.05,
    ) -> None:
        self.engine, self.outbox = outbox_in(folder, publisher)
        self.relay = self.outbox.relay(self.engine, poll=poll)
        self.health = outbox_health.RelayHealth(self.relay)
        self._thread = threading.Thread(target=self.relay.run, kwargs={"on_progress": progress})

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.relay.stop()
        self._thread.join(60)
        self.engine.dispose()

    def send(self, number: int) -> None:
        from sqlalchemy.orm import Session

        with Session(self.engine) as session, session.begin():
            self.outbox.send(session, "/queue/a", number)


def test_a_relay_that_has_not_begun_is_live_and_not_ready(tmp_path: Path, publisher: Publisher) -> None:
    running = Running(tmp_path, publisher)
    report = running.health()
    assert (report.live, report.ready, report.reason) == (True, False, NOT_READY)
    running.engine.dispose()


def test_a_relay_whose_run_has_not_begun_is_not_ready_though_the_broker_answers(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_health, "_CHECK_EVERY", 0.01)
    running = Running(tmp_path, publisher)
    with running.health as health:
        assert eventually(lambda: health._broker.ready)
        report = health()
        assert (report.live, report.ready, report.reason) == (True, False, NOT_READY)
        with running:
            assert eventually(lambda: health().ready)


@pytest.fixture
def ctrl_c() -> typing.Iterator[None]:
    """Ctrl-C has Python's handler, whatever an earlier test has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_as_soon_as_it_is_ready_ends_it_cleanly(
    broker: Broker, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    """The broker has answered before `run` begins, as on a machine whose main thread gets no processor for a while."""
    health = outbox_health.RelayHealth
    made: list[outbox_health.RelayHealth] = []
    run, move = outbox_relay.Relay.run, outbox_relay.Relay._move

    def noted(relay: outbox_relay.Relay) -> outbox_health.RelayHealth:
        made.append(health(relay))
        return made[0]

    def send_if_ready() -> None:
        if made[0]().ready and not sent:
            sent.append(number)
            signal.raise_signal(number)

    def run_late(relay: outbox_relay.Relay, **options: typing.Any) -> int:
        assert eventually(lambda: made[0]._broker.ready)
        send_if_ready()
        return run(relay, **options)

    def move_and_send(relay: outbox_relay.Relay) -> bool:
        send_if_ready()
        return move(relay)

    sent: list[signal.Signals] = []
    monkeypatch.setattr(outbox_health, "RelayHealth", noted)
    monkeypatch.setattr(outbox_relay.Relay, "run", run_late)
    monkeypatch.setattr(outbox_relay.Relay, "_move", move_and_send)
    assert main(["relay", "--database", database, "--health-file", str(tmp_path / "health")]) == 0
    assert sent == [number]


def test_what_it_sends_is_counted_and_spares_the_question(
    tmp_path: Path, broker: Broker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Running(tmp_path, publisher) as running:
        running.send(1)
        assert eventually(lambda: running.relay.stats().sent == 1)
        calls: list[object] = []
        monkeypatch.setattr(publisher, "check", calls.append)
        monkeypatch.setattr(outbox_health, "_CHECK_EVERY", 600.0)
        with running.health as health:
            assert eventually(lambda: health().ready)
            assert health().details["sent"] == 1
    assert calls == []
    assert running.health().live


def test_while_all_connections_are_in_use_a_relay_stays_ready(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_health, "_CHECK_EVERY", 0.01)
    busy = Health(False, broker.url, error="all connections were in use", asked=False)
    calls: list[object] = []

    def check(timeout: float | None = None) -> Health:
        calls.append(timeout)
        return busy

    with Publisher(broker.url) as publisher, Running(tmp_path, publisher) as running:
        monkeypatch.setattr(publisher, "check", check)
        with running.health as health:
            assert eventually(lambda: health().reason.startswith("all connections are in use"))
            running.send(1)
            assert eventually(lambda: health().ready)
            before = len(calls)
            assert eventually(lambda: len(calls) > before + 3)
            assert health().ready


def test_a_message_that_cannot_be_sent_makes_it_not_ready(tmp_path: Path, broker: Broker, publisher: Publisher) -> None:
    with Running(tmp_path, publisher) as running, running.health as health:
        assert eventually(lambda: health().ready)
        broker.stop()
        running.send(1)
        assert eventually(lambda: running.relay.stats().problem)
        report = health()
        assert (report.live, report.ready) == (True, False)
        assert report.reason == NOT_READY
        broker.start()
        assert eventually(lambda: health().ready)
        assert broker.wait_for("/queue/a")


def test_a_relay_that_does_not_move_is_stuck(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_relay, "_STUCK", 0.1)
    blocked, go_on = threading.Event(), threading.Event()

    def block(stats: object) -> None:
        blocked.set()
        go_on.wait(60)

    running = Running(tmp_path, publisher, block)
    assert not running.relay.stuck
    with running:
        try:
            assert blocked.wait(60)
            assert eventually(lambda: running.relay.stuck.startswith("the thread that called run has not moved for "))
            report = running.health()
            assert (report.live, report.ready) == (False, False)
            assert report.reason.startswith("the thread that called run has not moved for ")
        finally:
            go_on.set()
    assert not running.relay.stuck


def test_a_relay_that_waits_for_long_is_not_stuck(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outbox_relay._LONGEST_SLEEP < outbox_relay._STUCK
    monkeypatch.setattr(outbox_relay, "_LONGEST_SLEEP", 0.005)
    moves: set[float] = set()

    def has_moved_often() -> bool:
        moves.add(running.relay._moved_at)
        return len(moves) > 20

    with Running(tmp_path, publisher, poll=3600.0) as running:
        assert eventually(has_moved_often)


def test_a_check_that_fails_for_another_reason_is_logged_once_and_tried_again(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[object] = []

    def check(timeout: float | None = None) -> object:
        calls.append(timeout)
        if len(calls) < 4:  # the relay asks once, too
            raise ConfigurationError("there is no such alias")
        return original(timeout)

    original = publisher.check
    monkeypatch.setattr(outbox_health, "_CHECK_EVERY", 0.01)
    monkeypatch.setattr(publisher, "check", check)
    with Running(tmp_path, publisher) as running, running.health as health:
        assert eventually(lambda: len(calls) > 4 and health().ready)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the broker could not be checked"
    ]


def test_the_end_of_the_block_does_not_wait_for_a_check_that_runs(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def check(timeout: float | None = None) -> None:
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(publisher, "check", check)
    running = Running(tmp_path, publisher)
    thread = running.health._thread
    limits: list[float | None] = []
    join = thread.join

    def noted_join(timeout: float | None = None) -> None:
        limits.append(timeout)
        join(timeout)

    monkeypatch.setattr(thread, "join", noted_join)
    with running.health:
        assert begun.wait(60)
    assert thread.is_alive()
    assert limits == [0.1]
    go_on.set()
    join(60)
    assert not thread.is_alive()
    running.engine.dispose()
