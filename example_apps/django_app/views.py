"""An order form with Django. Each order is stored in the database together with the messages that announce it.

The messages are rows of an outbox, in the transaction of the order: both are committed, or neither. The site sends them
right after the commit. What it cannot send, because the broker is away or the process was killed, a relay sends later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import transaction
from django.forms import ChoiceField, ModelForm
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from example_apps.shop import ANNOUNCED, CATALOGUE, ICON, SCRIPT, STYLE
from stomp_web.django import publisher, send
from stomp_web.django.outbox.models import OutboxMessage

from .models import Order


class OrderForm(ModelForm):  # type: ignore[type-arg]
    item = ChoiceField(
        label="What would you like?", choices=[(each, f"{each} · {price} €") for each, price in CATALOGUE.items()]
    )

    class Meta:
        model = Order
        fields = ("customer", "item", "quantity")


def announce(begin: Callable[[], Order]) -> Order:
    """Commit the order that *begin* returns with its two messages, and note what became of them."""
    with transaction.atomic():
        order = begin()
        OutboxMessage.objects.filter(key=order.key).delete()  # what is left of an earlier attempt is replaced
        # JSON, for receivers in any language. The id is the order's own, the same at each attempt.
        send("/queue/orders", order.payload(), {"x-message-id": order.message_id}, outbox=True, key=order.key)
        # Pickled, for a receiver that is ours as well, and gets a real datetime.
        audit = {"event": "order placed", "order": order.pk, "at": timezone.now()}
        audit_id = {"x-message-id": f"{order.message_id}-audit"}
        send("/queue/audit", audit, audit_id, serializer="pickle", outbox=True, key=order.key)
        began = time.monotonic()
    order.note_outcome((time.monotonic() - began) * 1000)  # the messages were sent at the end of the block
    return order


# ---------------------------------------------------------------------------------------------------------- the pages


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    return show(request, OrderForm())


def show(request: HttpRequest, form: OrderForm, status: int = 200) -> HttpResponse:
    number = request.GET.get("order", "")
    context = {
        "broker": publisher.url,
        "form": form,
        "orders": Order.latest(),
        "placed": Order.objects.filter(pk=int(number)).first() if number.isdecimal() and len(number) < 18 else None,
    }
    return render(request, "orders/orders.html", context, status=status)


@require_POST
def place(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST)
    if not form.is_valid():
        return show(request, form, status=400)
    return see_other(announce(form.save))


@require_POST
def retry(request: HttpRequest, order_id: int) -> HttpResponse:  # noqa: ARG001
    order = get_object_or_404(Order, pk=order_id)
    return see_other(order if order.state == ANNOUNCED else announce(lambda: order))


@require_GET
def style(request: HttpRequest) -> FileResponse:  # noqa: ARG001
    return FileResponse(STYLE.open("rb"), content_type="text/css")


@require_GET
def icon(request: HttpRequest) -> FileResponse:  # noqa: ARG001
    return FileResponse(ICON.open("rb"), content_type="image/svg+xml")


@require_GET
def script(request: HttpRequest) -> FileResponse:  # noqa: ARG001
    return FileResponse(SCRIPT.open("rb"), content_type="text/javascript")


def see_other(order: Order) -> HttpResponse:
    return redirect(f"{reverse(index)}?order={order.pk}")
