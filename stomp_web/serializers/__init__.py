"""Payloads to bodies and back, by name.

A body travels with its content type, and is read back by it. Reading is refused unless the reader accepts the
serializer by name: whoever can put a pickle into a queue can run code in the process that reads it.

The signed serializers put an HMAC over content type, destination and body into the header ``x-signature``; the
body itself stays as it is, so that receivers in other languages can read it. The destination as the sender wrote it
travels in ``x-signed-destination``, because brokers write the message's own destination anew.
"""

from __future__ import annotations

import abc
import base64
import dataclasses
import datetime
import decimal
import enum
import functools
import hashlib
import hmac
import json
import pickle
import typing
import uuid

from .._internal.redacted import Hidden, redact_secret
from ..errors import ConfigurationError, SerializationError
from .destinations import delivers

__all__ = [
    "SIGNATURE",
    "SIGNED_DESTINATION",
    "BytesSerializer",
    "JsonSerializer",
    "PickleSerializer",
    "SerializedPayload",
    "Serializer",
    "SignedSerializer",
    "TextSerializer",
    "deserialize",
    "get_serializer",
    "json_form",
    "register",
    "typed_payload",
]

#: The header that carries the signature of the signed serializers.
SIGNATURE: typing.Final = "x-signature"
#: The header with the destination that the signature covers: the one that the sender wrote.
SIGNED_DESTINATION: typing.Final = "x-signed-destination"


@dataclasses.dataclass(slots=True)
class SerializedPayload:
    """A payload made ready: the `body`, its `content_type`, and the `headers` that belong to it."""

    body: bytes = dataclasses.field(repr=False)
    content_type: str
    headers: dict[str, str]


class Serializer(abc.ABC):
    """One way to write payloads. Subclass it and `register` an object to add another.

    `name` is what users write; `content_type` is what travels and by which the body is read back.
    """

    name: str
    content_type: str
    #: Whether it signs what it writes, and so needs `signing_keys`.
    signs: bool = False

    @abc.abstractmethod
    def dumps(self, payload: typing.Any) -> bytes:
        """Return the body for *payload*. Any exception becomes a `SerializationError` that names the serializer."""

    @abc.abstractmethod
    def loads(self, body: bytes) -> typing.Any:
        """Return the payload of *body*. Any exception becomes a `SerializationError` that names the serializer."""

    def serialize(
        self, payload: typing.Any, *, destination: str, keys: typing.Sequence[str | bytes] = ()
    ) -> SerializedPayload:
        """Return *payload* ready for *destination*. *keys* are for serializers that sign.

        Raises `SerializationError`: nothing was sent.
        """
        if type(payload) is not Hidden:
            payload = Hidden(payload)
        return SerializedPayload(self._written(payload, destination), self.content_type, {})

    def _written(self, payload: Hidden, destination: str) -> bytes:
        """Return the body for what is hidden in *payload*. Raises as `serialize` does."""
        try:
            return self.dumps(payload.value)
        except Exception as error:  # noqa: BLE001 - a payload's own code may raise anything
            problem = str(error) or type(error).__name__
        # Raised here, not above: the traceback of the first exception would show the payload.
        raise SerializationError(
            f"the payload ({type(payload.value).__name__}) for {destination} cannot be written as {self.name}: "
            f"{problem}",
            self.name,
        )

    def deserialize(
        self,
        body: bytes,
        headers: typing.Mapping[str, str],
        *,
        keys: typing.Sequence[str | bytes] = (),
        sent_to: typing.Sequence[str] = (),
    ) -> typing.Any:
        """Return the payload of a received *body*; *headers* are the message's. Raises `SerializationError`.

        *keys* and *sent_to*, as of `stomp_web.serializers.deserialize`, are for serializers that sign.
        """
        hidden, body = Hidden(body), b""
        try:
            return self.loads(hidden.value)
        except Exception as error:  # noqa: BLE001 - unpickling may raise anything
            problem = type(error).__name__  # its text may hold a part of the body
        raise SerializationError(
            f"the body from {headers.get('destination', 'an unknown destination')} cannot be read as {self.name}: "
            f"{problem}",
            self.name,
        )


class JsonSerializer(Serializer):
    """JSON in UTF-8.

    Dates, times and durations are written in ISO 8601 (with microseconds, ``Z`` for UTC), ``Decimal`` and ``UUID`` as
    texts, enums as their values, dataclasses as objects. NaN and infinities are refused, as JSON has none; bytes and
    sets are refused, as there is more than one way to write them. `json_form` takes more types.
    """

    name = "json"
    content_type = "application/json"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return *payload* as compact JSON."""
        try:
            return _write_json(payload).encode()
        except ValueError as error:
            if "Out of range float" not in str(error):
                raise
        raise ValueError("NaN and infinity have no JSON form")

    def loads(self, body: bytes) -> typing.Any:
        """Return the payload; dates and the like stay texts."""
        return json.loads(body, parse_constant=_no_constant)


class PickleSerializer(Serializer):
    """Python's pickle, highest protocol. Only for queues that nobody but your own programs can write to."""

    name = "pickle"
    content_type = "application/x-python-serialize"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return *payload* pickled."""
        return pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL)

    def loads(self, body: bytes) -> typing.Any:
        """Unpickle, which can run any code that the sender chose."""
        return pickle.loads(body)


class TextSerializer(Serializer):
    """A ``str`` in UTF-8."""

    name = "text"
    content_type = "text/plain;charset=utf-8"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return the text's bytes; anything but a ``str`` is refused."""
        if not isinstance(payload, str):
            raise TypeError("the text serializer takes str")
        return payload.encode()

    def loads(self, body: bytes) -> str:
        """Return the text."""
        return body.decode()


class BytesSerializer(Serializer):
    """Bytes as they are."""

    name = "bytes"
    content_type = "application/octet-stream"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return the bytes; anything that is not bytes-like is refused."""
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise TypeError("the bytes serializer takes bytes, bytearray or memoryview")
        return bytes(payload)

    def loads(self, body: bytes) -> bytes:
        """Return the body."""
        return body


class SignedSerializer(Serializer):
    """Another serializer's body with a signature beside it: HMAC-SHA256 over content type, destination and body.

    The first of the keys signs, and all of them verify, so that keys can be rotated. The body is read only after its
    signature was found good, and the message is where its sender had sent it.
    """

    signs = True

    def __init__(self, inner: Serializer) -> None:
        self.name = f"signed-{inner.name}"
        self.content_type = f"{inner.content_type};signed=hmac-sha256"
        self._inner = inner

    def dumps(self, payload: typing.Any) -> bytes:
        """Return the inner serializer's body."""
        return self._inner.dumps(payload)

    def loads(self, body: bytes) -> typing.Any:
        """Return the inner serializer's payload; `deserialize` has verified the body before."""
        return self._inner.loads(body)

    def serialize(
        self, payload: typing.Any, *, destination: str, keys: typing.Sequence[str | bytes] = ()
    ) -> SerializedPayload:
        """Return *payload* with its signature. Raises `ConfigurationError` without a key."""
        payload, keys = Hidden(payload), redact_secret("signing_keys", keys)
        check_keys(self, keys)
        written = super().serialize(payload, destination=destination)
        written.headers[SIGNATURE] = self._signature(keys[0], destination, written.body)
        written.headers[SIGNED_DESTINATION] = destination
        return written

    def deserialize(
        self,
        body: bytes,
        headers: typing.Mapping[str, str],
        *,
        keys: typing.Sequence[str | bytes] = (),
        sent_to: typing.Sequence[str] = (),
    ) -> typing.Any:
        """Return the payload if one of *keys* made the signature, for where the message is found.

        The signed destination must be one that the broker delivers from the message's ``destination``, or from one of
        *sent_to*. A message without ``x-signed-destination``, as earlier versions sent it, must be signed for exactly
        one of these. Raises `SerializationError` otherwise.
        """
        hidden, body, keys = Hidden(body), b"", redact_secret("signing_keys", keys)
        check_keys(self, keys)
        places = (headers.get("destination", ""), *sent_to)
        signed = headers.get(SIGNED_DESTINATION)
        given = headers.get(SIGNATURE, "").encode()
        candidates = dict.fromkeys(places if signed is None else (signed,))
        if not any(
            hmac.compare_digest(self._signature(key, candidate, hidden.value).encode(), given)
            for candidate in candidates
            for key in keys
        ):
            raise SerializationError(f"the message from {places[0]} has no good signature; it was not read", self.name)
        if signed is not None and not any(delivers(signed, place) for place in places):
            raise SerializationError(
                f"the message from {places[0]} has no good signature for that place: it was signed for {signed}, and "
                "was moved; it was not read. If the broker moves it on purpose, name the signed destination in sent_to",
                self.name,
            )
        return super().deserialize(hidden.value, headers)

    def _signature(self, key: str | bytes, destination: str, body: bytes) -> str:
        # The name keeps these keys' signatures apart from those that other programs make with the same secret.
        secret = key.encode() if isinstance(key, str) else key
        digest = hmac.new(b"stomp_web.serializers" + secret, digestmod=hashlib.sha256)
        for part in (self.content_type.encode(), destination.encode(), body):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return base64.b64encode(digest.digest()).decode()


def _iso_duration(duration: datetime.timedelta) -> str:
    sign = "-" if duration < datetime.timedelta(0) else ""
    duration = abs(duration)
    hours, rest = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{duration.microseconds:06d}" if duration.microseconds else ""
    return f"{sign}P{duration.days}DT{hours:02d}H{minutes:02d}M{seconds:02d}{fraction}S"


@functools.singledispatch
def json_form(value: typing.Any) -> typing.Any:
    """Return what stands for *value* in JSON, if JSON itself has no form for it.

    More types can be registered, as with any ``functools.singledispatch`` function:
    ``json_form.register(Money, str)``. Raises `TypeError`, with a hint, for a type that is not known.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form; convert it first, or use the pickle serializer")


@json_form.register
def _(value: datetime.datetime) -> str:
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


@json_form.register(datetime.date)
@json_form.register(datetime.time)
def _(value: datetime.date | datetime.time) -> str:
    return value.isoformat()


@json_form.register
def _(value: datetime.timedelta) -> str:
    return _iso_duration(value)


@json_form.register
def _(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} has no JSON form")
    return str(value)


@json_form.register
def _(value: uuid.UUID) -> str:
    return str(value)


@json_form.register
def _(value: enum.Enum) -> typing.Any:
    return value.value


@json_form.register(bytes)
@json_form.register(bytearray)
def _(_value: bytes | bytearray) -> typing.NoReturn:
    raise TypeError("bytes have no JSON form; decode them, or use the bytes or pickle serializer")


@json_form.register(set)
@json_form.register(frozenset)
def _(_value: set[typing.Any] | frozenset[typing.Any]) -> typing.NoReturn:
    raise TypeError("a set has no JSON form, as it has no order; make it a list")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=json_form)


def _make_writer() -> typing.Callable[[typing.Any], str]:
    """What does the same as ``_ENCODER.encode``, without making the C part of `json` anew for each call.

    That part has notes of the containers that it is in the middle of, by which it finds a circular payload. So one is
    used by one call at a time, and after an error, when notes are left in it, no more. Measured on CPython 3.11: half
    the time for a small dict.
    """
    encoder = _ENCODER
    spare: list[typing.Callable[[typing.Any, int], typing.Iterable[str]]] = []  # its steps are safe for many threads

    def make() -> typing.Callable[[typing.Any, int], typing.Iterable[str]]:
        return json.encoder.c_make_encoder(  # type: ignore[attr-defined,no-any-return]
            {}, encoder.default, json.encoder.encode_basestring, encoder.indent, encoder.key_separator,
            encoder.item_separator, encoder.sort_keys, encoder.skipkeys, encoder.allow_nan,
        )  # fmt: skip

    def write(payload: typing.Any) -> str:
        try:
            chunks = spare.pop()
        except IndexError:
            chunks = make()
        text = "".join(chunks(payload, 0))
        spare.append(chunks)
        return text

    try:
        if write({"a": [1]}) == encoder.encode({"a": [1]}):
            return write
    except (AttributeError, TypeError):  # no C part, or another one
        pass
    return encoder.encode


_write_json = _make_writer()

_serializers: dict[str, Serializer] = {}


def register(serializer: Serializer) -> None:
    """Make *serializer* known by its name. Raises `ConfigurationError` if the name or content type is taken."""
    for known in _serializers.values():
        if known.name == serializer.name or known.content_type == serializer.content_type:
            raise ConfigurationError(
                f"the serializer {known.name} ({known.content_type}) is registered already", "serializer"
            )
    _serializers[serializer.name] = serializer


def check_keys(serializer: Serializer, keys: typing.Sequence[str | bytes]) -> None:
    """Raise `ConfigurationError` if *serializer* signs and there are no *keys*."""
    if serializer.signs and not keys:
        raise ConfigurationError(f"the serializer {serializer.name} needs a secret: set signing_keys", "signing_keys")


def get_serializer(name: str) -> Serializer:
    """Return the serializer called *name*. Raises `ConfigurationError`, listing those there are."""
    try:
        return _serializers[name]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"there is no serializer {name!r}; there are {', '.join(sorted(_serializers))}", "serializer"
        ) from None


def deserialize(
    body: bytes,
    headers: typing.Mapping[str, str],
    *,
    accept: typing.Sequence[str] = ("json", "text", "bytes"),
    keys: typing.Sequence[str | bytes] = (),
    untyped: str = "bytes",
    sent_to: str | typing.Sequence[str] = (),
) -> typing.Any:
    """Return the payload of a received message.

    The serializer is found by the ``content-type`` header; types that end in ``+json`` are JSON.

    * *accept* - the names of the serializers that may be used: an unsigned pickle is read only if ``"pickle"`` is
      among them.
    * *keys* - secret keys that verify signatures.
    * *untyped* - the name of the serializer for a body without a content type, such as ``json`` for the TextMessages of
      JMS producers, which name no type. It must be among those in *accept*, too.
    * *sent_to* - the destination that was subscribed to, or several that the message may have been sent to, beside the
      one in its ``destination`` header. A signed message that was sent to another one is refused.

    Raises `SerializationError`, and `ConfigurationError` if there is no serializer *untyped*.
    """
    hidden, body, keys = Hidden(body), b"", redact_secret("signing_keys", keys)
    if isinstance(sent_to, str):
        sent_to = (sent_to,)
    content_type = headers.get("content-type")
    serializer = get_serializer(untyped) if content_type is None else _by_content_type(content_type)
    if serializer is None:
        raise SerializationError(f"there is no serializer for the content type {content_type!r}")
    if isinstance(accept, str):
        accept = (accept,)  # "pickle" is in "signed-pickle", which does not accept it
    if serializer.name not in accept:
        accepted = ", ".join(accept)
        if content_type is not None:
            problem = f"a {serializer.name} message came, but only {accepted} is accepted; it was not read"
        else:
            problem = (
                f"a body without a content type came, which counts as {serializer.name}, but only {accepted} is "
                "accepted; it was not read. The argument untyped says what such bodies are"
            )
        raise SerializationError(problem, serializer.name)
    if not serializer.signs:  # one of another author may know nothing of `sent_to`
        return serializer.deserialize(hidden.value, headers, keys=keys)
    return serializer.deserialize(hidden.value, headers, keys=keys, sent_to=sent_to)


def typed_payload(text: str, name: str | None = None) -> tuple[typing.Any, str]:
    """Return the payload, and the name of its serializer, for a *text* that was typed on a command line.

    For the serializers ``text`` and ``bytes`` it is the text itself; for every other one it has to be JSON. Without a
    *name* it is sent as JSON if it is JSON, and as text otherwise. Raises `SerializationError` and, for a serializer
    that does not exist, `ConfigurationError`.
    """
    if name is not None:
        get_serializer(name)
    if name == "text":
        return text, name
    if name == "bytes":
        return text.encode(), name
    try:
        return json.loads(text, parse_constant=_no_constant), name or "json"
    except ValueError as error:
        if name is None:
            return text, "text"
        raise SerializationError(
            f"{name} needs a payload that is JSON ({error}); quote it for the shell, or send it as text", name
        ) from None


def _no_constant(word: str) -> typing.NoReturn:
    raise ValueError(f"JSON has no {word}")


def _by_content_type(content_type: str) -> Serializer | None:
    exact = [known for known in _serializers.values() if known.content_type == content_type]
    if exact:
        return exact[0]
    mime = content_type.partition(";")[0].strip().lower()
    if "signed=" in content_type:
        return None
    for known in _serializers.values():
        if known.content_type.partition(";")[0] == mime and "signed=" not in known.content_type:
            return known
    if mime.endswith("+json"):  # RFC 6839: what is so named can be read as JSON
        return _serializers["json"]
    return _serializers["text"] if mime.startswith("text/") else None


_serializer: Serializer
for _serializer in (JsonSerializer(), PickleSerializer(), TextSerializer(), BytesSerializer()):
    register(_serializer)
for _serializer in (_serializers["json"], _serializers["pickle"]):
    register(SignedSerializer(_serializer))
del _serializer
