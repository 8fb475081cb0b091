"""A development broker in this process, which sees all, and what the absence of a server costs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from stomp_web.broker import Broker
from tests.servers.programs import SERVERS, Server, version
from tests.servers.running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

_missing: Counter[tuple[str, str]] = Counter()
_used: set[str] = set()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [f"servers: {', '.join(map(version, sorted(_used)))}"] if _used else []
    for (lack, install), count in _missing.items():
        skipped, them = ("1 test was skipped", "it") if count == 1 else (f"{count} tests were skipped", "them")
        lines.append(f"{lack}: {skipped}. To run {them}: {install}")
    if lines:
        terminalreporter.section("servers")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def local_broker() -> Iterator[Broker]:
    with Broker(connect_timeout=PATIENCE) as broker:
        yield broker


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Server:
    """A server. A missing one costs what a missing broker costs: a skip, with ``--require-brokers`` a failure."""
    server = SERVERS[request.param]
    lack = server.missing()
    if lack is not None:
        if request.config.option.require_brokers:
            pytest.fail(f"{lack}: {server.install} (--require-brokers)", pytrace=False)
        _missing[lack, server.install] += 1
        pytest.skip(f"{lack}: {server.install}")
    _used.update((server.name, *server.modules))
    return server
