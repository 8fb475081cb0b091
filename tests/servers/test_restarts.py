"""Servers that end, or replace their workers, while requests run: what was answered with 2xx is in the queue, once."""

from __future__ import annotations

import dataclasses
import json
import signal

import pytest

from tests.servers.programs import SERVERS
from tests.servers.running import PATIENCE, exactly_once, serving


def arrived(local_broker):
    return [(json.loads(frame.body), frame.headers["x-message-id"]) for frame in local_broker.messages("/queue/orders")]


def well_under_way(server):
    """Fifty answers, and some of each worker: one that is told to end while it begins may not hear it."""
    return lambda answers: len(answers) >= 50 and len({answer["pid"] for answer in answers}) == server.processes


def test_a_server_that_ends_in_order_loses_nothing_that_it_promised(server, local_broker, tmp_path):
    with serving(server, local_broker.url, tmp_path) as running:
        with running.load() as load:
            load.wait_for(well_under_way(server))
            running.tell(server.end)
            assert running.ended(), running.output()
        exactly_once(load.answers, arrived(local_broker))
    assert local_broker.wait_until(lambda: local_broker.sessions == 0, PATIENCE)


@pytest.mark.parametrize("server", ["waitress", "uwsgi", "gunicorn sync, preload"], indirect=True)
def test_a_server_that_is_killed_loses_nothing_that_it_promised(server, local_broker, tmp_path):
    with serving(server, local_broker.url, tmp_path) as running:
        with running.load() as load:
            load.wait_for(well_under_way(server))
            running.kill()
        exactly_once(load.answers, arrived(local_broker))
    assert local_broker.wait_until(lambda: local_broker.sessions == 0, PATIENCE)


RELOADS = [name for name, server in SERVERS.items() if server.processes > 1 and "early" not in name]


@pytest.mark.parametrize("server", RELOADS, indirect=True)
def test_a_graceful_restart_loses_nothing_and_the_new_workers_publish(server, local_broker, tmp_path):
    with serving(server, local_broker.url, tmp_path) as running, running.load() as load:
        load.wait_for(well_under_way(server))
        old = {answer["pid"] for answer in load.answers}
        running.tell(signal.SIGHUP)
        load.wait_for(lambda answers: sum(answer["pid"] not in old for answer in answers) >= 50)
        load.stop()
        exactly_once(load.answers, arrived(local_broker))


@pytest.mark.parametrize("server", ["gunicorn sync, preload", "uwsgi"], indirect=True)
def test_workers_that_serve_a_few_requests_each_publish_all_of_them(server, local_broker, tmp_path):
    """Each is forked anew from a parent with an open connection, long after that was opened."""
    limits = {"gunicorn": ("--max-requests", "20"), "uwsgi": ("--max-requests", "20", "--min-worker-lifetime", "0")}
    few = dataclasses.replace(server, arguments=(*server.arguments, *limits[server.name]))
    with serving(few, local_broker.url, tmp_path) as running, running.load() as load:
        load.wait_for(lambda answers: len({answer["pid"] for answer in answers}) >= 6)
        load.stop()
        exactly_once(load.answers, arrived(local_broker))
        assert len(local_broker.messages("/queue/orders-loaded")) == 1
