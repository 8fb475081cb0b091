"""Two hundred requests from sixteen clients: all served, and each message in the queue exactly once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time

import pytest

from tests.brokers import fleet
from tests.brokers.foreign import ForeignClient
from tests.servers.running import PATIENCE, exactly_once, serving

REQUESTS = 200


def arrived(local_broker, destination="/queue/orders"):
    return [(json.loads(frame.body), frame.headers["x-message-id"]) for frame in local_broker.messages(destination)]


def check_workers(server, answers):
    """Where the application was loaded, and that nothing but the server has started threads."""
    assert {answer["pid"] != answer["loaded_by"] for answer in answers} == {server.preloads}
    assert len({answer["pid"] for answer in answers}) <= server.processes
    assert max(answer["threads"] for answer in answers) <= server.most_threads
    if "gevent" not in server.modules:  # which looks up host names in threads of its own
        assert max(answer["native_threads"] for answer in answers) <= server.most_threads


def check_connections(server, local_broker):
    """No connection was shared, cut or said farewell to: what was opened is open, the parent's included."""
    parents, loads = (1, 1) if server.preloads else (0, server.processes)
    assert len(local_broker.wait_for("/queue/orders-loaded", loads, PATIENCE)) == loads  # a worker may have begun late
    assert local_broker.sessions == local_broker.connections_accepted <= parents + 8 * server.processes
    assert local_broker.received("DISCONNECT") == 0


def test_every_request_is_served_and_its_message_arrives_once(server, local_broker, tmp_path):
    with serving(server, local_broker.url, tmp_path) as running:
        answers = running.post_all(range(REQUESTS))
        exactly_once(answers, arrived(local_broker))
        assert len(local_broker.messages("/queue/orders")) == REQUESTS
        check_workers(server, answers)
        check_connections(server, local_broker)


@pytest.mark.parametrize(
    ("server", "application"),
    [("gunicorn gthread, preload", "flask_application"), ("uwsgi, threads", "django_application")],
    indirect=["server"],
)
def test_a_framework_serves_as_well(server, application, local_broker, tmp_path):
    pytest.importorskip(application.partition("_")[0])
    with serving(server, local_broker.url, tmp_path, application=application) as running:
        answers = running.post_all(range(REQUESTS))
        exactly_once(answers, arrived(local_broker))
        assert len(local_broker.messages("/queue/orders")) == REQUESTS
        check_workers(server, answers)
        check_connections(server, local_broker)


@pytest.mark.parametrize("server", ["gunicorn gthread, preload"], indirect=True)
@pytest.mark.parametrize("broker", fleet.REAL, indirect=True)
def test_foreign_brokers_have_each_message_once(server, broker, tmp_path):
    queue = f"/queue/servers-{tmp_path.name}"
    with ForeignClient(broker) as reader:
        reader.subscribe(queue)
        with serving(server, broker.url, tmp_path, STOMP_TEST_QUEUE=queue) as running:
            answers = running.post_all(range(REQUESTS))
            check_workers(server, answers)
        reader.send(queue, "the last one")
        messages = []
        while (message := reader.get()).body != b"the last one":
            messages.append((json.loads(message.body), message.headers["x-message-id"]))
    exactly_once(answers, messages)
    assert len(messages) == REQUESTS


@pytest.mark.parametrize(
    "server",
    ["gunicorn gevent", "gunicorn gevent, preload", "gunicorn gevent, preload, patched early"],
    indirect=True,
)
def test_two_hundred_greenlets_share_the_eight_connections_of_their_worker(server, local_broker, tmp_path):
    """The broker reads nothing until all others wait in line."""
    server = dataclasses.replace(server, arguments=(*server.arguments, "--workers", "1"), processes=1)
    with serving(server, local_broker.url, tmp_path) as running, contextlib.ExitStack() as stack:
        running.post_all(range(1000, 1016))
        local_broker.faults.freeze()
        clients = []
        for number in range(REQUESTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE))
            client.sendall(b"POST /%d HTTP/1.0\r\n\r\n" % number)
            clients.append(client)
        deadline = time.monotonic() + PATIENCE
        while running.post("waiting") < REQUESTS - 8:
            assert time.monotonic() < deadline
        local_broker.faults.thaw()
        answers = []
        for client in clients:
            with client.makefile("rb") as response:
                head, _, body = response.read().partition(b"\r\n\r\n")
            assert b" 202 " in head.partition(b"\r\n")[0], (head, running.output())
            answers.append(json.loads(body))
        assert len({answer["number"] for answer in answers}) == REQUESTS
        exactly_once(answers, arrived(local_broker))
        check_connections(server, local_broker)
