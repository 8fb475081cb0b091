"""Views that send, and the views of django-debug-toolbar, which can be imported only while its app is installed."""

from __future__ import annotations

import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.urls import include, path

from stomp_web import ConfigurationError, InvalidFrame, NotSent, Publisher, Rejected
from stomp_web.django import asend, publishers, send
from stomp_web.panels.collector import collector

PATIENCE = 60.0
PAGE = "<html><body><h1>Thank you</h1></body></html>"

both = threading.Barrier(2)


def three(request):
    send("/queue/orders", {"id": 7})
    headers = {"x-message-id": "<script>alert(1)</script>"}
    publishers["audit"].send("/topic/<b>audit</b>", "x" * 1234, headers, serializer="text")
    Publisher("memory://").send("/queue/own", 1)  # of no alias
    return HttpResponse(PAGE)


def one(request):
    send("/queue/orders", {"id": 7})
    return HttpResponse(PAGE)


def none(request):
    return HttpResponse(PAGE)


def failing(request):
    with pytest.raises((Rejected, NotSent)):
        send("/queue/orders", {"id": 7}, timeout=PATIENCE)
    return HttpResponse(PAGE)


def crashing(request):
    send("/queue/orders", 1)
    raise RuntimeError("a bug of the shop")


def listens(request):
    return HttpResponse(f"<html><body>listens: {collector.listens()}</body></html>")


def commits(request):
    with transaction.atomic():
        send("/queue/after", 1, on_commit=True)
    send("/queue/at-once", 1, on_commit=True)
    try:
        with transaction.atomic():
            send("/queue/never", 1, on_commit=True)
            raise KeyError
    except KeyError:
        pass
    return HttpResponse(PAGE)


def stores(request):
    with transaction.atomic():
        send("/queue/stored", 1, outbox=True)
    return HttpResponse(PAGE)


def stores_nothing(request):
    with pytest.raises(ConfigurationError, match="outside of a transaction"):
        send("/queue/outside", 1, outbox=True)
    with transaction.atomic():
        with pytest.raises(ConfigurationError, match="key must have 1 to"):
            send("/queue/key", 1, outbox=True, key="")
        with pytest.raises(InvalidFrame, match="at most 255 characters"):
            send("/queue/id", 1, {"x-message-id": "a" * 256}, outbox=True)
    return HttpResponse(PAGE)


def rolls_back(request):
    with transaction.atomic():
        send("/queue/stored", 1, outbox=True)
        transaction.set_rollback(True)
    return HttpResponse(PAGE)


def together(request, name):
    for _ in range(5):
        both.wait(PATIENCE)
        send(f"/queue/{name}", 1)
    return HttpResponse(PAGE)


async def in_an_event_loop(request, name):
    for number in range(3):
        await asend(f"/queue/{name}", number)
    await sync_to_async(send)(f"/queue/{name}", 3)
    return HttpResponse(PAGE)


def interface(request):
    send("/queue/orders", 1)
    return JsonResponse({})


urlpatterns = [
    path("__debug__/", include("debug_toolbar.urls")),
    *(path(view.__name__, view) for view in (three, one, none, failing, crashing, listens, interface)),
    *(path(view.__name__, view) for view in (commits, stores, stores_nothing, rolls_back)),
    path("together/<name>", together),
    path("in-an-event-loop/<name>", in_an_event_loop),
]
