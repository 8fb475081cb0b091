"""The collector for Prometheus, as its client library writes it for a scrape."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("prometheus_client", reason="needs: pip install prometheus-client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stomp_web import ConfigurationError, ConnectionLost, Publisher, Rejected
from stomp_web.broker import Broker
from stomp_web.telemetry.prometheus import Collector
from stomp_web.worker import Worker
from tests.cli.running import ROOT
from tests.client.scripted import eventually
from tests.worker.running import PATIENCE, Notes
from tests.wsgi.helpers import in_threads, serving


class Scraped:
    """A registry with one collector."""

    def __init__(self, *targets, **options):
        self.registry = CollectorRegistry(auto_describe=True)
        self.collector = Collector(*targets, **options)
        self.registry.register(self.collector)

    @property
    def text(self):
        return generate_latest(self.registry).decode()

    def get(self, name, **labels):
        """The value of one sample, or None. The label `broker` need not be given."""
        found = []
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                without = {label: value for label, value in sample.labels.items() if label != "broker"}
                if sample.name == f"stomp_web_{name}" and without == labels:
                    found.append(sample.value)
        assert len(found) <= 1, found
        return found[0] if found else None

    def becomes(self, value, name, **labels):
        """Whether the sample has this value before long."""
        return eventually(lambda: self.get(name, **labels) == value, PATIENCE)


@pytest.fixture
def publisher(broker):
    with Publisher(broker.url, timeout=60.0) as made:
        yield made


def test_what_is_sent(publisher, broker):
    scraped = Scraped(publisher)
    publisher.send("/queue/a", 1)
    publisher.send("/queue/a", 1, confirm=False)
    with publisher.batch() as batch:
        batch.send("/queue/a", 2)
        batch.send("/queue/b", 3)
    assert scraped.get("messages_sent_total", destination="/queue/a", outcome="confirmed") == 2
    assert scraped.get("messages_sent_total", destination="/queue/a", outcome="sent") == 1
    assert scraped.get("messages_sent_total", destination="/queue/b", outcome="confirmed") == 1
    assert scraped.get("send_duration_seconds_count", destination="/queue/a") == 2
    assert scraped.get("send_duration_seconds_count", destination="") == 1
    assert f'broker="stomp://127.0.0.1:{broker.port}"' in scraped.text


def test_failures_are_counted_as_the_publisher_counts_them(publisher, broker):
    scraped = Scraped(publisher)
    broker.faults.error("SEND", "No")
    with pytest.raises(Rejected):
        publisher.send("/queue/a", 1)
    broker.faults.close_before_receipt("SEND", after=1)
    with pytest.raises(ConnectionLost):
        publisher.send_many([("/queue/a", number) for number in range(3)])
    with Publisher("stomp://127.0.0.1:1") as away:
        other = Scraped(away)
        with pytest.raises(Exception, match="nothing was sent"):
            away.send("/queue/a", 1)
        assert other.get("messages_sent_total", destination="/queue/a", outcome="not_sent") == 1
        assert other.get("pool_changes_total", change="connect_failed") == 1
    stats = publisher.stats()
    for outcome in ("confirmed", "rejected", "unknown"):
        assert scraped.get("messages_sent_total", destination="/queue/a", outcome=outcome) == getattr(stats, outcome)
    assert scraped.get("messages_sent_total", destination="/queue/a", outcome="not_sent") is None
    assert (stats.confirmed, stats.rejected, stats.unknown, stats.not_sent) == (1, 1, 2, 0)


def test_the_pool(publisher):
    scraped = Scraped(publisher)
    publisher.send("/queue/a", 1)
    assert scraped.get("pool_connections", state="idle") == 1
    assert scraped.get("pool_connections", state="used") == 0
    assert scraped.get("pool_max_connections") == 8
    assert scraped.get("pool_waiting_callers") == 0
    assert scraped.get("pool_changes_total", change="opened") == 1
    assert scraped.get("pool_timeouts_total") == 0
    assert scraped.get("pool_wait_seconds_total") >= 0


def test_two_pools_of_one_broker_are_added(publisher, broker):
    with Publisher(broker.url, pool_size=3) as other:
        scraped = Scraped(publisher, other)
        assert scraped.get("pool_max_connections") == 11


def test_a_worker(publisher, broker, start):
    def handle(message):
        if message.payload == "bad":
            raise LookupError

    worker = Worker(broker.url, max_redeliveries=1, retry_delay=0.001)
    worker.subscribe("/queue/a")(handle)
    scraped = Scraped(worker)
    start(worker)
    publisher.send_many([("/queue/a", "good"), ("/queue/a", "bad")])
    broker.wait_for("/queue/DLQ")
    assert eventually(lambda: scraped.get("messages_dead_lettered_total", destination="/queue/a") == 1, PATIENCE)
    assert eventually(lambda: scraped.get("worker_in_flight_messages") == 0, PATIENCE)
    assert scraped.becomes(1, "process_duration_seconds_count", destination="/queue/a", outcome="handled")
    assert scraped.becomes(2, "process_duration_seconds_count", destination="/queue/a", outcome="failed")
    assert scraped.becomes(3, "messages_received_total", destination="/queue/a")
    assert scraped.becomes(1, "messages_given_back_total", destination="/queue/a")
    assert scraped.becomes(0, "worker_waiting_messages")
    assert scraped.get("worker_connected") == 1


def test_a_handler_of_a_wildcard_has_one_label(publisher, broker, start):
    worker = Worker(broker.url)
    notes = Notes()
    worker.subscribe("/topic/orders.*")(notes)
    scraped = Scraped(worker)
    start(worker)
    publisher.send_many([("/topic/orders.7", 1), ("/topic/orders.8", 1)])
    notes.wait(2)
    assert scraped.get("messages_received_total", destination="/topic/orders.*") == 2


def test_an_outbox(tmp_path):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session

    from stomp_web.sqlalchemy import Outbox
    from tests.outbox.running import Running

    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db")
    with Broker(denied=("/queue/no",)) as broker, Publisher(broker.url) as publisher:
        outbox = Outbox(metadata := sqlalchemy.MetaData(), publisher)
        metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            outbox.send(session, "/queue/no", 1)
            outbox.send(session, "/queue/yes", 1)
        relay = outbox.relay(engine, max_attempts=1)
        scraped = Scraped(relay)
        name = relay.store.name
        with Running(relay):
            assert eventually(lambda: scraped.get("outbox_messages", outbox=name, state="failed") == 1, PATIENCE)
            assert scraped.get("outbox_messages", outbox=name, state="pending") == 0
            assert scraped.get("outbox_oldest_age_seconds", outbox=name) > 0
            assert scraped.get("relay_sent_total", outbox=name) == 1
            assert scraped.get("relay_failures_total", outbox=name) >= 1
    engine.dispose()


def test_the_number_of_labels_is_bounded():
    with Publisher("memory://") as publisher:
        scraped = Scraped(publisher)
        publisher.send_many([(f"/queue/user.{number}", 1) for number in range(130)])
        assert scraped.get("messages_sent_total", destination="(other)", outcome="confirmed") == 30
        assert scraped.get("messages_sent_total", destination="/queue/user.99", outcome="confirmed") == 1
        publisher.send("/reply-queue/amq.gen-1", 1)
        assert "amq.gen-1" not in scraped.text


def test_a_template_gives_the_labels():
    with Publisher("memory://") as publisher:
        scraped = Scraped(publisher, destination_template=lambda name: re.sub(r"\d+", "{id}", name))
        publisher.send_many([(f"/queue/user.{number}", 1) for number in range(130)])
        assert scraped.get("messages_sent_total", destination="/queue/user.{id}", outcome="confirmed") == 130


def test_it_can_be_closed():
    publisher = Publisher("memory://")
    scraped = Scraped(publisher)
    scraped.collector.close()
    publisher.send("/queue/a", 1)
    assert not publisher.observers
    assert scraped.get("messages_sent_total", destination="/queue/a", outcome="confirmed") is None


def test_something_else_is_refused_and_nothing_is_changed():
    publisher = Publisher("memory://")
    with pytest.raises(ConfigurationError, match="Collector takes a Publisher, a Worker or a Relay, not str"):
        Collector(publisher, "stomp://localhost")
    assert not publisher.observers


def test_a_message_that_is_sent_in_the_middle_of_counting_is_counted_later():
    class Counted(str):
        """A destination whose hash, which the labels need, sends another message."""

        def __hash__(self):
            if not sent:
                sent.append(True)
                publisher.send("/queue/inner", 1)
            return super().__hash__()

    sent: list[bool] = []
    with Publisher("memory://") as publisher:
        scraped = Scraped(publisher, destination_template=lambda name: Counted(name) if "outer" in name else None)
        publisher.send("/queue/outer", 1)
        for name in ("outer", "inner"):
            assert scraped.get("messages_sent_total", destination=f"/queue/{name}", outcome="confirmed") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_begins_at_zero():
    with Publisher("memory://") as publisher:
        scraped = Scraped(publisher)
        publisher.send("/queue/a", 1)
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            try:
                publisher.send("/queue/a", 1)
                value = scraped.get("messages_sent_total", destination="/queue/a", outcome="confirmed")
                os.write(writes, str(value).encode())
            finally:
                os._exit(0)
        os.close(writes)
        with os.fdopen(reads) as pipe:
            assert pipe.read() == "1.0"
        os.waitpid(child, 0)
        publisher.send("/queue/a", 1)
        assert scraped.get("messages_sent_total", destination="/queue/a", outcome="confirmed") == 2


PROGRAM = """
import sys
from stomp_web import Publisher
from stomp_web.telemetry.prometheus import Collector
publisher = Publisher(sys.argv[1])
collector = Collector(publisher)
for number in range(int(sys.argv[2])):
    publisher.send("/queue/a", number)
"""


SCRAPE = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry(); multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def in_process(program, *arguments, directory):
    """Run *program* in a process that keeps its metrics in *directory*. Return its output."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout


def scraped_together(directory):
    """The samples of all processes."""
    lines = in_process(SCRAPE, directory=directory).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))


def test_the_numbers_of_several_processes_are_added(broker, tmp_path):
    for count in ("2", "3"):
        in_process(PROGRAM, broker.url, count, directory=tmp_path)
    values = scraped_together(tmp_path)
    label = f'broker="stomp://127.0.0.1:{broker.port}"'
    assert values[f'stomp_web_messages_sent_total{{{label},destination="/queue/a",outcome="confirmed"}}'] == "5.0"
    assert values[f'stomp_web_send_duration_seconds_count{{{label},destination="/queue/a"}}'] == "5.0"
    assert values[f'stomp_web_pool_connections{{{label},state="idle"}}'] == "2.0"
    assert values[f'stomp_web_pool_changes_total{{{label},change="opened"}}'] == "2.0"


WORKER = """
import sys
from stomp_web.telemetry.prometheus import Collector
from stomp_web.worker import Worker
worker = Worker(sys.argv[1], concurrency=1)
worker.subscribe("/queue/a")(lambda message: worker.stop())
collector = Collector(worker)
sys.exit(worker.run())
"""


def test_what_changes_between_the_events_of_a_worker_is_not_in_the_files(publisher, broker, tmp_path):
    publisher.send("/queue/a", 1)
    in_process(WORKER, broker.url, directory=tmp_path)
    values = scraped_together(tmp_path)
    label = f'broker="stomp://127.0.0.1:{broker.port}",destination="/queue/a"'
    assert values[f"stomp_web_messages_received_total{{{label}}}"] == "1.0"
    assert values[f'stomp_web_process_duration_seconds_count{{{label},outcome="handled"}}'] == "1.0"
    assert [name for name in values if name.startswith("stomp_web_worker_")] == []


def test_it_needs_no_opentelemetry():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from stomp_web import Publisher; from stomp_web.telemetry.prometheus import Collector\n"
        "Collector(Publisher('memory://')); print('made')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "made\n"


def test_a_scrape_of_gunicorn_has_the_numbers_of_all_its_workers(broker, tmp_path):
    pytest.importorskip("gunicorn")
    environment = {
        "GUNICORN_CMD_ARGS": "--workers 2 --preload",  # forked after the collector was made
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "STOMP_TEST_URL": broker.url,
    }
    with serving("gunicorn", "tests.telemetry.metrics_app:application", **environment) as address:

        def get(path):
            with urllib.request.urlopen(address + path, timeout=60) as answer:
                return answer.read().decode()

        sent, pids = 0, set()
        while len(pids) < 2 and sent < 2000:
            pids.update(in_threads(4, lambda _: get("/")))  # at once, so that one worker alone is not enough
            sent += 4
        text = get("/metrics")
    assert len(pids) == 2
    label = f'broker="stomp://127.0.0.1:{broker.port}"'
    assert (
        f'stomp_web_messages_sent_total{{{label},destination="/queue/orders",outcome="confirmed"}} {sent:.1f}' in text
    )
    opened = float(re.search(rf'stomp_web_pool_changes_total{{{label},change="opened"}} (.*)', text)[1])
    assert opened >= 2
    assert f'stomp_web_pool_connections{{{label},state="idle"}} {opened}' in text
