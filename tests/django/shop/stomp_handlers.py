"""What `manage.py stomp_worker` finds in this app."""

from __future__ import annotations

import os

from django.db import transaction

from stomp_web.django import publishers, subscribe
from stomp_web.worker import ReceivedMessage
from tests.django.shop.models import Order


@subscribe("/queue/orders")
def store(message: ReceivedMessage) -> None:
    """Tell that it has begun, store the order, and tell who has."""
    publishers["default"].send("/queue/begun", message.payload)
    Order.objects.create(item=message.payload)
    publishers["default"].send("/queue/stored", {"item": message.payload, "pid": os.getpid()})


@subscribe("/queue/counted")
def count(message: ReceivedMessage) -> None:
    """Store an order in a transaction that reads first, as most do."""
    with transaction.atomic():
        number = Order.objects.count()
        Order.objects.create(item=f"{message.payload}: number {number}")


@subscribe("/queue/audit", using="audit", accept=("pickle",))
def book(message: ReceivedMessage) -> None:
    publishers["audit"].send("/queue/booked", message.payload, serializer="json")
