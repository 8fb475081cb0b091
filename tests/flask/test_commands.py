from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flask import Flask

from stomp_web.flask import Stomp
from stomp_web.flask.cli import cli
from tests.flask.shop import create_app

if TYPE_CHECKING:
    from stomp_web.broker import Broker


def run(app: Flask, *arguments: str):
    return app.test_cli_runner().invoke(cli, arguments)


class TestSend:
    @pytest.mark.parametrize(
        ("arguments", "payload", "content_type"),
        [
            (['{"id": 7}'], {"id": 7}, "application/json"),
            (["hello"], "hello", "text/plain;charset=utf-8"),
            (["--json", '"hello"'], "hello", "application/json"),
            (["--text", "7"], "7", "text/plain;charset=utf-8"),
            (["--serializer", "pickle", '{"id": 7}'], {"id": 7}, "application/x-python-serialize"),
            (["--serializer", "bytes", "hello"], b"hello", "application/octet-stream"),
        ],
    )
    def test_sends_the_body_as_it_was_asked_to(self, arguments, payload, content_type):
        app = create_app(STOMP_URL="memory://")

        result = run(app, "send", "/queue/a", *arguments)

        (message,) = app.extensions["stomp"].outbox
        assert (message.destination, message.payload, message.content_type) == ("/queue/a", payload, content_type)
        assert (result.exit_code, result.stdout) == (0, f"{message.id}\n")

    def test_says_that_a_body_is_no_json(self):
        app = create_app(STOMP_URL="memory://")

        assert "not JSON" in run(app, "send", "/queue/a", '{"id": 7').stderr
        assert run(app, "send", "/queue/a", '{"id": 7}').stderr == ""
        assert run(app, "send", "/queue/a", '{"id": 7', "--text").stderr == ""

    def test_reaches_a_broker(self, local_broker: Broker):
        app = create_app(STOMP_URL=local_broker.url)

        assert run(app, "send", "/queue/a", '{"id": 7}').exit_code == 0
        assert local_broker.messages("/queue/a")[0].body == b'{"id":7}'
        app.extensions["stomp"].close()

    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (["/queue/a", "--json", "hello"], 1, "JSON"),
            (["", "1"], 2, "the destination is empty"),
            (["/queue/a", "1", "--serializer", "xml"], 2, "there is no serializer 'xml'"),
            (["/queue/a", "1", "--text", "--serializer", "json"], 2, "give one of"),
            (["/queue/a"], 2, "BODY"),
        ],
    )
    def test_ends_with_an_error_for_what_cannot_be_sent(self, arguments, code, says):
        app = create_app(STOMP_URL="memory://")

        result = run(app, "send", *arguments)

        assert (result.exit_code, app.extensions["stomp"].outbox) == (code, [])
        assert says in result.output

    def test_ends_with_an_error_if_no_broker_answers(self):
        result = run(create_app(STOMP_URL="stomp://user:secret@127.0.0.1:1"), "send", "/queue/a", "1")

        assert result.exit_code == 1
        assert "127.0.0.1:1" in result.output
        assert "secret" not in result.output


class TestPing:
    def test_prints_what_the_broker_says_of_itself(self, local_broker: Broker):
        app = create_app(STOMP_URL=local_broker.url)

        result = run(app, "ping")

        assert result.exit_code == 0
        assert local_broker.url in result.output
        assert "STOMP 1.2" in result.output
        app.extensions["stomp"].close()

    def test_ends_with_an_error_if_no_broker_answers(self):
        result = run(create_app(STOMP_URL="stomp://127.0.0.1:1"), "ping")

        assert result.exit_code == 1
        assert "127.0.0.1:1" in result.output

    @pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
    def test_a_time_that_cannot_be_waited_is_a_wrong_command_line(self, seconds):
        result = run(create_app(STOMP_URL="memory://"), "ping", "--timeout", seconds)

        assert result.exit_code == 2


class TestConfig:
    def test_prints_every_option_and_no_secret(self):
        app = create_app(
            STOMP_URL="stomp://user:secret-1@mq.example.com/shop?passcode=secret-2",
            STOMP_PASSCODE="secret-3",
            STOMP_SIGNING_KEYS=["secret-4"],
            STOMP_POOL_SIZE=3,
        )

        result = run(app, "config")

        assert result.exit_code == 0
        assert "secret" not in result.output
        assert {
            "url = stomp://mq.example.com:61613/shop",
            "pool_size = 3",
            "login = user (in the address)",
            "vhost = shop (in the address)",
            "passcode = ***",
            "signing_keys = ***",
        } < set(result.output.splitlines())

    def test_says_which_credentials_are_in_effect(self):
        app = create_app(STOMP_URL="stomp://user:secret-1@mq.example.com", STOMP_LOGIN="shop")

        lines = run(app, "config").output.splitlines()

        assert {"login = shop", "passcode = *** (in the address)", "vhost = "} < set(lines)


def test_an_app_without_the_extension_is_told_what_to_do():
    result = run(Flask("bare"), "ping")

    assert result.exit_code == 1
    assert "init_app(app)" in result.output


def test_a_second_extension_is_chosen_by_its_key():
    app = create_app(STOMP_URL="null://", AUDIT_STOMP_URL="memory://")
    Stomp(app, config_prefix="AUDIT_STOMP")

    assert run(app, "send", "--extension", "audit_stomp", "/topic/audit", "1").exit_code == 0
    assert len(app.extensions["audit_stomp"].outbox) == 1


def test_the_commands_are_those_of_the_app_too():
    app = Flask(__name__)
    app.config["STOMP_URL"] = "memory://"
    Stomp(app)
    result = app.test_cli_runner().invoke(args=["stomp", "ping"])
    assert result.exit_code == 0, result.output
