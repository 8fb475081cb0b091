"""Probes: what an operator's tools ask, over real HTTP."""

from __future__ import annotations

import json
import typing
import urllib.error
import urllib.request

from tests.client.scripted import eventually

__all__ = ["Answer", "becomes", "probe"]

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
        answer = _opener.open(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        body = answer.read()
        return Answer(answer.status, json.loads(body) if body else {}, dict(answer.headers.items()))


def becomes(status: int, url: str) -> Answer:
    """Ask *url* until the answer has *status*, and return the answer."""
    answers: list[Answer] = []

    def has_status() -> bool:
        answers.append(probe(url))
        return answers[-1].status == status

    assert eventually(has_status, PATIENCE), answers[-1]
    return answers[-1]
