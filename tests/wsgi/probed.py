"""WSGI applications that answer probes."""

from __future__ import annotations

import os

from stomp_web.health import HealthCheck, HealthMiddleware
from stomp_web.wsgi import StompMiddleware


def handler(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return [b""]


application = StompMiddleware(handler, url=os.environ["STOMP_URL"], health_path="/healthz")
# One result for the whole test.
patient = HealthMiddleware(handler, HealthCheck(application.publisher.check, timeout=60, max_age=600))
