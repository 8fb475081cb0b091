"""A WSGI application for real servers: it sends what it gets, as JSON and pickled."""

from __future__ import annotations

import os

from stomp_web.wsgi import StompMiddleware, get_publisher


def handler(environ, start_response):
    text = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
    publisher = get_publisher(environ)
    identity = publisher.send("/queue/json", {"text": text})
    publisher.send("/queue/pickle", {"text": text}, serializer="pickle")
    start_response("202 Accepted", [("Content-Type", "text/plain")])
    return [identity.encode()]


application = StompMiddleware(handler, url=os.environ["STOMP_TEST_URL"])
