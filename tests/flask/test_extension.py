from __future__ import annotations

import inspect
import json
import pickle
from typing import TYPE_CHECKING

import pytest
from flask import Flask

from stomp_web import BrokerUnavailable, ConfigurationError, PoolClosed, Publisher
from stomp_web.flask import Stomp, StompState
from tests.flask.shop import create_app, stomp
from tests.wsgi.helpers import in_threads, run_python

if TYPE_CHECKING:
    from stomp_web.broker import Broker


class TestSending:
    def test_a_handler_sends_json_and_pickle_confirmed_by_the_broker(self, local_broker: Broker):
        app = create_app(STOMP_URL=local_broker.url)

        answer = app.test_client().post("/orders", data="tea")

        (frame,) = local_broker.messages("/queue/json")
        assert (answer.status_code, answer.text) == (202, frame.headers["x-message-id"])
        assert json.loads(frame.body) == {"text": "tea"}
        assert pickle.loads(local_broker.messages("/queue/pickle")[0].body) == {"from": "shop"}
        assert app.extensions["stomp"].stats().confirmed == 2
        app.extensions["stomp"].close()

    def test_the_state_offers_what_a_publisher_offers(self):
        state = create_app(STOMP_URL="memory://").extensions["stomp"]

        with state.batch() as batch:
            batch.send("/queue/a", 1)
        state.send_many([("/queue/a", 2), ("/queue/a", 3)])

        assert [message.payload for message in state.outbox] == [1, 2, 3]
        assert state.check()
        assert state.stats().sent == 3
        assert state.publisher.url == "memory://"

    @pytest.mark.parametrize("name", ["asend", "send_many", "batch", "check", "stats", "close"])
    @pytest.mark.parametrize("kind", [Stomp, StompState])
    def test_its_methods_have_the_signatures_and_docstrings_of_a_publishers(self, kind: type, name: str):
        method, own = getattr(kind, name), getattr(Publisher, name)

        assert inspect.isfunction(method)
        assert (method.__name__, method.__doc__) == (name, own.__doc__)
        assert inspect.signature(method) == inspect.signature(own)
        assert inspect.signature(getattr(stomp, name)) == inspect.signature(getattr(Publisher("null://"), name))

    @pytest.mark.parametrize("kind", [Stomp, StompState])
    def test_send_takes_what_that_of_a_publisher_takes_and_a_session(self, kind: type):
        of_publisher = inspect.signature(Publisher.send).parameters
        own = inspect.signature(kind.send).parameters  # type: ignore[attr-defined]

        assert own.keys() - of_publisher.keys() == {"outbox", "key"}
        assert {name: own[name] for name in of_publisher} == dict(of_publisher)

    def test_the_state_works_outside_a_context_and_in_threads(self):
        state = create_app(STOMP_URL="memory://").extensions["stomp"]

        in_threads(4, lambda number: state.send("/queue/a", number))

        assert sorted(message.payload for message in state.outbox) == [0, 1, 2, 3]

    def test_the_extension_means_the_current_app(self):
        one, other = create_app("one", STOMP_URL="memory://"), create_app("other", STOMP_URL="memory://")

        with one.app_context():
            stomp.send("/queue/a", 1)
            with other.app_context():
                stomp.send("/queue/a", 2)
                one.extensions["stomp"].send("/queue/a", 3)

        assert [message.payload for message in one.extensions["stomp"].outbox] == [1, 3]
        assert [message.payload for message in other.extensions["stomp"].outbox] == [2]

    def test_a_method_that_was_taken_outside_a_context_works_inside_one(self):
        send = stomp.send
        app = create_app(STOMP_URL="memory://")

        with app.app_context():
            send("/queue/a", 1)

        assert app.extensions["stomp"].outbox[0].payload == 1

    def test_eight_threads_of_requests_share_one_pool(self, local_broker: Broker):
        app = create_app(STOMP_URL=local_broker.url, STOMP_POOL_SIZE=3)

        def requests(number):
            browser = app.test_client()
            return [browser.post("/orders", data=f"{number}-{each}").status_code for each in range(5)]

        assert in_threads(8, requests) == [[202] * 5] * 8
        assert len({frame.headers["x-message-id"] for frame in local_broker.messages("/queue/json")}) == 40
        assert local_broker.connections_accepted <= 3
        app.extensions["stomp"].close()

    def test_the_connection_outlives_the_request(self, local_broker: Broker):
        app = create_app(STOMP_URL=local_broker.url)
        for _ in range(3):
            app.test_client().post("/orders")

        assert (local_broker.connections_accepted, local_broker.sessions) == (1, 1)
        app.extensions["stomp"].close()

    def test_after_close_the_app_sends_nothing_and_says_so(self, local_broker: Broker):
        app = create_app(STOMP_URL=local_broker.url)
        with app.app_context():
            stomp.close()
            with pytest.raises(PoolClosed):
                stomp.send("/queue/a", 1)

    def test_a_broker_that_is_not_there_is_named(self):
        app = create_app(STOMP_URL="stomp://user:secret@127.0.0.1:1")
        with app.app_context(), pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1") as caught:
            stomp.send("/queue/a", 1)
        assert "secret" not in str(caught.value)


class TestTheRightPlace:
    def test_outside_a_context_the_extension_says_what_to_use(self):
        with pytest.raises(RuntimeError, match=r"app\.extensions\['stomp'\]"):
            stomp.send("/queue/a", 1)

    def test_without_init_app_the_extension_says_so(self):
        with Flask("bare").app_context(), pytest.raises(RuntimeError, match=r"'bare' has no Stomp .* init_app\(app\)"):
            stomp.send("/queue/a", 1)

    def test_a_second_init_app_on_the_same_app_is_refused(self):
        app = create_app(STOMP_URL="memory://")
        with pytest.raises(RuntimeError, match=r"once for each app, or, for a second broker, .* config_prefix"):
            Stomp(app)

    def test_the_extension_keeps_no_app(self):
        extension = Stomp()
        app = Flask("shop")
        extension.init_app(app)

        assert not any(value is app for value in vars(extension).values())

    def test_a_second_extension_on_the_same_app_has_its_own_broker(self):
        app = Flask("shop")
        app.config.update(STOMP_URL="memory://", AUDIT_STOMP_URL="null://", AUDIT_STOMP_TIMEOUT=2)
        Stomp(app)
        audit = Stomp(app, config_prefix="AUDIT_STOMP")

        assert app.extensions["stomp"].publisher.url == "memory://"
        with app.app_context():
            assert audit.publisher is app.extensions["audit_stomp"].publisher
            assert audit.publisher.options.timeout == 2.0

    def test_the_state_knows_its_app(self):
        app = create_app(STOMP_URL="memory://")
        state = app.extensions["stomp"]

        assert isinstance(state, StompState)
        assert state.app is app
        assert repr(state) == "<StompState of 'shop': memory://>"


class TestConfiguration:
    def test_every_option_is_read_by_its_name_in_upper_case(self):
        app = create_app(
            STOMP_URL="memory://", STOMP_POOL_SIZE=3, STOMP_TIMEOUT=2.5, STOMP_CONFIRM=False, STOMP_HEADERS={"a": "b"}
        )
        options = app.extensions["stomp"].publisher.options

        assert (options.pool_size, options.timeout, options.confirm) == (3, 2.5, False)
        assert options.headers == {"a": "b"}

    def test_environment_variables_work_as_flask_reads_them(self, monkeypatch: pytest.MonkeyPatch):
        for name, value in {
            "STOMP_URL": "stomp://mq.example.com",
            "STOMP_POOL_SIZE": "3",
            "STOMP_TIMEOUT": "2.5",
            "STOMP_CONFIRM": "false",
            "STOMP_PERSISTENT": "no",
            "STOMP_HEART_BEAT": "0,10000",
            "STOMP_HEADERS": '{"a": "b"}',
            "STOMP_SIGNING_KEYS": '["new", "old"]',
            "STOMP_PASSCODE": '"1234"',
        }.items():
            monkeypatch.setenv(f"FLASK_{name}", value)
        app = Flask("shop")
        app.config.from_prefixed_env()
        Stomp(app)
        options = app.extensions["stomp"].publisher.options

        assert (options.pool_size, options.timeout, options.confirm, options.persistent) == (3, 2.5, False, False)
        assert (options.heart_beat, options.headers) == ((0, 10_000), {"a": "b"})
        assert (options.signing_keys, options.passcode) == (("new", "old"), "1234")

    def test_a_passcode_that_flask_took_for_a_number_is_refused_without_showing_it(self):
        with pytest.raises(ConfigurationError, match=r"STOMP_PASSCODE must be a text, .* in quotes") as caught:
            create_app(STOMP_PASSCODE=1234)
        assert "1234" not in str(caught.value)

    def test_an_unknown_key_is_refused_with_the_nearest_name(self):
        with pytest.raises(ConfigurationError, match="STOMP_POOLSIZE; did you mean STOMP_POOL_SIZE") as caught:
            create_app(STOMP_POOLSIZE=3)
        assert caught.value.option == "STOMP_POOLSIZE"

    @pytest.mark.parametrize(
        ("key", "value"), [("STOMP_TIMEOUT", 0), ("STOMP_POOL_SIZE", "many"), ("STOMP_CONFIRM", "perhaps")]
    )
    def test_a_bad_value_is_refused_with_the_name_of_the_key(self, key, value):
        with pytest.raises(ConfigurationError, match=key):
            create_app(**{key: value})

    def test_a_bad_address_is_refused_without_its_credentials(self):
        with pytest.raises(ConfigurationError, match="must begin with") as caught:
            create_app(STOMP_URL="http://user:secret@localhost")
        assert "secret" not in str(caught.value)

    def test_after_init_app_the_configuration_is_not_read_again(self):
        app = create_app(STOMP_URL="memory://")
        app.config["STOMP_URL"] = "stomp://elsewhere"

        app.extensions["stomp"].send("/queue/a", 1)

        assert len(app.extensions["stomp"].outbox) == 1

    def test_keys_of_others_are_left_alone(self):
        assert create_app(STOMP_URL="memory://", STOMPING_GROUND=1, URL="x").extensions["stomp"]


def test_stomp_web_itself_imports_no_flask():
    program = "import sys, stomp_web, stomp_web.testing, stomp_web.wsgi; sys.exit('flask' in sys.modules)"
    assert run_python("-c", program).returncode == 0
