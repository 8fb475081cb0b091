"""Plain WSGI. With ``STOMP_TEST_PATCH`` in its environment it lets gevent patch everything as early as it can."""

from __future__ import annotations

import os

if os.environ.get("STOMP_TEST_PATCH"):
    from gevent import monkey

    monkey.patch_all()

from stomp_web.wsgi import StompMiddleware, get_publisher
from tests.servers import probe


def handler(environ, start_response):
    body = probe.answer(environ["PATH_INFO"], get_publisher(environ))
    start_response("202 Accepted", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


application = StompMiddleware(handler, url=os.environ["STOMP_TEST_URL"])
application.publisher.send(probe.LOADED, "by the module")
