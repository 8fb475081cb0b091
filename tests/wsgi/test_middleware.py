from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from stomp_web import ConfigurationError, PoolClosed, Publisher
from stomp_web.wsgi import StompMiddleware, get_publisher
from tests.wsgi.browser import Browser
from tests.wsgi.helpers import in_threads

if TYPE_CHECKING:
    from stomp_web.broker import Broker


def handler(environ, start_response):
    identity = get_publisher(environ).send("/queue/orders", {"path": environ["PATH_INFO"]})
    start_response("202 Accepted", [("Content-Type", "text/plain"), ("Content-Length", str(len(identity)))])
    return [identity.encode()]


def environ_of(**more):
    environ = dict(more)
    setup_testing_defaults(environ)
    return environ


def start_response(status, headers, exc_info=None):
    return lambda data: None


class TestTheEnviron:
    def test_holds_a_publisher_for_the_handler(self):
        application = StompMiddleware(handler, url="memory://")

        answer = Browser(application, lint=True).post("/orders")

        (message,) = application.publisher.outbox
        assert (message.destination, message.payload) == ("/queue/orders", {"path": "/orders"})
        assert answer.text == message.id

    def test_keeps_to_the_wsgi_specification_on_both_sides(self):
        application = StompMiddleware(validator(handler), url="memory://")

        assert Browser(validator(application), lint=True).post("/orders").status_code == 202

    def test_holds_the_publisher_under_the_key_that_was_chosen(self):
        environ = environ_of()
        application = StompMiddleware(lambda environ, start_response: [], url="memory://", environ_key="shop.broker")
        application(environ, start_response)

        assert get_publisher(environ, "shop.broker") is environ["shop.broker"] is application.publisher
        assert "stomp_web.publisher" not in environ

    def test_without_a_middleware_tells_what_to_do(self):
        with pytest.raises(ConfigurationError, match=r"StompMiddleware\(application, url='stomp://\.\.\.'\)"):
            get_publisher(environ_of())
        with pytest.raises(ConfigurationError, match=r"environ_key='shop\.broker'"):
            get_publisher(environ_of(), key="shop.broker")

    def test_never_loses_an_outer_publisher_to_an_inner_one(self):
        application = StompMiddleware(StompMiddleware(handler, url="memory://"), url="null://")

        with pytest.raises(ConfigurationError, match="another environ_key"):
            application(environ_of(), start_response)

    def test_may_hold_two_publishers_under_two_keys(self):
        def both(environ, start_response):
            get_publisher(environ, "shop.audit").send("/topic/audit", 1)
            return handler(environ, start_response)

        inner = StompMiddleware(both, url="memory://")
        outer = StompMiddleware(inner, url="memory://", environ_key="shop.audit")
        Browser(outer).post("/")

        assert [message.destination for message in outer.publisher.outbox] == ["/topic/audit"]
        assert [message.destination for message in inner.publisher.outbox] == ["/queue/orders"]

    def test_may_get_the_same_publisher_twice(self):
        publisher = Publisher("memory://")
        Browser(StompMiddleware(StompMiddleware(handler, publisher), publisher)).post("/")

        assert len(publisher.outbox) == 1


class TestTheApplication:
    def test_gets_the_servers_start_response_and_its_iterable_is_returned_as_it_is(self):
        iterable = [b"1", b"2"]
        seen = []

        def application(environ, start_response):
            seen.append(start_response)
            return iterable

        assert StompMiddleware(application, url="memory://")(environ_of(), start_response) is iterable
        assert seen == [start_response]

    def test_can_be_reached_through_the_middleware(self):
        assert StompMiddleware(handler, url="memory://").app is handler


class TestBadConfiguration:
    def test_an_unknown_option_is_refused_with_the_nearest_name(self):
        with pytest.raises(ConfigurationError, match="pool_sise; did you mean pool_size") as caught:
            StompMiddleware(handler, pool_sise=3)
        assert caught.value.option == "pool_sise"

    def test_a_publisher_and_options_exclude_each_other(self):
        with pytest.raises(ConfigurationError, match="not both: timeout, url"):
            StompMiddleware(handler, Publisher("memory://"), url="memory://", timeout=3)

    def test_an_address_in_the_place_of_the_publisher_is_refused(self):
        with pytest.raises(ConfigurationError, match="url="):
            StompMiddleware(handler, "stomp://user:secret@localhost")

    @pytest.mark.parametrize("key", ["stomp", "Stomp.publisher", "", "stomp web.publisher", None])
    def test_a_key_that_pep_3333_forbids_is_refused(self, key):
        with pytest.raises(ConfigurationError, match="environ_key"):
            StompMiddleware(handler, url="memory://", environ_key=key)


class TestABroker:
    def test_gets_json_and_pickle_confirmed(self, local_broker: Broker):
        def application(environ, start_response):
            publisher = environ["stomp_web.publisher"]
            publisher.send("/queue/json", {"id": 7})
            publisher.send("/queue/pickle", {"id": 7}, serializer="pickle")
            return handler(environ, start_response)

        application = StompMiddleware(application, url=local_broker.url)
        Browser(application).post("/")

        assert json.loads(local_broker.messages("/queue/json")[0].body) == {"id": 7}
        assert pickle.loads(local_broker.messages("/queue/pickle")[0].body) == {"id": 7}
        assert application.publisher.stats().confirmed == 3
        application.close()

    def test_sees_one_connection_for_many_requests(self, local_broker: Broker):
        application = StompMiddleware(handler, url=local_broker.url)
        browser = Browser(application)
        for _ in range(5):
            browser.post("/")

        assert (local_broker.connections_accepted, local_broker.sessions) == (1, 1)
        application.close()

    def test_sees_no_more_connections_than_the_pool_has_whatever_the_threads(self, local_broker: Broker):
        application = StompMiddleware(handler, url=local_broker.url, pool_size=3)

        def request(number):
            return [b"".join(application(environ_of(PATH_INFO=f"/{number}"), start_response)) for _ in range(5)]

        identities = [identity for each in in_threads(8, request) for identity in each]

        assert len(set(identities)) == len(local_broker.messages("/queue/orders")) == 40
        assert local_broker.connections_accepted <= 3
        application.close()

    def test_is_not_contacted_before_the_first_message(self, local_broker: Broker):
        StompMiddleware(handler, url=local_broker.url).close()

        assert local_broker.connections_accepted == 0


class TestClosing:
    def test_closes_the_publisher_that_the_middleware_made(self, local_broker: Broker):
        application = StompMiddleware(handler, url=local_broker.url)
        application.publisher.send("/queue/orders", 1)

        application.close()

        assert local_broker.wait_until(lambda: local_broker.sessions == 0)
        with pytest.raises(PoolClosed):
            application.publisher.send("/queue/orders", 2)

    def test_leaves_a_publisher_alone_that_it_was_given(self, local_broker: Broker):
        with Publisher(local_broker.url) as publisher:
            StompMiddleware(handler, publisher).close()
            publisher.send("/queue/orders", 1)

        assert len(local_broker.messages("/queue/orders")) == 1
