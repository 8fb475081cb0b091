"""`HealthCheck`: many probes cause one check, and none waits longer than the limit."""

from __future__ import annotations

import logging
import os
import threading
import time
import typing

import pytest

from stomp_web import ConfigurationError, Publisher
from stomp_web.broker import Broker
from stomp_web.health import HealthCheck, Report
from stomp_web.pool import Health, PublishClientPool
from tests.brokers.ports import lasting_broker
from tests.client.scripted import eventually
from tests.wsgi.helpers import in_threads, run_python

GOOD = Health(True, "stomp://mq:61613", server="Good/1", version="1.2", seconds=0.001)
BAD = Health(False, "stomp://mq:61613", seconds=2.0, error="cannot open a session with stomp://mq:61613")
BUSY = Health(False, "stomp://mq:61613", error="all 10 connections were in use", asked=False)


class Gate:
    """A check that answers when the test says so."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, timeout: float) -> Health:
        self.calls += 1
        self.begun.set()
        assert self.go_on.wait(60)
        return GOOD


def in_thread(check: HealthCheck) -> tuple[threading.Thread, list[Report]]:
    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(check()))
    thread.start()
    return thread, reports


# -- one check for many probes ----------------------------------------------------------------------------------------


def test_a_flood_of_probes_asks_the_broker_once() -> None:
    with Broker() as broker, Publisher(broker.url) as publisher:
        check = HealthCheck(publisher.check, timeout=60, max_age=300)
        reports = in_threads(50, lambda number: [check() for _ in range(20)])
        assert broker.received("ABORT") == 1
        assert broker.connections_accepted == 1
    assert all(report.ready for answers in reports for report in answers)


def test_a_probe_waits_for_the_check_that_runs_and_gets_its_result() -> None:
    gate = Gate()
    check = HealthCheck(gate, timeout=60)
    first, one = in_thread(check)
    assert gate.begun.wait(60)
    second, two = in_thread(check)
    second.join(0.05)
    assert second.is_alive()
    gate.go_on.set()
    first.join(60)
    second.join(60)
    assert gate.calls == 1
    assert two[0] is one[0]
    assert two[0].ready


def test_a_probe_does_not_wait_longer_than_the_limit() -> None:
    gate = Gate()
    check = HealthCheck(gate, timeout=0.05)
    first, _ = in_thread(check)
    assert gate.begun.wait(60)
    assert check() == Report(ready=False, reason="the check has no result after 0.05 s")
    gate.go_on.set()
    first.join(60)
    assert check().ready


def test_while_a_check_runs_the_other_probes_get_the_last_result_at_once() -> None:
    gate = Gate()
    gate.go_on.set()
    check = HealthCheck(gate, timeout=600, max_age=0.001)
    before = check()
    gate.go_on.clear()
    gate.begun.clear()
    assert eventually(lambda: time.monotonic() - check._states[os.getpid()].last[0] > 0.001)
    thread, _ = in_thread(check)
    assert gate.begun.wait(60)
    assert check() is before
    assert gate.calls == 2
    gate.go_on.set()
    thread.join(60)


def test_a_result_is_kept_for_a_moment_only() -> None:
    results = iter([GOOD, BAD])
    check = HealthCheck(lambda _: next(results), max_age=0.001)
    assert check().ready
    assert eventually(lambda: not check().ready)


def test_a_check_that_raises_is_over_and_the_next_probe_asks_again() -> None:
    def refuse(timeout: float) -> Health:
        calls.append(timeout)
        raise ConfigurationError("there is no such alias")

    calls: list[float] = []
    check = HealthCheck(refuse, timeout=3)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no such alias"):
            check()
    assert calls == [3, 3]


def test_a_probe_that_waited_for_a_check_that_raises_says_so() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def refuse(_: float) -> Health:
        begun.set()
        assert go_on.wait(60)
        raise ConfigurationError("there is no such alias")

    def first() -> None:
        with pytest.raises(ConfigurationError, match="no such alias"):
            check()

    check = HealthCheck(refuse, timeout=600)
    asks = threading.Thread(target=first)
    asks.start()
    assert begun.wait(60)
    follower = check._states[os.getpid()].rounds["current"]
    go_on.set()
    asks.join(60)
    assert follower.result(600) == Report(ready=False, reason="the check has failed; the log has the error")


def test_a_forked_child_asks_for_itself() -> None:
    done = run_python(
        *("-W", "ignore::DeprecationWarning", "-c"),  # it forks with a thread on purpose
        "import os, threading\n"
        "from stomp_web.health import HealthCheck\n"
        "from stomp_web.pool import Health\n"
        "begun, go_on = threading.Event(), threading.Event()\n"
        "parent = os.getpid()\n"
        "def ask(timeout):\n"
        "    if os.getpid() == parent:\n"
        "        begun.set(); go_on.wait(60)\n"
        "    return Health(True, 'mq')\n"
        "check = HealthCheck(ask, timeout=60)\n"
        "thread = threading.Thread(target=check); thread.start(); begun.wait(60)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if check().ready else 1)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "go_on.set(); thread.join()\n"
        "print('child', code)\n",
    )
    assert done.stdout.endswith("child 0\n"), done.stdout


# -- a busy pool ------------------------------------------------------------------------------------------------------


def test_if_all_connections_are_in_use_the_last_answer_counts() -> None:
    with lasting_broker() as broker, PublishClientPool(broker.url, max_size=1, timeout=60) as pool:
        patience = [0.01]
        check = HealthCheck(lambda _: pool.check(patience[0]), max_age=1e-9)
        with pool.client():
            assert check() == Report(
                ready=False,
                reason="all connections are in use, so the broker could not be asked; the log has the error",
            )
        patience[0] = 60
        assert check().ready
        patience[0] = 0.01
        with pool.client():
            health = pool.check(0.01)
            assert (health.ok, health.asked) == (False, False)
            assert "were in use" in str(health)
            assert check().ready
        broker.stop()
        patience[0] = 60
        assert check().reason.startswith("the broker does not answer")
        assert pool.check().asked


def test_a_broker_that_was_not_asked_hides_no_broker_that_does_not_answer() -> None:
    answers = [BUSY, BAD]
    check = HealthCheck(lambda _: answers[0], lambda _: answers[1], max_age=1e-9)
    assert check().reason.startswith("1 of 2 brokers do not answer")
    answers[:] = [GOOD, GOOD]
    assert check().ready
    answers[:] = [BUSY, BAD]
    assert check().reason.startswith("1 of 2 brokers do not answer")
    answers[:] = [BUSY, GOOD]
    assert check().ready


# -- what it says -----------------------------------------------------------------------------------------------------


def test_a_report_has_no_address_unless_details_are_wanted() -> None:
    plain, detailed = HealthCheck(lambda _: BAD)(), HealthCheck(lambda _: BAD, details=True)()
    assert plain.reason == "the broker does not answer, or refused the session; the log has the error"
    assert plain.details == {}
    assert detailed.details == {
        "brokers": [{"ok": False, "broker": "stomp://mq:61613", "seconds": 2.0, "error": BAD.error, "asked": True}]
    }


def test_every_broker_has_to_answer() -> None:
    check = HealthCheck(lambda _: GOOD, lambda _: BAD, details=True)
    assert not check().ready
    assert check().reason.startswith("1 of 2 brokers do not answer")
    assert [each["ok"] for each in check().details["brokers"]] == [True, False]


def test_the_log_tells_when_the_state_changes_and_not_at_each_probe(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stomp_web.health")
    results = iter([GOOD, BAD, BAD, GOOD, GOOD])
    check = HealthCheck(lambda _: next(results), max_age=1e-9)
    assert [check().ready for _ in range(5)] == [True, False, False, True, True]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"not ready: {BAD.error}"),
        ("INFO", "ready again: stomp://mq:61613 answered in 1.0 ms: Good/1, STOMP 1.2"),
    ]


@pytest.mark.parametrize(
    ("checks", "options", "says"),
    [
        ([], {}, "give HealthCheck a function for each broker"),
        ([lambda _: GOOD], {"timeout": "soon"}, "timeout"),
        ([lambda _: GOOD], {"max_age": -1}, "max_age"),
    ],
)
def test_what_cannot_be_used_is_refused(checks: list[typing.Any], options: dict[str, typing.Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        HealthCheck(*checks, **options)
