"""`Stomp.asend` in async views of Flask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from flask import Flask

from stomp_web.flask import Stomp

pytest.importorskip("asgiref", reason="Flask's async views need asgiref: pip install 'flask[async]'")

if TYPE_CHECKING:
    from stomp_web.broker import Broker


def make_app(url: str) -> Flask:
    app = Flask(__name__)
    app.config["STOMP_URL"] = url
    stomp = Stomp(app)

    @app.post("/orders")
    async def create_order() -> tuple[str, int]:
        first, second = await asyncio.gather(stomp.asend("/queue/a", 1), stomp.asend("/queue/b", 2, priority=9))
        return f"{first} {second}", 202

    @app.post("/blocking")
    async def block() -> str:
        return stomp.send("/queue/a", 1)

    return app


def test_an_async_view_sends_side_by_side(local_broker: Broker):
    app = make_app(local_broker.url)

    answer = app.test_client().post("/orders")

    sent = [local_broker.messages(queue)[0].headers["x-message-id"] for queue in ("/queue/a", "/queue/b")]
    assert (answer.status_code, answer.text.split()) == (202, sent)
    app.extensions["stomp"].close()


def test_the_apps_own_part_needs_no_context(local_broker: Broker):
    app = make_app(local_broker.url)

    assert asyncio.run(app.extensions["stomp"].asend("/queue/a", 1))
    with pytest.raises(RuntimeError, match="no current app"):
        asyncio.run(Stomp().asend("/queue/a", 1))
    app.extensions["stomp"].close()


def test_send_warns_there_that_it_blocks(local_broker: Broker):
    app = make_app(local_broker.url)

    with pytest.warns(RuntimeWarning, match=r"await asend\(\)") as warned:
        assert app.test_client().post("/blocking").status_code == 200

    assert [each.filename for each in warned] == [__file__]
    app.extensions["stomp"].close()
