"""Handlers and an initializer for the processes of a worker. Spans are written into a file, one JSON object a line."""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from stomp_web import Publisher
from stomp_web.worker import ReceivedMessage

#: The environment variable with the path of the file.
FILE = "STOMP_TEST_SPANS"


def begin_tracing() -> None:
    exporter = ConsoleSpanExporter(
        out=Path(os.environ[FILE]).open("a", buffering=1),  # noqa: SIM115 - open as long as the process lives
        formatter=lambda span: f"{span.to_json(indent=None)}\n",
    )
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def answer(message: ReceivedMessage) -> None:
    """Send an answer to the address and the queue that the payload names."""
    with Publisher(message.payload["url"], telemetry=True) as publisher:
        publisher.send("/queue/answers", os.getpid())


def fail(message: ReceivedMessage) -> None:
    raise LookupError("in the process")
