"""A WSGI application that sends a message for each request, and serves the metrics of all its processes."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from stomp_web.telemetry.prometheus import Collector
from stomp_web.wsgi import StompMiddleware, get_publisher


def answer(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        body = generate_latest(registry)
    else:
        get_publisher(environ).send("/queue/orders", 1)
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])
    return [body]


application = StompMiddleware(answer, url=os.environ["STOMP_TEST_URL"])
collector = Collector(application.publisher)
