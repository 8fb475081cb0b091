"""A signal handler that sends in the middle of a send's telemetry waits for nothing, and every message is counted."""

from __future__ import annotations

import signal

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")
pytest.importorskip("prometheus_client", reason="needs: pip install prometheus-client")

from stomp_web import Publisher
from stomp_web.telemetry.prometheus import Collector


def test_a_signal_handler_may_send(telemetry):
    sent = 0

    def send(*_):
        nonlocal sent
        sent += 1
        publisher.send("/queue/signals", 1)

    with Publisher("null://") as publisher:
        telemetry.instrument(publisher)
        collector = Collector(publisher)
        before = signal.signal(signal.SIGVTALRM, send)  # not SIGALRM, which pytest-timeout uses
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
        try:
            count = 0
            while sent < 300:
                publisher.send("/queue/a", 1)
                count += 1
                if count % 50 == 0:
                    collector.collect()
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        samples = [sample for metric in collector.collect() for sample in metric.samples]
        counted = sum(sample.value for sample in samples if sample.name == "stomp_web_messages_sent_total")
        assert counted == publisher.stats().sent == count + sent
    assert len(telemetry.spans) >= count  # those of a nested send are left out
