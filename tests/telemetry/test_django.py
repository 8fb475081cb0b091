"""A trace from a process of a Django site through the outbox, the relay and a broker into `manage.py stomp_worker`."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")
pytest.importorskip("django")

from stomp_web.broker import Broker
from tests.cli.running import ROOT, ended, line_with, program

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

def in_one_line(span):
    return f"trace {{span.context.trace_id:032x}} {{span.kind.name}} {{span.name}}\\n"

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=in_one_line)))
trace.set_tracer_provider(provider)

SECRET_KEY = "only for tests"
USE_TZ = True
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database!r}}}}}
INSTALLED_APPS = ["stomp_web.django", "stomp_web.django.outbox", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STOMP = {{"default": {{"OPTIONS": {{"url": {url!r}, "telemetry": True}}, "WORKER": {{"concurrency": 1}}}}}}
"""

HANDLERS = """
from stomp_web.django import subscribe

@subscribe("/queue/orders")
def place_order(message):
    print("order", message.payload["id"])
"""

ORDER = """
import django
django.setup()
from django.db import transaction
from opentelemetry import trace
from stomp_web.django import send

with trace.get_tracer("shop").start_as_current_span("POST /orders"), transaction.atomic():
    send("/queue/orders", {"id": 7}, outbox=True)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    with Broker() as broker:
        (tmp_path / "site_settings.py").write_text(
            SETTINGS.format(database=str(tmp_path / "shop.sqlite3"), url=broker.url)
        )
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "__init__.py").touch()
        (tmp_path / "shop" / "stomp_handlers.py").write_text(HANDLERS)
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "site_settings")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
        yield tmp_path


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def traces(printed: str) -> list[tuple[str, str]]:
    return re.findall(r"^trace ([0-9a-f]{32}) ([A-Z]+ .*)$", printed, re.MULTILINE)


@pytest.mark.parametrize("how", [(), ("--processes", "1")], ids=["threads", "processes"])
def test_a_trace_goes_through_the_outbox_the_relay_and_the_broker(project, how):
    run("-m", "django", "migrate", "--verbosity", "0")
    ordered = traces(run("-c", ORDER))
    with sqlite3.connect(project / "shop.sqlite3") as database:
        ((headers,),) = database.execute("SELECT headers FROM stomp_web_outbox").fetchall()
    with program("stomp_worker", *how, module="django", cwd=project) as worker:
        line_with(worker, "receiving from", "stderr")
        relayed = traces(run("-m", "django", "stomp_relay", "--once"))
        handled = traces(line_with(worker, "CONSUMER"))
        worker.send_signal(signal.SIGTERM)
        assert ended(worker)[0] == 0
    assert [span for _, span in ordered] == ["PRODUCER create /queue/orders", "INTERNAL POST /orders"]
    assert [span for _, span in relayed] == ["CLIENT send /queue/orders"]
    assert [span for _, span in handled] == ["CONSUMER process /queue/orders"]
    (trace,) = {trace for trace, _ in (*ordered, *relayed, *handled)}
    assert trace in headers
