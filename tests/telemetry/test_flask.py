"""A trace from a request of a Flask app into `flask stomp worker`, in processes of their own."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOP = """
from flask import Flask, request
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from stomp_web.flask import Stomp

def in_one_line(span):
    return f"trace {span.context.trace_id:032x} {span.kind.name} {span.name}\\n"

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=in_one_line)))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")

app = Flask(__name__)
app.config.from_prefixed_env()
stomp = Stomp(app)

@app.post("/orders")
def create_order():
    with tracer.start_as_current_span("POST /orders"):
        stomp.send("/queue/orders", request.get_json())
    return {"status": "accepted"}, 202

@stomp.subscribe("/queue/orders")
def place_order(message):
    with tracer.start_as_current_span("place order"):
        print("order", message.payload["id"])
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder with the shop, whose broker runs."""
    (tmp_path / "shop.py").write_text(SHOP)
    with Broker() as broker:
        monkeypatch.setenv("FLASK_STOMP_URL", broker.url)
        monkeypatch.setenv("FLASK_STOMP_TELEMETRY", "true")
        yield tmp_path


def traces(printed: str) -> list[tuple[str, str]]:
    """The trace and the name of each printed span."""
    return re.findall(r"^trace ([0-9a-f]{32}) [A-Z]+ (.*)$", printed, re.MULTILINE)


@pytest.mark.parametrize("how", [(), ("--processes", "1")], ids=["threads", "processes"])
def test_request_and_handler_in_two_processes_share_a_trace(shop, how):
    environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    run = ("--app", "shop", "run", "--port", "0")
    with (
        program(*run, module="flask", cwd=shop, **environment) as web,
        program("--app", "shop", "stomp", "worker", *how, module="flask", cwd=shop, **environment) as worker,
    ):
        address = re.search(r"http://127\.0\.0\.1:\d+", line_with(web, "Running on", "stderr"))[0]
        line_with(worker, "receiving from", "stderr")
        request = urllib.request.Request(f"{address}/orders", b'{"id": 7}', {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 202
        inside = traces(line_with(worker, "INTERNAL place order"))
        handled = traces(line_with(worker, "CONSUMER process /queue/orders"))
        worker.send_signal(signal.SIGTERM)
        assert ended(worker)[0] == 0
        web.send_signal(signal.SIGINT)
        sent = traces(ended(web)[1])
    assert [name for _, name in sent] == ["send /queue/orders", "POST /orders"]
    assert len({trace for trace, _ in (*sent, *inside, *handled)}) == 1
