"""Payloads for the tests, and the way to a body and back."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import uuid

from stomp_web.serializers import deserialize, get_serializer

QUEUE = "/queue/a"


def write(name, payload, destination=QUEUE, keys=()):
    return get_serializer(name).serialize(payload, destination=destination, keys=keys)


def read(done, destination=QUEUE, **options):
    headers = {"destination": destination, "content-type": done.content_type, **done.headers}
    return deserialize(done.body, headers, **options)


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    article: str
    price: decimal.Decimal


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    lines: list[Line]
    color: Color = Color.RED
