"""Addresses as people write them: lists of complete addresses, and what must be refused without showing a passcode."""

from __future__ import annotations

import pytest
from flask import Flask

from stomp_web import ConfigurationError, PublishClient, PublishClientPool, Publisher, QueueingDuplexClient
from stomp_web.broker import Broker
from stomp_web.cli import main
from stomp_web.client import parse_address
from stomp_web.flask import Stomp
from stomp_web.worker import Worker
from tests.brokers.ports import lasting_broker

PASSCODE = "s3cret"
LISTS = [
    "stomp://shop:s3cret@mq1:61613,stomp://shop:s3cret@mq2:61613",
    "stomp+ssl://shop:s3cret@mq1,stomp+ssl://shop:s3cret@mq2:61614",
    "stomp://shop:s3cret@mq1/v,stomp://shop:s3cret@mq2/v",
    "stomp://shop:s3cret@mq1?timeout=3,stomp://shop:s3cret@mq2?timeout=3",
    " stomp://mq1:61613 , STOMP://mq2:61613 ",
    "stomp://shop:%73%33cret@mq1, stomp://shop:s3cret@mq2",
]
REFUSED = [
    # Divided by something else.
    "stomp://shop:s3cret@mq1;stomp://shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1 ; stomp://shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1?timeout=3;stomp://shop:s3cret@mq2?timeout=3",
    "stomp://shop:s3cret@mq1 stomp://shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1\nstomp://shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1|stomp://shop:s3cret@mq2",
    "stomp://mq1?timeout=3 stomp://shop:s3cret@mq2",
    "stomp://mq1?timeout=3&stomp://shop:s3cret@mq2=1",
    "stomp://shop:s3cret@mq1;mq2",
    "stomp://shop:s3cret@mq1 mq2",
    # The second host has credentials, but no scheme.
    "stomp://shop:s3cret@mq1,shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1/v,shop:s3cret@mq2/v",
    "stomp://mq1/v,shop:s3cret@mq2",
    "stomp://mq1?timeout=3,shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1?vhost=v,shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1?login=shop;shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1?timeout=3&shop:s3cret@mq2=1",
    # Members that differ.
    "stomp://shop:s3cret@mq1,stomp://mq2",
    "stomp://shop:s3cret@mq1,stomp://other:s3cret@mq2",
    "stomp://shop:s3cret@mq1,stomp://shop:s3cret2@mq2",
    "stomp://shop:s3cret@mq1,stomp+ssl://shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1/a,stomp://shop:s3cret@mq2/b",
    "stomp://shop:s3cret@mq1,stomp://shop:s3cret@mq2?timeout=3",
    "stomp://shop:s3cret@mq1?passcode=s3cret,stomp://shop:s3cret@mq2?passcode=s3cret2",
    # What is no address, or stands alone.
    "stomp://shop:s3cret@mq1,amqp://shop:s3cret@mq2",
    "memory://,stomp://shop:s3cret@mq2",
    "stomp://shop:s3cret@mq1,stomp://",
    "stomp://shop:s3cret@mq1,,stomp://shop:s3cret@mq2",
]
USES = {
    "parse_address": parse_address,
    "Publisher": Publisher,
    "PublishClientPool": PublishClientPool,
    "PublishClient": PublishClient.from_url,
    "QueueingDuplexClient": QueueingDuplexClient.from_url,
    "Worker": Worker,
}


@pytest.mark.parametrize("url", LISTS)
def test_a_list_of_complete_addresses_is_one_address_with_several_hosts(url):
    address = parse_address(url)

    assert [endpoint.host for endpoint in address.endpoints] == ["mq1", "mq2"]
    assert address.passcode in (None, PASSCODE)
    assert address.vhost in (None, "v")
    assert address.options in ({}, {"timeout": "3"})


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("url", LISTS)
def test_a_list_is_understood_everywhere_and_the_passcode_is_shown_nowhere(url, use):
    made = USES[use](url)

    assert "mq1" in str(made) + repr(made)
    assert PASSCODE not in str(made) + repr(made)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("url", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_and_the_passcode_is_not_shown(url, use):
    with pytest.raises(ConfigurationError) as refusal:
        USES[use](url)

    assert PASSCODE not in f"{refusal.value} {refusal.value!r} {refusal.value.option}"
    assert "shop" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "difference"),
    [
        ("stomp://a:x@mq1,stomp://b:x@mq2", "differ in: user. "),
        ("stomp://a:x@mq1,stomp://a:y@mq2", "differ in: passcode. "),
        ("stomp://a:x@mq1,stomp://mq2", "differ in: user, passcode. "),
        ("stomp://mq1/a,stomp://mq2/b", "differ in: virtual host. "),
        ("stomp://mq1,stomp+ssl://mq2", "differ in: scheme. "),
        ("stomp://mq1?timeout=3,stomp://mq2?timeout=4&confirm=no", "differ in: option confirm, option timeout. "),
    ],
)
def test_the_error_names_what_differs(url, difference):
    with pytest.raises(ConfigurationError) as refusal:
        parse_address(url)

    assert difference in str(refusal.value)
    assert refusal.value.option == "url"


@pytest.mark.parametrize("use", USES)
def test_the_url_of_an_address_says_the_same_again(use):
    url = "stomp://us%40er:p%2Fa%3A%2C%40@mq1:1,[::1]:2/a%2Fb?timeout=3"

    address = parse_address(url)

    again = parse_address(address.url)
    assert (again.login, again.passcode, again.vhost) == ("us@er", "p/a:,@", "a/b")
    assert again.endpoints == address.endpoints
    assert again.options == {}
    assert "p/a" not in repr(address.url)
    USES[use](address.url)


def test_an_address_in_the_address_of_another_option_is_a_value():
    address = parse_address(
        "stomp://mq1?headers=link=https%3A%2F%2Fshop.example,stomp://mq2?headers=link=https://shop.example"
    )

    assert [endpoint.host for endpoint in address.endpoints] == ["mq1", "mq2"]


def test_a_message_arrives_by_the_second_address_when_nobody_is_at_the_first():
    with Broker() as broker, lasting_broker() as gone:
        gone_url = gone.url
        gone.stop()
        with Publisher(f"{gone_url}?timeout=20,{broker.url}?timeout=20") as publisher:
            publisher.send("/queue/orders", {"id": 7})
        assert len(broker.messages("/queue/orders")) == 1


def test_the_command_listen_reaches_the_second_address():
    with Broker() as broker, lasting_broker() as gone, Publisher(broker.url) as publisher:
        gone_url = gone.url
        gone.stop()
        publisher.send("/queue/orders", {"id": 7})
        url = f"{gone_url}?timeout=20,{broker.url}?timeout=20"
        assert main(["listen", "/queue/orders", "--url", url, "--count", "1", "--timeout", "20"]) == 0


def test_flask_takes_a_list_from_its_environment(monkeypatch):
    monkeypatch.setenv("FLASK_STOMP_URL", LISTS[0])
    app = Flask("shop")
    app.config.from_prefixed_env()
    Stomp(app)

    shown = app.test_cli_runner().invoke(args=["stomp", "config"]).output

    assert "url = stomp://mq1:61613,mq2:61613" in shown
    assert PASSCODE not in shown


@pytest.mark.parametrize("url", REFUSED)
def test_a_command_that_is_given_such_an_address_does_not_show_it(url, capsys, monkeypatch):
    monkeypatch.setenv("STOMP_URL", url)
    for command in (["send", "/queue/a", "1"], ["listen", "/queue/a", "--timeout", "1"]):
        assert main(command) != 0
        assert PASSCODE not in "".join(capsys.readouterr())


def test_a_worker_reaches_the_second_address():
    with Broker() as broker, lasting_broker() as gone, Publisher(broker.url) as publisher:
        gone_url = gone.url
        gone.stop()
        worker = Worker(f"{gone_url}?pool_size=2,{broker.url}?pool_size=2", concurrency=1)
        payloads = []

        @worker.subscribe("/queue/orders")
        def handle(message):
            payloads.append(message.payload)
            worker.stop()

        publisher.send("/queue/orders", {"id": 7})
        assert worker.run() == 0
        assert payloads == [{"id": 7}]


@pytest.mark.parametrize("several", [["stomp://shop:s3cret@mq1"], ("stomp://mq1", "stomp://shop:s3cret@mq2")])
def test_a_python_list_of_addresses_is_refused_with_the_way_to_write_it(several):
    with pytest.raises(ConfigurationError, match="not a list; write several brokers in it") as refusal:
        Publisher(several)
    assert "s3cret" not in str(refusal.value)
