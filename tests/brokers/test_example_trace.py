"""The example of the documentation: one trace from Flask through the outbox and RabbitMQ into a Django worker.

The files are those of the page on telemetry, and each program is a process of its own. What the SDK's console exporter
prints there is compared.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

for package in ("opentelemetry.sdk", "flask_sqlalchemy", "django"):
    pytest.importorskip(package)

from tests.brokers.fleet import RABBITMQ
from tests.brokers.running import PATIENCE
from tests.cli.running import ROOT, ended, line_with, program
from tests.docs.pages import Block, load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.running import RunningBroker

LIMIT = 3 * PATIENCE
ORDERS = "/queue/orders"
SPAN = re.compile(r"^trace ([0-9a-f]{32}) span ([0-9a-f]{16}) parent (\w+) ([A-Z]+ .*)$", re.MULTILINE)


class Span(NamedTuple):
    """A line of the console exporter, as the page makes it."""

    trace: str
    id: str
    parent: str
    what: str


def spans(printed: str) -> list[Span]:
    return [Span(*found) for found in SPAN.findall(printed)]


def write_example(folder: Path, url: str, destination: str) -> None:
    """Write the files of the page, with another broker and a queue that no other test knows."""
    written = []
    for step in load("how-to/telemetry.md").steps:
        if not isinstance(step, Block) or step.caption is None:
            continue
        name, _, at_the_end = step.caption.partition(" ")
        text = step.text.replace("stomp://localhost:61613", url).replace(ORDERS, destination)
        with (folder / name).open("a" if at_the_end else "x") as file:
            file.write(f"\n{text}")
        written.append(name)
    assert written == ["tracing.py", "shop.py", "warehouse/settings.py", "warehouse/stomp_handlers.py"]


@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.parametrize("broker", RABBITMQ, indirect=True)
def test_a_trace_goes_from_flask_through_outbox_and_broker_into_a_django_worker(
    broker: RunningBroker, destination: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STOMP_URL", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.delenv(name, raising=False)
    project = [sys.executable, "-m", "django", "startproject", "warehouse", "."]
    subprocess.run(project, cwd=tmp_path, check=True, timeout=PATIENCE)
    write_example(tmp_path, broker.url, destination)

    with ExitStack() as stack:

        def start(module: str, *arguments: str) -> subprocess.Popen[str]:
            given = {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
            return stack.enter_context(program(*arguments, module=module, cwd=tmp_path, limit=LIMIT, **given))

        web = start("flask", "--app", "shop", "run", "--port", "0")
        address = re.search(r"http://127\.0\.0\.1:\d+", line_with(web, "Running on", "stderr"))
        assert address is not None
        relay = start("flask", "--app", "shop", "stomp", "relay")
        worker = start("manage", "stomp_worker")
        line_with(relay, "relaying the messages", "stderr")
        line_with(worker, "receiving from", "stderr")

        order = urllib.request.Request(f"{address[0]}/orders", b'{"id": 7}', {"Content-Type": "application/json"})
        with urllib.request.urlopen(order, timeout=PATIENCE) as answer:
            assert answer.status == 202
        (processed,) = spans(line_with(worker, "CONSUMER"))
        (sent,) = spans(line_with(relay, "CLIENT"))
        for each in (worker, relay):
            each.send_signal(signal.SIGTERM)
            code, out, err = ended(each)
            assert (code, spans(out)) == (0, []), err
        web.send_signal(signal.SIGINT)
        created, request = spans(ended(web)[1])

    assert [span.what for span in (request, created, sent, processed)] == [
        "SERVER POST /orders",
        f"PRODUCER create {destination}",
        f"CLIENT send {destination}",
        f"CONSUMER process {destination}",
    ]
    assert len({span.trace for span in (request, created, sent, processed)}) == 1
    assert request.parent == "none"
    assert [span.parent for span in (created, sent, processed)] == [request.id, created.id, created.id]
