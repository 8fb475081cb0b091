"""The entry point for `opentelemetry-instrument`."""

from __future__ import annotations

import copy
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")
pytest.importorskip("opentelemetry.instrumentation", reason="needs: pip install opentelemetry-instrumentation")

from stomp_web import Publisher
from stomp_web.observers import installers
from stomp_web.telemetry.instrumentor import StompWebInstrumentor
from stomp_web.worker import Worker
from tests.telemetry.test_options import is_on
from tests.worker.running import Notes


@pytest.fixture
def instrumentor(telemetry):
    made = StompWebInstrumentor()
    made.instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
    yield made
    if made.is_instrumented_by_opentelemetry:
        made.uninstrument()
    assert installers == []


def test_what_is_made_afterwards_is_instrumented(broker, telemetry, instrumentor, start):
    worker = Worker(broker.url)
    worker.subscribe("/queue/a")(Notes())
    start(worker)
    with Publisher(broker.url) as publisher, copy.copy(publisher) as again:
        publisher.send("/queue/a", 1)
        again.send("/queue/a", 2)
        spans = telemetry.wait(4)
    assert sorted(span.name for span in spans) == ["process /queue/a"] * 2 + ["send /queue/a"] * 2


def test_it_may_be_given_the_arguments_of_instrument(broker, telemetry):
    instrumentor = StompWebInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracer_provider, system="jms")
    try:
        with Publisher(broker.url) as publisher:
            publisher.send("/queue/a", 1)
    finally:
        instrumentor.uninstrument()
    assert telemetry.spans[0].attributes["messaging.system"] == "jms"


def test_both_ways_are_one(broker, telemetry, instrumentor):
    with Publisher(broker.url, telemetry=True) as publisher:
        publisher.send("/queue/a", 1)
        assert len(publisher.observers.known) == 1


def test_it_can_be_ended(broker, telemetry, instrumentor):
    with Publisher(broker.url) as publisher:
        instrumentor.uninstrument()
        publisher.send("/queue/a", 1)
        assert not is_on(publisher)
    assert not is_on(Publisher("memory://"))
    assert telemetry.spans == []


def test_the_command_finds_it(broker, tmp_path):
    if not entry_points(group="opentelemetry_instrumentor", name="stomp_web"):
        pytest.skip("stomp-web is not installed, so that opentelemetry-instrument does not know it")
    pytest.importorskip("opentelemetry.distro", reason="needs: pip install opentelemetry-distro")
    (tmp_path / "program.py").write_text(
        "import sys; from stomp_web import Publisher\n"
        "with Publisher(sys.argv[1]) as publisher: publisher.send('/queue/a', 1)\n"
    )
    code = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    exporters = ("--traces_exporter", "console", "--metrics_exporter", "none", "--logs_exporter", "none")
    done = subprocess.run(
        [sys.executable, "-c", code, *exporters, sys.executable, "program.py", broker.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert '"name": "send /queue/a"' in done.stdout, done.stderr
    assert "traceparent" in broker.messages("/queue/a")[0].headers
