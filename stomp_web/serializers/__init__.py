"""Serializers, which turn payloads into bodies and bodies into payloads. Every serializer has a name.

A body is sent with its content type. A reader finds the serializer by the content type. By default, a reader
accepts only ``json``, ``text`` and ``bytes``. To accept another serializer, such as ``pickle``, the reader must
name that serializer. The reason is that a pickle can run any code that the sender of the pickle has chosen.
"""

from .base import BytesSerializer, PickleSerializer, SerializedPayload, Serializer, TextSerializer
from .json import JsonSerializer, json_form
from .registry import deserialize, get_serializer, register, typed_payload
from .signed import SIGNATURE, SIGNED_DESTINATION, SignedSerializer
from .signed import check_keys as check_keys

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
