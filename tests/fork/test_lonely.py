"""Forks that need a process of their own: without the hook, without another thread, with gevent."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stomp_web.broker import Broker

ROOT = Path(__file__).parents[2]


def run(mode: str, broker: Broker) -> dict:
    """What the program `lonely` found."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fork.lonely", mode, *map(str, broker.address)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_look_at_the_pid_is_enough_where_no_hook_is_called(broker):
    found = run("no hook", broker)
    assert set(found) == {"idle", "on loan", "connecting"}
    all_ids = []
    for reports in found.values():
        for ids, at_first, at_last in reports:
            all_ids += ids
            # No hook has closed it at the fork, so the first loan did.
            assert (at_first, at_last) == (1, 0)
    assert sorted(all_ids) == sorted(frame.headers["x-message-id"] for frame in broker.messages("/queue/orders"))
    assert len(set(all_ids)) == 3 * 15
    assert broker.connections_accepted == 3 * 5


def test_python_has_no_reason_to_warn_of_threads(broker):
    """From Python 3.12 on, it warns at a fork of a process with several threads. stomp-web starts none."""
    assert run("quiet", broker) == {"threads": 1, "child": 0}
    bodies = [json.loads(frame.body) for frame in broker.messages("/queue/orders")]
    assert bodies == ["before", "child", "after"]


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed: pip install gevent")
def test_greenlets_go_on_in_the_parent_and_their_copies_in_the_child_touch_nothing_of_it(broker):
    """The greenlets of a gevent process all live on in its child, other than threads.

    The copy of one that waits for a receipt is told at once that its connection is gone. It can never read the receipt.
    """
    broker.faults.delay(3, on="SEND", after=2)
    found = run("gevent", broker)
    assert found == {"child": ["ConnectionLost", 0, 3, 10], "parent": [True] * 4}
    bodies = [frame.body for frame in broker.messages("/queue/orders")]
    assert bodies[:3] == [b"before", b"before", b"slow"]
    assert sorted(bodies[3:]) == [b"after"] * 2 + [b"child"] * 10 + [b"waited"]
