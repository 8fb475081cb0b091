"""The JSON serializer, and the JSON forms of types that JSON does not have, such as dates."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import operator
import typing
import uuid

from .base import Serializer

__all__ = ["JsonSerializer", "json_form", "parse_json"]


class JsonSerializer(Serializer):
    """The serializer for JSON in UTF-8.

    Dates, times and durations become ISO 8601 texts, and keep their microseconds. A ``datetime`` in UTC ends with
    ``Z``. ``Decimal`` and ``UUID`` become texts. Enums become their values, and dataclasses become JSON objects. NaN,
    infinities, bytes and sets are refused. Further types can be registered with `json_form`.
    """

    name = "json"
    content_type = "application/json"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return *payload* as compact JSON."""
        try:
            return _ENCODER.encode(payload).encode()
        except ValueError as error:
            if "Out of range float" not in str(error):
                raise
            raise ValueError("NaN and infinity have no JSON form") from None

    def loads(self, body: bytes) -> typing.Any:
        """Return the payload. Dates, times and durations stay texts."""
        return parse_json(body)


def parse_json(text: str | bytes) -> typing.Any:
    """Return the value of the JSON *text*. Raises `ValueError` if *text* is not JSON or has ``NaN`` or ``Infinity``."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(word: str) -> typing.NoReturn:
    raise ValueError(f"JSON has no {word}")


@functools.singledispatch
def json_form(value: typing.Any) -> typing.Any:
    """Return the JSON form of a *value* that has no JSON type. Raises `TypeError` for an unknown type.

    `json_form` is a ``functools.singledispatch`` function. So ``json_form.register(Money, str)`` adds a type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, bytes | bytearray):
        raise TypeError("bytes have no JSON form; decode them, or use the bytes or pickle serializer")
    if isinstance(value, set | frozenset):
        raise TypeError("a set has no JSON form, as it has no order; make it a list")
    raise TypeError(f"{type(value).__name__} has no JSON form; convert it first, or use the pickle serializer")


@json_form.register
def _(value: datetime.datetime) -> str:
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


@json_form.register
def _(value: datetime.timedelta) -> str:
    sign = "-" if value < datetime.timedelta(0) else ""
    value = abs(value)
    hours, rest = divmod(value.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{value.microseconds:06d}" if value.microseconds else ""
    return f"{sign}P{value.days}DT{hours:02d}H{minutes:02d}M{seconds:02d}{fraction}S"


@json_form.register
def _(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} has no JSON form")
    return str(value)


json_form.register(datetime.date, datetime.date.isoformat)
json_form.register(datetime.time, datetime.time.isoformat)
json_form.register(uuid.UUID, str)
json_form.register(enum.Enum, operator.attrgetter("value"))

_ENCODER: typing.Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=json_form)
