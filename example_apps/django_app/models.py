from __future__ import annotations

import secrets
from datetime import datetime
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone

from example_apps.shop import CATALOGUE, LABELS, WAITING, moment, waits


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
        """Whether more is to come of it by itself."""
        return waits(self.state, self.handled_at, self.booked_at)

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

    def note(self, state: str, detail: str = "", milliseconds: float | None = None) -> None:
        """Remember what came of announcing the order."""
        self.state, self.detail, self.milliseconds = state, detail, milliseconds
        self.save(update_fields=["state", "detail", "milliseconds"])

    @classmethod
    def handle(cls, message_id: str) -> bool:
        """Remember that an order is handled, and return whether there is such an order.

        A message may come more than once. The second time changes nothing: the first moment is kept.
        """
        first = Coalesce("handled_at", models.Value(timezone.now()))
        return cls.objects.filter(message_id=message_id).update(handled_at=first) > 0

    @classmethod
    def book(cls, order_id: int, at: datetime) -> bool:
        """Enter an order in the books, and return whether there is such an order. Also no more than once."""
        return cls.objects.filter(pk=order_id).update(booked_at=Coalesce("booked_at", models.Value(at))) > 0
