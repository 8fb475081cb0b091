"""Pickles, text and bytes: each is one call of Python."""

from __future__ import annotations

import pickle
import typing

from .base import Serializer

__all__ = ["BytesSerializer", "PickleSerializer", "TextSerializer"]


class PickleSerializer(Serializer):
    """Python's pickle, highest protocol. Only for queues to which only your own programs can write."""

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
        """Return the text's bytes. Anything but a ``str`` is refused."""
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
        """Return the bytes. Anything that is not bytes-like is refused."""
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise TypeError("the bytes serializer takes bytes, bytearray or memoryview")
        return bytes(payload)

    def loads(self, body: bytes) -> bytes:
        """Return the body."""
        return body
