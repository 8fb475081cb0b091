from __future__ import annotations

import pytest
from django.test import override_settings

from stomp_web.django import PublisherDoesNotExist, publishers, send
from stomp_web.django.test import capture_messages

# No broker anywhere: what is not captured fails.
pytestmark = pytest.mark.usefixtures("nowhere")


@pytest.fixture
def nowhere():
    options = {"url": "stomp://127.0.0.1:1"}
    with override_settings(STOMP={"default": {"OPTIONS": options}, "audit": {"OPTIONS": {**options, "pool_size": 1}}}):
        yield


def test_messages_of_all_aliases_are_recorded():
    with capture_messages() as messages:
        send("/queue/a", 1)
        send("/queue/b", 2, using="audit")

    assert [(message.destination, message.payload) for message in messages] == [("/queue/a", 1), ("/queue/b", 2)]


def test_messages_of_one_alias_are_recorded_even_if_its_settings_change():
    with capture_messages(using="audit") as messages:
        send("/queue/a", 1, using="audit")
        with override_settings(STOMP={"default": {"OPTIONS": {"url": "memory://"}}, "audit": {}}):
            send("/queue/b", 2, using="audit")
            send("/queue/c", 3)
            assert [message.payload for message in publishers["default"].outbox] == [3]

    assert [message.payload for message in messages] == [1, 2]


def test_an_alias_that_is_not_there_is_refused():
    with pytest.raises(PublisherDoesNotExist), capture_messages(using="other"):
        pass


def test_one_decorator_may_serve_a_function_many_times():
    @capture_messages(kwarg_name="messages")
    def work(depth, messages):
        send("/queue/a", depth)
        if depth:
            work(depth - 1)
        return [message.payload for message in messages]

    assert work(2) == [2]
    assert work(0) == [0]
