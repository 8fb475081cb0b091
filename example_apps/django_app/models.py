from __future__ import annotations

import secrets
from datetime import datetime
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from example_apps.shop import ANNOUNCED, CATALOGUE, LABELS, WAITING, moment, tell_outbox, waits
from stomp_web.django.outbox.models import OutboxMessage


def new_message_id() -> str:
    return secrets.token_hex(8)


class Order(models.Model):
    """One order. Its `message_id` stays the same however often it is announced, so that receivers can tell a copy.

    `handled_at` is the moment at which the consumer had handled it, and `booked_at` the one that its entry in the books
    names. Both are ``None`` until then.
    """

    customer: models.CharField[str, str] = models.CharField("your name", max_length=80)
    item: models.CharField[str, str] = models.CharField(max_length=80)
    quantity: models.PositiveSmallIntegerField[int, int] = models.PositiveSmallIntegerField(
        "how many?", default=1, validators=[MinValueValidator(1), MaxValueValidator(99)]
    )
    placed_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(auto_now_add=True)
    message_id: models.CharField[str, str] = models.CharField(max_length=32, default=new_message_id, editable=False)
    state: models.CharField[str, str] = models.CharField(max_length=20, default=WAITING, editable=False)
    detail: models.TextField[str, str] = models.TextField(default="", editable=False)
    milliseconds: models.FloatField[float | None, float | None] = models.FloatField(null=True, editable=False)
    handled_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(null=True, editable=False)
    booked_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"order {self.pk} of {self.customer}"

    @property
    def key(self) -> str:
        """The key of its messages in the outbox."""
        return f"order-{self.pk}"

    @property
    def total(self) -> Decimal:
        """The price of it all."""
        return CATALOGUE.get(self.item, Decimal(0)) * self.quantity

    @property
    def label(self) -> str:
        """The state in two words, for people."""
        return LABELS[self.state]

    @property
    def when_handled(self) -> str:
        """The moment at which it was handled, for people."""
        return moment(self.handled_at)

    @property
    def waits(self) -> bool:
        """Whether it may still change by itself."""
        return self.handled_at is None or waits(self.state, self.handled_at, self.booked_at)

    def payload(self) -> dict[str, object]:
        """What receivers get to know. The serializer writes the date in ISO 8601 and the total as a text."""
        return {
            "id": self.pk,
            "customer": self.customer,
            "item": self.item,
            "quantity": self.quantity,
            "total": self.total,
            "placed_at": self.placed_at,
        }

    def note_outcome(self, milliseconds: float | None = None) -> None:
        """Set the state to what the rows of its messages in the outbox say."""
        rows = OutboxMessage.objects.filter(key=self.key).order_by("id")
        told = rows.values_list("message_id", "destination", "state", "last_error")
        self.state, self.detail = tell_outbox(self.message_id, told)
        self.milliseconds = milliseconds if self.state == ANNOUNCED else None
        self.save(update_fields=["state", "detail", "milliseconds"])

    @classmethod
    def latest(cls, count: int = 20) -> list[Order]:
        """Return the latest orders, the newest first, and note which of them a relay has announced meanwhile."""
        orders = list(cls.objects.all()[:count])
        for order in orders:
            if order.state != ANNOUNCED:
                order.note_outcome()
        return orders

    @classmethod
    def handle(cls, message_id: str) -> bool:
        """Remember that an order is handled, and return whether there is such an order."""
        return cls.objects.filter(message_id=message_id).update(handled_at=timezone.now()) > 0

    @classmethod
    def book(cls, order_id: int, at: datetime) -> bool:
        """Enter an order in the books, and return whether there is such an order."""
        return cls.objects.filter(pk=order_id).update(booked_at=at) > 0
