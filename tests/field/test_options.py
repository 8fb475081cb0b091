"""Options that were accepted, and then failed with the first message; and errors that said too much or too little."""

from __future__ import annotations

import contextlib
import importlib
import math
import subprocess
import sys
import uuid

import pytest

import stomp_web
import tests.conftest
from stomp_web import (
    BrokerUnavailable,
    ConfigurationError,
    Frame,
    InvalidFrame,
    Message,
    NotSent,
    PublishClient,
    PublishClientPool,
    Publisher,
    QueueingDuplexClient,
    Rejected,
)
from stomp_web.broker import Broker
from stomp_web.cli.display import in_words
from stomp_web.client.message import LONGEST_TTL
from stomp_web.config import LIMIT_OPTIONS, OPTIONS, coerce
from stomp_web.connection.dialect import DIALECTS
from stomp_web.connection.session import error_words
from stomp_web.worker import Worker
from tests.brokers.fleet import REAL
from tests.brokers.ports import free_ports
from tests.error_texts import faults_in

# The real ones: that of this folder is the development broker.
broker = tests.conftest.broker

NO_DURATIONS = {
    "nan": float("nan"),
    "inf": float("inf"),
    "1e306": 1e306,
    "-1e306": -1e306,
    "10**400": 10**400,
    "10**5000": 10**5000,  # Python does not print it
    "true": True,
    "false": False,
    "zero": 0,
    "text": "soon",
}
# `math.inf` is no duration, but what is finite and too long to wait for is cut by the deadline.
NO_SECONDS = {name: value for name, value in NO_DURATIONS.items() if name != "1e306"}
NO_COUNTS = {**NO_DURATIONS, "1.5": 1.5, "2**31": 2**31, "zero": -1}  # 0 is a good count of some


@pytest.fixture(scope="module")
def memory():
    with Publisher("memory://") as publisher:
        yield publisher


class TestNumbers:
    @pytest.mark.parametrize("value", NO_DURATIONS.values(), ids=NO_DURATIONS)
    def test_a_ttl_that_no_broker_can_be_told_is_refused(self, memory, value):
        for send in (
            lambda: memory.send("/queue/a", 1, ttl=value),
            lambda: memory.send_many([Message("/queue/a", b"", ttl=value)]),
            lambda: memory.prepare("/queue/a", 1, ttl=value),
        ):
            with pytest.raises(InvalidFrame, match="ttl must be a number of seconds"):
                send()

    @pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
    def test_the_longest_ttl_can_be_written_for_every_broker(self, dialect):
        assert int(dialect.expiry_of(LONGEST_TTL)) < 2**63

    @pytest.mark.parametrize("name", ["timeout", "connect_timeout", "max_idle", "max_lifetime"])
    @pytest.mark.parametrize("value", NO_SECONDS.values(), ids=NO_SECONDS)
    def test_an_option_in_seconds_takes_nothing_else(self, name, value):
        with pytest.raises(ConfigurationError, match=f"{name} must be a number of seconds") as refusal:
            coerce(name, value)
        assert len(str(refusal.value)) < 400

    @pytest.mark.parametrize("name", ["pool_size", "max_waiting"])
    @pytest.mark.parametrize("value", NO_COUNTS.values(), ids=NO_COUNTS)
    def test_an_option_that_counts_takes_nothing_else(self, name, value):
        with pytest.raises(ConfigurationError, match=f"{name} must be a whole number") as refusal:
            coerce(name, value)
        assert len(str(refusal.value)) < 400

    @pytest.mark.parametrize("value", NO_COUNTS.values(), ids=NO_COUNTS)
    def test_heart_beats_take_nothing_else(self, value):
        with pytest.raises(ConfigurationError, match="two whole numbers of milliseconds"):
            coerce("heart_beat", (0, value))

    @pytest.mark.parametrize("value", NO_COUNTS.values(), ids=NO_COUNTS)
    def test_a_priority_takes_nothing_else(self, memory, value):
        with pytest.raises(InvalidFrame, match="priority must be a whole number from 0 to 9"):
            memory.send("/queue/a", 1, priority=value)

    @pytest.mark.parametrize("name", ["grace", "retry_delay"])
    @pytest.mark.parametrize("value", NO_SECONDS.values(), ids=NO_SECONDS)
    def test_a_setting_of_the_worker_in_seconds_takes_nothing_else(self, name, value):
        with pytest.raises(ConfigurationError, match=f"{name} must be a number of seconds"):
            Worker(**{name: value})

    @pytest.mark.parametrize("name", ["concurrency", "processes", "prefetch", "max_redeliveries", "deduplicate"])
    @pytest.mark.parametrize("value", NO_COUNTS.values(), ids=NO_COUNTS)
    def test_a_setting_of_the_worker_that_counts_takes_nothing_else(self, name, value):
        with pytest.raises(ConfigurationError, match=f"{name} must be a whole number"):
            Worker(**{name: value})

    @pytest.mark.parametrize("value", NO_DURATIONS.values(), ids=NO_DURATIONS)
    def test_the_timeout_of_a_call_takes_nothing_else(self, memory, value):
        if isinstance(value, int | float) and 10**300 < value < math.inf:  # it is eleven days
            assert memory.send("/queue/a", 1, timeout=value)
            return
        with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
            memory.send("/queue/a", 1, timeout=value)


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "problem"),
        [
            ({"receipt": "1"}, "'receipt' .* is set by the library"),
            ({"destination": "/queue/b"}, "'destination' .* is set by the library"),
            ({"content-length": "1"}, "'content-length' .* is set by the library"),
            ({"transaction": "t"}, "'transaction' .* is set by the library"),
            ({"x-message-id": "1"}, "all messages would have the same id"),
            ({"reply-to": "/temp-queue/answers"}, "the answer would be lost"),
            ({"": "1"}, "name is empty"),
            ({"x": "a\0b"}, "NUL"),
            ({"x": "\ud800"}, "UTF-8|surrogate"),
        ],
    )
    def test_a_header_that_no_message_can_have_is_refused_with_the_option(self, headers, problem):
        with pytest.raises(ConfigurationError, match=f"headers .*{problem}") as refusal:
            Publisher("memory://", headers=headers)
        assert refusal.value.option == "headers"

    @pytest.mark.parametrize("write", ["address", "flask", "wsgi", "paste", "django"])
    def test_it_is_refused_in_every_configuration(self, write):
        with pytest.raises(ConfigurationError, match="receipt"):
            self.configure(write)

    @staticmethod
    def configure(write):
        if write == "address":
            Publisher("stomp://mq?headers=receipt=1")
        elif write == "flask":
            from flask import Flask

            from stomp_web.flask import Stomp

            app = Flask("shop")
            app.config["STOMP_HEADERS"] = {"receipt": "1"}
            Stomp(app)
        elif write == "wsgi":
            from stomp_web.wsgi import StompMiddleware

            StompMiddleware(lambda environ, start: [], headers={"receipt": "1"})
        elif write == "paste":
            from stomp_web.wsgi import filter_app_factory

            filter_app_factory(lambda environ, start: [], None, headers="receipt=1")
        else:
            from stomp_web.config import read_options

            read_options({"headers": {"receipt": "1"}})


class TestSerializer:
    def test_a_serializer_that_signs_needs_its_keys_at_once(self):
        with pytest.raises(ConfigurationError, match="set signing_keys"):
            Publisher("memory://", serializer="signed-json")

    def test_a_serializer_that_signs_has_its_own_content_type(self):
        with pytest.raises(ConfigurationError, match="headers must not contain content-type"):
            Publisher("memory://", serializer="signed-json", signing_keys=["k"], headers={"content-type": "text/x"})

    def test_a_worker_that_reads_signed_messages_needs_its_keys_before_it_takes_one(self):
        worker = Worker("stomp://mq.invalid")
        worker.subscribe("/queue/a", accept=("json", "signed-json"))(print)
        with pytest.raises(ConfigurationError, match="set signing_keys"):
            worker.run()


class TestPoolSize:
    def test_a_publisher_knows_the_name_that_a_pool_has_for_it(self):
        with Publisher("stomp://mq", max_size=3) as publisher:
            assert publisher.options.pool_size == 3
            assert publisher.stats().pool.max_size == 3

    def test_a_pool_knows_the_name_that_a_publisher_has_for_it(self):
        assert PublishClientPool("stomp://mq", pool_size=3).max_size == 3

    @pytest.mark.parametrize("name", ["max_size", "pool_size"])
    @pytest.mark.parametrize("kind", [Publisher, PublishClientPool])
    def test_both_names_may_stand_in_an_address(self, name, kind):
        with kind(f"stomp://mq?{name}=3") as made:
            assert "3" in repr(made.stats())
        with kind(f"stomp://mq?{name}=3", pool_size=4) as made:
            assert (made if kind is PublishClientPool else made.stats().pool).max_size == 4

    @pytest.mark.parametrize("kind", [Publisher, PublishClientPool])
    def test_both_names_at_once_are_refused(self, kind):
        with pytest.raises(ConfigurationError, match="two names of one option"):
            kind("stomp://mq", max_size=3, pool_size=3)

    @pytest.mark.parametrize("kind", [Publisher, PublishClientPool])
    def test_both_names_in_one_address_are_refused(self, kind):
        with pytest.raises(ConfigurationError, match="two names of one option"):
            kind("stomp://mq?max_size=3&pool_size=4")

    @pytest.mark.parametrize("kind", [Publisher, PublishClientPool])
    def test_a_bad_value_is_refused_with_the_name_that_was_written(self, kind):
        with pytest.raises(ConfigurationError, match="the option max_size must be") as refusal:
            kind("stomp://mq", max_size=0)
        assert refusal.value.option == "max_size"


class TestNamesThatAreLoadedLate:
    @pytest.mark.parametrize("package", ["stomp_web", "stomp_web.client"])
    @pytest.mark.parametrize("name", ["process", "nothing", "django.nothing", "__path", "_private", "für"])
    def test_a_name_that_does_not_exist_is_no_attribute(self, package, name):
        assert not hasattr(importlib.import_module(package), name)

    @pytest.mark.parametrize("package", ["stomp_web", "stomp_web.client"])
    def test_every_name_that_a_package_lists_can_be_had(self, package):
        module = importlib.import_module(package)
        for name in dir(module):
            getattr(module, name)

    def test_a_module_that_is_not_there_is_no_attribute(self, tmp_path):
        assert self.ask(tmp_path, None) == "False"

    def test_a_package_that_a_module_needs_is_named_if_it_is_missing(self, tmp_path):
        assert "No module named 'not_installed'" in self.ask(tmp_path, "import not_installed")

    @staticmethod
    def ask(folder, source):
        """What `hasattr(package, "late")` says of a package that lists a module `late` with this *source*."""
        package = folder / "lazy_package"
        package.mkdir()
        (package / "__init__.py").write_text(
            "from stomp_web._internal.lazy import loader\n__getattr__, __dir__ = loader(globals(), {}, ('late',))\n"
        )
        if source is not None:
            (package / "late.py").write_text(source)
        code = "import lazy_package; print(hasattr(lazy_package, 'late'))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PYTHONPATH": f"{folder}:{stomp_web.__path__[0]}/.."},
        )
        return done.stdout.strip() or done.stderr


class TestTexts:
    def test_the_command_says_once_that_nothing_was_sent(self):
        (port,) = free_ports(1)
        with (
            Publisher(f"stomp://127.0.0.1:{port},127.0.0.1:1", timeout=60) as publisher,
            pytest.raises(BrokerUnavailable) as failure,
        ):
            publisher.send("/queue/a", 1)

        assert str(failure.value).count("nothing was sent") == 1
        words = in_words(failure.value, sending=True)
        assert words.startswith("not sent: ")
        assert "nothing was sent" not in words

    @pytest.mark.parametrize(
        "text", ["a: no; nothing was sent", "a: no. Nothing was sent. Wait.", "no; nothing was sent."]
    )
    def test_an_outcome_that_is_a_part_of_the_text_is_left_out(self, text):
        words = in_words(NotSent(text), sending=True)

        assert words.startswith("not sent: ")
        assert faults_in(words) == []

    @pytest.mark.parametrize(
        "frame",
        [
            Frame("ERROR", {"message": "User name [guest] or password is invalid."}, b"It is invalid."),
            Frame("ERROR", {"message": "Bad CONNECT"}, b"Access refused for user 'guest'.\n"),
            Frame("ERROR", {"message": "It did not work..."}),
            Frame("ERROR", {"message": "Processing error"}, b"AMQP channel died: Reason: {shutdown,\n   {server"),
        ],
    )
    def test_what_a_broker_says_becomes_a_part_of_a_sentence(self, frame):
        assert not error_words(frame).endswith((".", ",", ";", ":"))

    def test_a_broker_that_ends_its_sentence_causes_no_second_full_stop(self):
        with Broker() as broker:
            broker.faults.error("CONNECT", "User name [guest] or password is invalid.", "")
            with Publisher(broker.url) as publisher, pytest.raises(NotSent) as failure:
                publisher.send("/queue/a", 1)
        assert faults_in(str(failure.value)) == []

    @pytest.mark.parametrize(
        "text", ["No..", "No.. Yes", "It is no.; yes", "a:; b", "nothing was sent. x; nothing was sent", "x.?"]
    )
    def test_the_reader_of_all_texts_sees_such_faults(self, text):
        assert faults_in(text)


def test_every_numeric_option_is_tried_here():
    numeric = {name for name, option in OPTIONS.items() if option.unit}
    assert numeric - {"tls_ca", "tls_cert", "tls_key"} == {
        *("timeout", "connect_timeout", "max_idle", "max_lifetime"),
        *("pool_size", "max_waiting", "heart_beat"),
        *LIMIT_OPTIONS,
    }


class TestClients:
    @pytest.mark.parametrize("name", ["queue_size", *LIMIT_OPTIONS])
    @pytest.mark.parametrize(
        "value",
        [True, -1, 1.5, math.nan, math.inf, 1e306, "5", None, pytest.param(10**400), pytest.param(10**5000, id="huge")],
    )
    def test_a_size_takes_nothing_but_whole_numbers(self, name, value):
        with pytest.raises(ConfigurationError, match=f"{name} must be a whole number"):
            QueueingDuplexClient(**{name: value})

    @pytest.mark.parametrize("value", [True, 0, 65536, math.nan, "61613", pytest.param(10**5000, id="huge")])
    def test_a_port_takes_nothing_else(self, value):
        with pytest.raises(ConfigurationError, match="port must be a number from 1 to 65535"):
            PublishClient(port=value)

    @pytest.mark.parametrize("host", ["stomp://shop:s3cret@mq", "mq1,mq2", "mq1;mq2", "shop:s3cret@mq", "mq 1", ""])
    def test_an_address_is_no_host_and_is_not_shown(self, host):
        with pytest.raises(ConfigurationError, match="host must be a host name") as refusal:
            PublishClient(host)
        assert "s3cret" not in str(refusal.value)

    @pytest.mark.parametrize("host", ["mq-1.example.org", "mq_1", "::1", "fe80::1%eth0", "127.0.0.1", "mü"])
    def test_hosts_are_taken(self, host):
        assert host in repr(PublishClient(host))


@pytest.mark.parametrize("broker", REAL, indirect=True)
def test_real_brokers_take_a_ttl_of_weeks_and_take_or_refuse_the_longest(broker):
    destination = f"/queue/{uuid.uuid4().hex}"
    with Publisher(broker.url) as publisher:
        publisher.send(destination, 1, ttl=4_294_967)
        with contextlib.suppress(Rejected):  # RabbitMQ 3.10 and 4.3: "invalid expiration ... value_too_large"
            publisher.send(destination, 2, ttl=LONGEST_TTL)
    with QueueingDuplexClient.from_url(broker.url) as client:
        client.subscribe(destination)
        assert client.receive().body == b"1"
