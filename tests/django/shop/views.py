from __future__ import annotations

from django.db import transaction
from django.http import HttpResponse

from stomp_web.django import publisher, publishers, send
from tests.django.shop.models import Order


@transaction.atomic
def order(request):
    """Store an order, and tell of it once it is stored. There is no coffee."""
    item = request.body.decode()
    stored = Order.objects.create(item=item)
    identity = send("/queue/orders", {"id": stored.pk, "item": item}, on_commit=True)
    if item == "coffee":
        raise ValueError("there is no coffee")
    return HttpResponse(identity, status=202)


def publish(request):
    """Send what came, as JSON and pickled, without a database."""
    identity = publisher.send("/queue/json", {"text": request.body.decode()})
    publishers["audit"].send("/queue/pickle", {"text": request.body.decode()})
    return HttpResponse(identity, status=202)
