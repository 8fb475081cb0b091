"""The registry of serializers. A sender finds a serializer by name, and a reader finds a serializer by content type."""

from __future__ import annotations

import typing

from .._internal.redacted import redact_secret
from ..errors import ConfigurationError, SerializationError
from .base import BytesSerializer, Keys, PickleSerializer, Serializer, TextSerializer
from .json import JsonSerializer, parse_json
from .signed import SignedSerializer

__all__ = ["deserialize", "get_serializer", "register", "typed_payload"]

_serializers: dict[str, Serializer] = {}


def register(serializer: Serializer) -> None:
    """Register *serializer* by its name. Raises `ConfigurationError` if the name or content type is in use."""
    for known in _serializers.values():
        if known.name == serializer.name or known.content_type == serializer.content_type:
            raise ConfigurationError(
                f"the serializer {known.name} ({known.content_type}) is registered already", "serializer"
            )
    _serializers[serializer.name] = serializer


_inner = JsonSerializer(), PickleSerializer()
for _known in (*_inner, TextSerializer(), BytesSerializer(), *map(SignedSerializer, _inner)):
    register(_known)


def get_serializer(name: str) -> Serializer:
    """Return the serializer with the name *name*. An unknown name raises `ConfigurationError` with the known names."""
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
    keys: Keys = (),
    untyped: str = "bytes",
    sent_to: str | typing.Sequence[str] = (),
) -> typing.Any:
    """Return the payload of a received message.

    The header ``content-type`` selects the serializer. If no serializer has this content type, ``*+json`` is read as
    JSON, and ``text/*`` is read as text.

    * *accept* - the names of the serializers that may be used.
    * *keys* - the secret keys that verify signatures.
    * *untyped* - the name of the serializer for a body without a content type. *accept* must contain this name. For
      example, ``json`` reads the TextMessages of JMS producers.
    * *sent_to* - one or several destinations for which a message may be signed, such as the subscribed destination. A
      message may always be signed for its header ``destination``. A message that is signed for any other destination is
      refused.

    Raises `SerializationError` if the message cannot be read or is not accepted. Raises `ConfigurationError` if
    *untyped* is unknown, or if the message is signed and there are no *keys*.
    """
    keys = redact_secret("signing_keys", keys)
    content_type = headers.get("content-type")
    serializer = get_serializer(untyped) if content_type is None else _by_content_type(content_type)
    if serializer is None:
        raise SerializationError(f"there is no serializer for the content type {content_type!r}")
    accept = (accept,) if isinstance(accept, str) else accept  # "pickle" is in the str "signed-pickle"
    if serializer.name not in accept:
        problem, hint = f"a {serializer.name} message came", ""
        if content_type is None:
            problem = f"a body without a content type came, which counts as {serializer.name}"
            hint = ". The argument untyped says what such bodies are"
        problem += f", but only {', '.join(accept)} is accepted; it was not read{hint}"
        raise SerializationError(problem, serializer.name)
    if not serializer.signs:  # a serializer of the user may lack the argument `sent_to`
        return serializer.deserialize(body, headers, keys=keys)
    sent_to = (sent_to,) if isinstance(sent_to, str) else sent_to
    return serializer.deserialize(body, headers, keys=keys, sent_to=sent_to)


def _by_content_type(content_type: str) -> Serializer | None:
    for known in _serializers.values():
        if known.content_type == content_type:
            return known
    if "signed=" in content_type:
        return None
    mime = content_type.partition(";")[0].strip().lower()
    for known in _serializers.values():
        if known.content_type.partition(";")[0] == mime and "signed=" not in known.content_type:
            return known
    if mime.endswith("+json"):  # RFC 6839: a type with this suffix can be read as JSON
        return _serializers["json"]
    return _serializers["text"] if mime.startswith("text/") else None


def typed_payload(text: str, name: str | None = None) -> tuple[typing.Any, str]:
    """Return the payload for *text*, which comes from a command line, and the name of the serializer.

    *name* is the name of a serializer. For the serializer ``text``, the payload is *text* itself. For the serializer
    ``bytes``, the payload is *text* in UTF-8. For any other serializer, *text* must be JSON, or the function raises
    `SerializationError`. If *name* is ``None``, the function chooses ``json`` for JSON, and otherwise ``text``.
    Raises `ConfigurationError` if *name* is unknown.
    """
    if name is not None:
        get_serializer(name)
    if name == "text":
        return text, name
    if name == "bytes":
        return text.encode(), name
    try:
        return parse_json(text), name or "json"
    except ValueError as error:
        if name is None:
            return text, "text"
        raise SerializationError(
            f"{name} needs a payload that is JSON ({error}); quote it for the shell, or send it as text", name
        ) from None
