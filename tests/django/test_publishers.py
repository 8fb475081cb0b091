from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import pytest
from django.core.signals import request_finished, request_started
from django.test import Client, override_settings
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy

from stomp_web import ConfigurationError, Publisher
from stomp_web.django import PublisherDoesNotExist, publisher, publishers, send
from tests.wsgi.helpers import in_threads, run_python

if TYPE_CHECKING:
    from stomp_web.broker import Broker


class TestSending:
    def test_a_view_sends_json_and_pickle_confirmed_by_the_broker(self, local_broker: Broker):
        options = {"url": local_broker.url}
        audit = {**options, "serializer": "pickle"}
        with override_settings(STOMP={"default": {"OPTIONS": options}, "audit": {"OPTIONS": audit}}):
            answer = Client().post("/publish", "tea", content_type="text/plain")
            confirmed = publishers["default"].stats().confirmed + publishers["audit"].stats().confirmed

        (frame,) = local_broker.messages("/queue/json")
        assert (answer.status_code, answer.content.decode()) == (202, frame.headers["x-message-id"])
        assert json.loads(frame.body) == {"text": "tea"}
        assert pickle.loads(local_broker.messages("/queue/pickle")[0].body) == {"text": "tea"}
        assert confirmed == 2

    def test_send_takes_what_a_publisher_takes(self):
        identity = send("/queue/a", "tea", {"x-kind": "green"}, serializer="text", priority=7, confirm=False, timeout=1)

        (message,) = publisher.outbox
        assert (message.id, message.payload) == (identity, "tea")
        assert message.headers["x-kind"] == "green"
        assert message.headers["priority"] == "7"

    def test_send_goes_to_the_alias_that_it_is_given(self):
        send("/queue/a", {"id": 7}, using="audit")

        assert publisher.outbox == []
        assert publishers["audit"].outbox[0].content_type == "application/x-python-serialize"

    def test_publisher_is_the_default_one(self):
        assert isinstance(publishers["default"], Publisher)
        assert publisher.outbox is publishers["default"].outbox

    def test_texts_that_are_translated_late_become_texts(self):
        send("/queue/a", {"name": gettext_lazy("Yes"), "late": lazy(lambda: "tea", str)()})

        assert publisher.outbox[0].payload == {"name": "Yes", "late": "tea"}


class TestTheProcess:
    def test_all_threads_share_one_publisher_for_each_alias(self):
        assert len({id(each) for each in in_threads(8, lambda number: publishers["default"])}) == 1

    def test_eight_threads_share_one_pool(self, broker_settings: Broker):
        in_threads(8, lambda number: [send("/queue/a", [number, each]) for each in range(5)])

        assert len(broker_settings.messages("/queue/a")) == 40
        assert broker_settings.connections_accepted <= 3

    def test_the_connection_outlives_the_request(self, broker_settings: Broker):
        for _ in range(3):
            request_started.send(sender=None, environ={})
            send("/queue/a", 1)
            request_finished.send(sender=None)

        assert (broker_settings.connections_accepted, broker_settings.sessions) == (1, 1)

    def test_overridden_settings_close_the_publishers_that_they_replace(self, broker_settings: Broker):
        send("/queue/a", 1)
        before = publishers["default"]

        with override_settings(STOMP={"default": {"OPTIONS": {"url": "memory://"}}}):
            assert broker_settings.wait_until(lambda: broker_settings.sessions == 0)
            assert publishers["default"] is not before
            assert publisher.outbox == []

        send("/queue/a", 2)
        assert len(broker_settings.messages("/queue/a")) == 2

    def test_other_settings_leave_the_publishers_alone(self):
        before = publishers["default"]
        with override_settings(USE_TZ=False):
            assert publishers["default"] is before


class TestSettings:
    def test_the_aliases_are_those_of_the_settings(self):
        assert list(publishers) == ["default", "audit"]
        assert "audit" in publishers
        assert "other" not in publishers

    def test_an_unknown_alias_is_refused_with_those_there_are(self):
        with pytest.raises(PublisherDoesNotExist, match="no publisher 'adit'; it has 'default', 'audit'"):
            publishers["adit"]
        with pytest.raises(ConfigurationError, match="adit"):
            send("/queue/a", 1, using="adit")

    @pytest.mark.parametrize(
        ("stomp", "says"),
        [
            (None, r"settings\.STOMP is missing; for example: STOMP = {"),
            ([], r"settings\.STOMP must be a dict, not of type list"),
            ({"default": "stomp://localhost"}, r"settings\.STOMP\['default'\] must be a dict"),
            ({"default": {"OPTION": {}}}, r"settings\.STOMP\['default'\]: there is no option OPTION; .* OPTIONS"),
            ({"default": {"url": "memory://"}}, r"settings\.STOMP\['default'\]: url goes into 'OPTIONS'"),
            ({"default": {"OPTIONS": []}}, r"settings\.STOMP\['default'\]\['OPTIONS'\] must be a dict"),
            ({"default": {"OPTIONS": {"pool_sise": 3}}}, r"\['OPTIONS'\]: .* pool_sise; did you mean pool_size"),
            ({"default": {"OPTIONS": {"timeout": -1}}}, r"\['OPTIONS'\]: the option timeout must be"),
            ({"default": {"OPTIONS": {"observers": []}}}, r"no option observers"),
        ],
    )
    def test_what_cannot_be_used_is_refused_at_the_first_use(self, stomp, says):
        with override_settings(STOMP=stomp), pytest.raises(ConfigurationError, match=says):
            send("/queue/a", 1)

    def test_options_may_be_left_out(self):
        with override_settings(STOMP={"default": {}}):
            assert publisher.url == "stomp://127.0.0.1:61613"


class TestImports:
    def test_the_package_can_be_imported_before_there_are_settings(self):
        program = """
from stomp_web.django import message_sent, publisher, publishers, send
from django.conf import settings
assert not settings.configured
settings.configure(STOMP={"default": {"OPTIONS": {"url": "memory://"}}})
send("/queue/a", 1)
assert publisher.outbox[0].payload == 1
"""
        result = run_python("-W", "error", "-c", program)
        assert (result.returncode, result.stdout) == (0, "")

    def test_stomp_web_itself_imports_no_django(self):
        program = "import sys, stomp_web, stomp_web.testing, stomp_web.wsgi; sys.exit('django' in sys.modules)"
        assert run_python("-c", program).returncode == 0
