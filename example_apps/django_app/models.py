from __future__ import annotations

import secrets
from datetime import datetime
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from example_apps.shop import CATALOGUE, LABELS, WAITING


def new_message_id() -> str:
    return secrets.token_hex(8)


class Order(models.Model):
    """One order. Its `message_id` stays the same however often it is announced, so that receivers can tell a copy."""

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
