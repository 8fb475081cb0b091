"""The harness itself: what it starts answers, holds what it is told, and can be hurt in each way the tests need."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.brokers import ports
from tests.brokers.foreign import ForeignClient, ForeignError
from tests.brokers.handshake import NotReady
from tests.brokers.running import PATIENCE
from tests.brokers.traits import needs

ROOT = Path(__file__).parents[2]

if TYPE_CHECKING:
    from tests.brokers.running import RunningBroker

EVERY_BYTE = bytes(range(256)) + b"\0\0\n\0"


def test_a_port_that_a_run_of_the_tests_has_is_given_to_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with ports.own_port() as port:
        monkeypatch.setattr(ports, "_RANGE", range(port, port + 1))
        program = (
            f"from tests.brokers import ports; ports._RANGE = range({port}, {port + 1})\n"
            "with ports.own_port():\n"
            "    pass\n"
        )

        def given_elsewhere() -> bool:
            done = subprocess.run(
                [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
            )
            assert done.returncode == 0 or "no port was found" in done.stderr, done.stderr
            return done.returncode == 0

        assert not given_elsewhere()
        with pytest.raises(OSError, match="no port was found"):
            ports.free_ports(1)
    assert given_elsewhere()


def test_a_foreign_client_reads_exactly_what_a_foreign_client_sent(
    inbox: ForeignClient, broker: RunningBroker, destination: str
) -> None:
    with ForeignClient(broker) as writer:
        writer.send(destination, EVERY_BYTE, {"content-type": "application/octet-stream"})
    assert inbox.get().body == EVERY_BYTE


def test_a_paused_broker_answers_nothing_until_it_is_resumed(broker: RunningBroker) -> None:
    broker.pause()
    try:
        with pytest.raises(NotReady, match="timed out"):
            broker.connected(timeout=0.2)
    finally:
        broker.resume()
    assert broker.connected(timeout=PATIENCE)


def test_a_killed_broker_is_gone_and_starts_again_at_the_same_address(broker: RunningBroker) -> None:
    pid, url = broker.pid, broker.url
    with ForeignClient(broker) as reader:
        broker.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(NotReady):
            broker.connected(timeout=1.0)
        with pytest.raises(ForeignError, match="closed"):
            reader.get()
    broker.start()
    assert broker.connected(timeout=PATIENCE)
    assert broker.url == url


def test_a_persistent_message_of_a_foreign_client_outlives_a_restart(broker: RunningBroker, destination: str) -> None:
    needs(broker, "keeps_on_disk")
    with ForeignClient(broker) as writer:
        writer.send(destination, b"kept", {"persistent": "true"})
    broker.restart()
    with ForeignClient(broker) as reader:
        reader.subscribe(destination)
        assert reader.get().body == b"kept"


def test_a_refused_send_is_answered_in_the_words_that_the_starter_states(broker: RunningBroker) -> None:
    for refusal in broker.refusals():
        login = refusal.who
        with ForeignClient(broker, login=login, passcode=login) as writer, pytest.raises(ForeignError) as error:
            writer.send(refusal.destination, b"no")
        assert refusal.words in str(error.value)


def test_a_wrong_passcode_is_refused_in_the_words_that_the_starter_states(broker: RunningBroker) -> None:
    for _ in range(10):  # ActiveMQ/6.3.1 closes about one connection of 200 without its ERROR
        client = ForeignClient(broker, passcode="wrong")
        with pytest.raises(ForeignError) as error:
            client.connect()
        if client.errors:
            break
    assert broker.traits.login_refusal in str(error.value)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for the end of somebody else's process: Linux only")
def test_no_broker_survives_tests_that_were_killed() -> None:
    script = """
from tests.brokers.development import Development
broker = Development()
broker.start()
print(broker.pid, flush=True)
input()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tests:
        assert tests.stdout is not None
        broker = os.pidfd_open(int(tests.stdout.readline()))
        tests.kill()
    ended, _, _ = select.select([broker], [], [], PATIENCE)
    os.close(broker)
    assert ended


def test_the_log_of_a_broker_can_be_shown(broker: RunningBroker) -> None:
    assert "--- output.log" in broker.log_tail()
