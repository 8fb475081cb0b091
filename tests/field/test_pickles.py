"""Objects with connections, in places where Python pickles and copies: task queues, processes, dataclasses, caches."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle

import pytest
from flask import Flask

from stomp_web import (
    PoolClosed,
    PublishClient,
    PublishClientPool,
    Publisher,
    PublishSubscribeClient,
    QueueingDuplexClient,
)
from stomp_web.broker import Broker
from stomp_web.flask import Stomp
from stomp_web.worker import Worker
from stomp_web.wsgi import StompMiddleware

URL = "stomp://shop:s3cret@mq"


def flask_state():
    app = Flask("shop")
    app.config["STOMP_URL"] = URL
    Stomp(app)
    return app.extensions["stomp"]


def transaction():
    return PublishClient.from_url(URL).transaction()


KINDS = {
    "Publisher": lambda: Publisher(URL),
    "memory": lambda: Publisher("memory://"),
    "console": lambda: Publisher("console://"),
    "null": lambda: Publisher("null://"),
    "bound method": lambda: Publisher(URL).send,
    "batch": lambda: Publisher(URL).batch(),
    "PublishClientPool": lambda: PublishClientPool(URL),
    "PublishClient": lambda: PublishClient.from_url(URL),
    "QueueingDuplexClient": lambda: QueueingDuplexClient.from_url(URL),
    "PublishSubscribeClient": lambda: PublishSubscribeClient.from_url(URL),
    "transaction": transaction,
    "Worker": lambda: Worker(URL),
    "Flask's state": flask_state,
    "middleware": lambda: StompMiddleware(None, url=URL),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_is_refused_and_the_error_says_what_to_do(kind, protocol):
    with pytest.raises(TypeError, match=r"cannot be pickled: .* passcode; \w+.* there|module that makes it") as refusal:
        pickle.dumps(KINDS[kind](), protocol)
    assert "s3cret" not in str(refusal.value)
    assert "lock" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["batch", "PublishClient", "QueueingDuplexClient", "PublishSubscribeClient", "Worker"])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_what_belongs_to_one_owner_is_not_copied_either(kind, duplicate):
    with pytest.raises(TypeError, match="cannot be pickled"):
        duplicate(KINDS[kind]())


def test_a_process_that_is_handed_a_publisher_says_what_to_do():
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=print, args=(Publisher(URL),))
    with pytest.raises(TypeError, match="hand over its address"):
        process.start()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
class TestCopies:
    def test_a_copy_of_a_publisher_has_connections_of_its_own(self, duplicate):
        events = []
        with Broker() as broker, Publisher(broker.url, pool_size=3, observers=[events.append], timeout=20) as publisher:
            publisher.send("/queue/a", 1)
            with duplicate(publisher) as again:
                again.send("/queue/a", 2)
                assert again.options == publisher.options
                assert again.stats().sent == 1
                assert broker.sessions == 2
            publisher.send("/queue/a", 3)
            assert len(broker.messages("/queue/a")) == 3
        assert len([event for event in events if type(event).__name__ == "SendSucceeded"]) == 3

    def test_a_copy_of_a_publisher_for_tests_has_an_outbox_of_its_own(self, duplicate):
        publisher = Publisher("memory://", headers={"app": "shop"})
        publisher.send("/queue/a", 1)

        again = duplicate(publisher)
        again.send("/queue/a", 2)

        assert [message.payload for message in publisher.outbox] == [1]
        assert [(message.payload, message.headers["app"]) for message in again.outbox] == [(2, "shop")]

    def test_a_copy_of_a_pool_has_connections_of_its_own(self, duplicate):
        with Broker() as broker, PublishClientPool(broker.url, max_size=2, timeout=20) as pool:
            again = duplicate(pool)
            with pool.client(), again.client() as client:
                client.send("/queue/a", b"1", confirm=True)
                assert (pool.stats().opened, again.stats().opened) == (1, 1)
            again.close()
            with pytest.raises(PoolClosed), again.client():
                pass
            with pool.client() as client:
                client.send("/queue/a", b"2", confirm=True)

    def test_a_copy_of_a_closed_one_is_open(self, duplicate):
        with Broker() as broker:
            publisher = Publisher(broker.url, timeout=20)
            publisher.close()
            with duplicate(publisher) as again:
                again.send("/queue/a", 1)
            assert len(broker.messages("/queue/a")) == 1

    def test_settings_that_hold_a_publisher_can_be_copied(self, duplicate):
        settings = duplicate({"publisher": Publisher("memory://")})
        assert settings["publisher"].url == "memory://"


def test_a_dataclass_that_holds_a_publisher_becomes_a_dict():
    @dataclasses.dataclass
    class Settings:
        publisher: Publisher

    assert dataclasses.asdict(Settings(Publisher("memory://")))["publisher"].url == "memory://"


def test_the_options_are_a_value_and_can_be_pickled():
    options = Publisher(URL, tls_insecure_skip_verify=False).options
    assert pickle.loads(pickle.dumps(options)) == options
