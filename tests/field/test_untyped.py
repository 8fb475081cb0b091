"""JSON that other programs send: without a content type, as JMS does, or with one of their own that ends in +json."""

from __future__ import annotations

import subprocess
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from stomp_web import ConfigurationError, PublishClient, QueueingDuplexClient, SerializationError
from stomp_web.broker import Broker
from stomp_web.serializers import deserialize
from stomp_web.worker import Handlers, Worker
from tests.brokers.activemq import ActiveMQ
from tests.brokers.java import java
from tests.brokers.ports import free_ports, lasting_broker
from tests.brokers.running import PATIENCE
from tests.field.payload_file import write_payload

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestJsonTypes:
    @pytest.mark.parametrize(
        "content_type",
        [
            "application/vnd.shop.order+json",
            "application/vnd.shop.order+json; charset=utf-8",
            "Application/Problem+JSON",
            "application/cloudevents+json;version=1",
            "application/json; charset=utf-8",
        ],
    )
    def test_a_type_that_ends_in_json_is_json(self, content_type):
        headers = {"content-type": content_type, "destination": "/queue/a"}
        assert deserialize(b'{"id":1}', headers, accept=["json"]) == {"id": 1}

    @pytest.mark.parametrize(
        "content_type", ["application/vnd.x+xml", "application/x+jsonx", "application/+", "+json;signed=x"]
    )
    def test_another_type_is_not(self, content_type):
        with pytest.raises(SerializationError):
            deserialize(b'{"id":1}', {"content-type": content_type}, accept=["json"])

    def test_it_must_be_accepted_as_json(self):
        with pytest.raises(SerializationError, match="a json message came, but only text is accepted"):
            deserialize(b"{}", {"content-type": "application/vnd.x+json"}, accept=["text"])

    def test_what_is_registered_with_such_a_type_reads_it(self, monkeypatch):
        from stomp_web import serializers

        class Orders(serializers.JsonSerializer):
            name = "orders"
            content_type = "application/vnd.shop.order+json"

            def loads(self, body: bytes) -> Any:
                return ("order", super().loads(body))

        monkeypatch.setattr(serializers.registry, "_serializers", dict(serializers.registry._serializers))
        serializers.register(Orders())
        headers = {"content-type": "application/vnd.shop.order+json"}
        assert deserialize(b"1", headers, accept=["orders"]) == ("order", 1)


class TestUntyped:
    @pytest.mark.parametrize(
        ("untyped", "payload"), [("json", {"id": 1}), ("text", '{"id": 1}'), ("bytes", b'{"id": 1}')]
    )
    def test_the_reader_says_what_such_a_body_is(self, untyped, payload):
        assert deserialize(b'{"id": 1}', {}, untyped=untyped) == payload

    def test_without_a_word_it_is_bytes(self):
        assert deserialize(b'{"id": 1}', {}) == b'{"id": 1}'

    def test_a_type_that_is_named_counts_more(self):
        assert deserialize(b"1", {"content-type": "text/plain"}, untyped="json") == "1"

    def test_it_must_be_accepted_too(self):
        with pytest.raises(
            SerializationError, match=r"without a content type came, which counts as pickle, .* not read"
        ):
            deserialize(b"1", {}, untyped="pickle")

    def test_a_body_that_is_refused_says_how_to_read_it(self):
        with pytest.raises(SerializationError, match=r"counts as bytes, but only json is accepted.* untyped"):
            deserialize(b"1", {}, accept=["json"])

    def test_a_body_that_is_not_so_is_refused(self):
        with pytest.raises(SerializationError, match="cannot be read as json"):
            deserialize(b"\xff", {}, untyped="json")

    @pytest.mark.parametrize("untyped", ["yaml", "", None, 5])
    def test_a_name_of_no_serializer_is_refused(self, untyped):
        with pytest.raises(ConfigurationError, match="there is no serializer"):
            deserialize(b"1", {}, untyped=untyped)


class TestWorkers:
    def test_a_handler_reads_untyped_bodies_as_it_says(self, development):
        assert received(development, {}, {"untyped": "json"}) == {"id": 1}

    def test_the_worker_says_it_for_all_handlers(self, development):
        assert received(development, {"untyped": "json"}, {}) == {"id": 1}

    def test_the_handler_counts_more_than_the_worker(self, development):
        assert received(development, {"untyped": "json"}, {"untyped": "text"}) == '{"id": 1}'

    def test_handlers_in_processes_read_it_as_well(self, development, tmp_path, monkeypatch):
        worker = Worker(development.url, processes=1, untyped="json")
        worker.subscribe("/queue/in")(write_payload)
        monkeypatch.setenv("PAYLOAD_FILE", str(tmp_path / "payload"))
        with running(worker), PublishClient.from_url(development.url, timeout=PATIENCE) as client:
            client.send("/queue/in", b'{"id": 1}', confirm=True)
            assert development.wait_until((tmp_path / "payload").exists, PATIENCE)
        assert (tmp_path / "payload").read_text() == "{'id': 1}"

    def test_flask_takes_it_for_a_handler_and_for_the_worker(self):
        from flask import Flask

        from stomp_web.flask import Stomp
        from stomp_web.flask.cli import make_worker

        app = Flask("shop")
        app.config.from_mapping(STOMP_URL="stomp://mq", STOMP_WORKER={"untyped": "json"})
        stomp = Stomp()
        stomp.subscribe("/queue/a")(write_payload)
        stomp.subscribe("/queue/b", untyped="text")(write_payload)
        stomp.init_app(app)
        worker = make_worker(app.extensions["stomp"], None, processes=0)
        assert [handler.untyped or worker._untyped for handler in worker.handlers] == ["json", "text"]

    def test_a_handler_reads_a_type_that_ends_in_json(self, development):
        of_message = {"content-type": "application/vnd.shop.order+json"}
        assert received(development, {}, {"accept": ("json",)}, of_message=of_message) == {"id": 1}

    def test_django_takes_it_for_a_handler(self):
        from stomp_web.django.handlers import handlers_by_alias, subscribe

        alias = uuid.uuid4().hex
        subscribe("/queue/a", using=alias, untyped="json")(write_payload)
        (handler,) = handlers_by_alias.pop(alias)
        assert handler.untyped == "json"

    def test_a_name_of_no_serializer_is_refused(self):
        with pytest.raises(ConfigurationError, match="no serializer 'yaml'"):
            Worker(untyped="yaml")
        handlers = Handlers()
        handlers.subscribe("/queue/a", untyped="yaml")(write_payload)
        with pytest.raises(ConfigurationError, match="no serializer 'yaml'"):
            handlers.check("/queue/DLQ")


@pytest.fixture
def development() -> Iterator[Broker]:
    with lasting_broker() as broker:
        yield broker


class running:  # noqa: N801 - it reads as a statement
    """A worker that runs in a thread while the block does."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.thread = threading.Thread(target=worker.run)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def received(
    broker: Any,
    of_worker: dict[str, Any],
    of_handler: dict[str, Any],
    destination: str = "/queue/in",
    of_message: dict[str, str] | None = None,
) -> Any:
    """The payload that a handler gets of a body, untyped unless *of_message* has its type.

    It is sent here to the development broker, and by the caller to another one.
    """
    worker = Worker(broker.url, concurrency=1, **of_worker)
    payloads: list[Any] = []
    handled = threading.Event()

    @worker.subscribe(destination, **of_handler)
    def handle(message: Any) -> None:
        payloads.append(message.payload)
        handled.set()

    if isinstance(broker, Broker):
        with PublishClient.from_url(broker.url, timeout=PATIENCE) as client:
            client.send(destination, b'{"id": 1}', of_message, confirm=True)
    with running(worker):
        assert handled.wait(PATIENCE)
    return payloads[0]


class WithJms(ActiveMQ):
    """ActiveMQ with a connector for JMS clients."""

    def prepare(self) -> None:
        super().prepare()
        (self.jms_port,) = free_ports(1)
        configuration = self.directory / "activemq.xml"
        connector = f'<transportConnector name="openwire" uri="tcp://{self.host}:{self.jms_port}"/>'
        text = configuration.read_text()
        assert "</transportConnectors>" in text
        configuration.write_text(text.replace("</transportConnectors>", f"{connector}</transportConnectors>"))

    def produce(self, queue: str, text: str) -> None:
        """Send *text* as a JMS TextMessage, by the producer that ActiveMQ brings along."""
        done = subprocess.run(
            [
                *(str(java()), "-Xmx128m", f"-Dactivemq.home={self.home()}", f"-Dactivemq.base={self.directory}"),
                *("-jar", f"{self.home()}/bin/activemq.jar", "producer"),
                *("--brokerUrl", f"tcp://{self.host}:{self.jms_port}", "--user", "guest", "--password", "guest"),
                *("--destination", f"queue://{queue}", "--messageCount", "1", "--message", text),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def jms(pytestconfig: pytest.Config) -> Iterator[WithJms]:
    missing = WithJms.missing()
    if missing is not None:
        if pytestconfig.option.require_brokers:
            pytest.fail(missing)
        pytest.skip(missing)
    if pytestconfig.option.no_brokers:
        pytest.skip("it starts a broker")
    broker = WithJms()
    broker.start()
    yield broker
    broker.close()


class TestJms:
    """A TextMessage of a JMS producer comes without a content type, and without a length (ActiveMQ 5.17)."""

    def test_a_handler_reads_it_as_json(self, jms):
        queue = uuid.uuid4().hex
        jms.produce(queue, '{"id": 1}')
        assert received(jms, {}, {"untyped": "json", "accept": ("json",)}, f"/queue/{queue}") == {"id": 1}

    def test_a_client_reads_it_as_json(self, jms):
        queue = uuid.uuid4().hex
        jms.produce(queue, '{"id": 1}')
        with QueueingDuplexClient.from_url(jms.url) as client:
            client.subscribe(f"/queue/{queue}")
            frame = client.receive()
        assert "content-type" not in frame.headers
        assert deserialize(frame.body, frame.headers, untyped="json") == {"id": 1}
