"""The shop of the documentation, in processes of their own: what its exporter prints is one trace."""

from __future__ import annotations

import re
import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")
pytest.importorskip("flask")

from stomp_web.broker import Broker
from tests.cli.running import ROOT, ended, line_with, program
from tests.docs.pages import Block, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Broker]:
    """The folder with the shop of the page, and its broker."""
    (source,) = (
        step.text for step in load("how-to/telemetry.md").steps if isinstance(step, Block) and step.caption == "shop.py"
    )
    with Broker() as broker:
        (tmp_path / "shop.py").write_text(source.replace("localhost:61613", f"127.0.0.1:{broker.port}"))
        yield tmp_path, broker


def traces(printed: str) -> list[tuple[str, str]]:
    """The trace and the name of each printed span."""
    return re.findall(r"^trace ([0-9a-f]{32}) [A-Z]+ (.*)$", printed, re.MULTILINE)


@pytest.mark.parametrize("how", [(), ("--processes", "1")], ids=["threads", "processes"])
def test_request_and_handler_in_two_processes_share_a_trace(shop, how):
    folder, _ = shop
    environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    run = ("--app", "shop", "run", "--port", "0")
    with (
        program(*run, module="flask", cwd=folder, **environment) as web,
        program("--app", "shop", "stomp", "worker", *how, module="flask", cwd=folder, **environment) as worker,
    ):
        address = re.search(r"http://127\.0\.0\.1:\d+", line_with(web, "Running on", "stderr"))[0]
        line_with(worker, "receiving from", "stderr")
        request = urllib.request.Request(f"{address}/orders", b'{"id": 7}', {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 202
        handled = line_with(worker, "CONSUMER process /queue/orders")
        worker.send_signal(signal.SIGTERM)
        assert ended(worker)[0] == 0
        web.send_signal(signal.SIGINT)
        sent = traces(ended(web)[1])
    assert [name for _, name in sent] == ["send /queue/orders", "POST /orders"]
    assert {trace for trace, _ in sent} == {trace for trace, _ in traces(handled)}
