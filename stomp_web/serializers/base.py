"""The base class of all serializers, and the serializers for pickle, text and bytes."""

from __future__ import annotations

import abc
import dataclasses
import pickle
import typing

from .._internal.redacted import redact_secret
from ..errors import SerializationError

__all__ = ["BytesSerializer", "Keys", "PickleSerializer", "SerializedPayload", "Serializer", "TextSerializer"]

Keys = typing.Sequence[str | bytes]  # the first key signs; all keys verify, so that keys can be rotated


@dataclasses.dataclass(slots=True)
class SerializedPayload:
    """A serialized payload. `headers` are the headers that the serializer adds to the message."""

    body: bytes = dataclasses.field(repr=False)
    content_type: str
    headers: dict[str, str]


_new = object.__new__  # skips `__init__`, which takes as long as the rest of `serialize`


class Serializer(abc.ABC):
    """A way to serialize payloads. To add a serializer, define a subclass and `register` an instance.

    A sender chooses a serializer by its `name`. The `content_type` is sent with the body, and a reader finds the
    serializer by the content type.
    """

    name: str
    content_type: str
    #: Whether this serializer signs the body, and therefore needs `signing_keys`.
    signs: bool = False

    @abc.abstractmethod
    def dumps(self, payload: typing.Any) -> bytes:
        """Return the body for *payload*. This method may raise any exception.

        `serialize` then raises a `SerializationError` that contains the serializer's `name`.
        """

    @abc.abstractmethod
    def loads(self, body: bytes) -> typing.Any:
        """Return the payload of *body*. This method may raise any exception.

        `deserialize` then raises a `SerializationError` that contains the serializer's `name`.
        """

    def serialize(self, payload: typing.Any, *, destination: str, keys: Keys = ()) -> SerializedPayload:
        """Return the serialized payload of a message to *destination*. Only signing serializers use *keys*.

        Raises `SerializationError` if *payload* cannot be written. In this case, nothing was sent.
        """
        try:
            written = _new(SerializedPayload)
            written.body, written.content_type, written.headers = self.dumps(payload), self.content_type, {}
            return written
        except Exception as error:  # noqa: BLE001 - the payload's own code may raise anything
            keys = redact_secret("signing_keys", keys)
            raise SerializationError(
                f"the payload ({type(payload).__name__}) for {destination} cannot be written as {self.name}: "
                f"{str(error) or type(error).__name__}",
                self.name,
            ) from None

    def deserialize(
        self, body: bytes, headers: typing.Mapping[str, str], *, keys: Keys = (), sent_to: typing.Sequence[str] = ()
    ) -> typing.Any:
        """Return the payload of a message. Raises `SerializationError` if *body* cannot be read.

        Only signing serializers use *keys* and *sent_to*: see `stomp_web.serializers.deserialize`.
        """
        try:
            return self.loads(body)
        except Exception as error:  # noqa: BLE001 - unpickling may raise anything
            keys = redact_secret("signing_keys", keys)
            raise SerializationError(
                f"the body from {headers.get('destination', 'an unknown destination')} cannot be read as {self.name}: "
                f"{type(error).__name__}",  # not the exception's text, which may contain a part of the body
                self.name,
            ) from None


class PickleSerializer(Serializer):
    """The serializer for pickle. The serializer writes the highest version of the pickle protocol.

    Use pickle only for a queue to which only your programs can write.
    """

    name = "pickle"
    content_type = "application/x-python-serialize"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return the pickled *payload*."""
        return pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL)

    def loads(self, body: bytes) -> typing.Any:
        """Return the unpickled payload. Unpickling can run any code that the sender has chosen."""
        return pickle.loads(body)


class TextSerializer(Serializer):
    """The serializer for ``str``, in UTF-8."""

    name = "text"
    content_type = "text/plain;charset=utf-8"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return *payload* in UTF-8. Raises `TypeError` if *payload* is not a ``str``."""
        if not isinstance(payload, str):
            raise TypeError("the text serializer takes str")
        return payload.encode()

    def loads(self, body: bytes) -> str:
        """Return *body* as a ``str``."""
        return body.decode()


class BytesSerializer(Serializer):
    """The serializer for bytes, which stay unchanged."""

    name = "bytes"
    content_type = "application/octet-stream"

    def dumps(self, payload: typing.Any) -> bytes:
        """Return *payload* as ``bytes``. Raises `TypeError` if *payload* is not bytes-like."""
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise TypeError("the bytes serializer takes bytes, bytearray or memoryview")
        return bytes(payload)

    def loads(self, body: bytes) -> bytes:
        """Return *body* unchanged."""
        return body
