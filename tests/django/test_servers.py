from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.wsgi.helpers import SERVERS, in_threads, post, serving

if TYPE_CHECKING:
    from stomp_web.broker import Broker


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_over_http_becomes_messages_at_the_broker(server, local_broker: Broker):
    with serving(server, "tests.django.served:application", STOMP_TEST_URL=local_broker.url) as url:
        answers = in_threads(4, lambda number: post(f"{url}/publish", b"%d" % number))

    frames = local_broker.wait_for("/queue/json", 4)
    assert sorted(answers) == sorted((202, frame.headers["x-message-id"]) for frame in frames)
    assert sorted(json.loads(frame.body)["text"] for frame in frames) == ["0", "1", "2", "3"]
    assert len(local_broker.wait_for("/queue/pickle", 4)) == 4
