"""Probes: what an operator's tools ask, over real HTTP."""

from __future__ import annotations

import json
import re
import typing
import urllib.error
import urllib.request

from tests.cli.running import line_with
from tests.client.scripted import eventually

if typing.TYPE_CHECKING:
    import subprocess

__all__ = ["PORT", "Answer", "becomes", "probe", "url_of"]

#: The option for a free port.
PORT = ("--health-port", "127.0.0.1:0")

#: Seconds. After a broker has come back, the breaker of a pool may wait for 30 seconds.
PATIENCE = 120.0

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Answer(typing.NamedTuple):
    status: int
    members: dict[str, typing.Any]
    headers: dict[str, str]


def probe(url: str, method: str = "GET") -> Answer:
    """Ask *url*, and return the status, the JSON text and the headers of the answer."""
    request = urllib.request.Request(url, method=method)
    try:
        answer = _opener.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        body = answer.read()
        return Answer(answer.status, json.loads(body) if body else {}, dict(answer.headers.items()))


def url_of(process: subprocess.Popen[str]) -> str:
    """The address that the program tells in its log."""
    found = re.search(r"health checks at (http://\S+)", line_with(process, "health checks at", "stderr"))
    assert found
    return found[1]


def becomes(status: int, url: str) -> Answer:
    """Ask *url* until the answer has *status*, and return the answer."""
    answers: list[Answer] = []

    def has_status() -> bool:
        answers.append(probe(url))
        return answers[-1].status == status

    assert eventually(has_status, PATIENCE), answers[-1]
    return answers[-1]
