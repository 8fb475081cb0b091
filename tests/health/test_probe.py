"""The answers to requests, without a socket."""

from __future__ import annotations

import json
import logging

import pytest

from stomp_web.health import Report
from stomp_web.health.probe import LONGEST_HEAD, answer, is_complete

GOOD = Report(ready=True, details={"handled": 7})
STARTING = Report(ready=False, reason="it is starting")
STUCK = Report(live=False, ready=False, reason="it is stuck")


def ask(target: str, report: Report = GOOD, method: str = "GET", rest: str = "HTTP/1.1\r\nHost: pod\r\n\r\n"):
    head, _, body = answer(f"{method} {target} {rest}".encode(), lambda: report).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ") for line in lines[1:]), json.loads(body) if body else None


@pytest.mark.parametrize(
    ("report", "ready", "live"), [(GOOD, 200, 200), (STARTING, 503, 200), (STUCK, 503, 503), (Report(), 200, 200)]
)
def test_healthz_means_ready_and_live_asks_for_less(report: Report, ready: int, live: int) -> None:
    assert [ask(path, report)[0] for path in ("/healthz", "/healthz/ready", "/healthz/live")] == [ready, ready, live]


def test_the_text_is_json_with_the_state_the_reason_and_the_details() -> None:
    assert ask("/healthz")[2] == {"status": "ok", "live": True, "ready": True, "handled": 7}
    assert ask("/healthz", STARTING)[2] == {
        "status": "unavailable",
        "live": True,
        "ready": False,
        "reason": "it is starting",
    }
    assert ask("/healthz/live", STARTING)[2]["status"] == "ok"


def test_the_answer_must_not_be_stored_and_ends_the_connection() -> None:
    _, headers, _ = ask("/healthz")
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Connection"] == "close"


def test_head_has_the_headers_of_get_and_no_body() -> None:
    status, headers, body = ask("/healthz", method="HEAD")
    assert (status, body) == (200, None)
    assert headers == ask("/healthz")[1]


@pytest.mark.parametrize("target", ["/healthz?verbose=1", "http://pod:8081/healthz", "http://pod:8081/healthz?x=/"])
def test_a_query_and_a_host_do_not_count(target: str) -> None:
    assert ask(target)[0] == 200


@pytest.mark.parametrize("target", ["/", "/metrics", "/healthz/", "/healthz/live/x", "*", "http://pod", "/HEALTHZ"])
def test_another_path_is_not_found(target: str) -> None:
    status, _, body = ask(target)
    assert status == 404
    assert body["reason"] == "there is /healthz, /healthz/ready, /healthz/live, and no other path"


def test_another_method_is_refused() -> None:
    status, headers, _ = ask("/healthz", method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "data", [b"\r\n\r\n", b"GET /healthz\r\n\r\n", b"\x16\x03\x01\n\n", b"A B C D\n\n", b"G /h FTP/1\n\n"]
)
def test_what_is_no_http_is_refused(data: bytes) -> None:
    assert is_complete(data)
    assert answer(data, lambda: GOOD).startswith(b"HTTP/1.1 400 ")


def test_a_head_without_an_end_is_refused_when_it_is_too_long() -> None:
    data = b"GET /healthz HTTP/1.1\r\nX: " + b"x" * LONGEST_HEAD
    assert not is_complete(data[:LONGEST_HEAD])
    assert is_complete(data)
    assert answer(data, lambda: GOOD).startswith(b"HTTP/1.1 431 ")


def test_a_report_that_raises_is_logged_and_the_answer_is_500(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Report:
        raise LookupError("no such worker")

    with caplog.at_level(logging.ERROR, "stomp_web.health"):
        assert answer(b"GET /healthz HTTP/1.1\r\n\r\n", fail).startswith(b"HTTP/1.1 500 ")
    assert "no such worker" in caplog.text
