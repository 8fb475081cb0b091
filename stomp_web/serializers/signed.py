"""The signed serializers, which sign another serializer's body, its content type and the destination."""

from __future__ import annotations

import base64
import hashlib
import hmac
import typing

from .._internal.redacted import redact_secret
from ..errors import ConfigurationError, SerializationError
from ..protocol.commands import check_destination
from .base import Keys, SerializedPayload, Serializer
from .destinations import delivers

__all__ = ["SIGNATURE", "SIGNED_DESTINATION", "SignedSerializer", "check_keys"]

#: The header with the signature.
SIGNATURE: typing.Final = "x-signature"
#: The header with the signed destination, to which the sender sent the message.
SIGNED_DESTINATION: typing.Final = "x-signed-destination"
# A prefix of each key, so that a signature is valid only here, even if another program uses the same secret.
_SALT: typing.Final = b"stomp_web.serializers"


class SignedSerializer(Serializer):
    """A serializer that signs the body of another serializer. The body stays unchanged.

    The header ``x-signature`` contains the signature, an HMAC-SHA256 of the content type, the destination and the body.
    Brokers rewrite the header ``destination``. So the sender's destination is in the header ``x-signed-destination``.
    """

    signs = True

    def __init__(self, inner: Serializer) -> None:
        self.name = f"signed-{inner.name}"
        self.content_type = f"{inner.content_type};signed=hmac-sha256"
        self._inner = inner

    def dumps(self, payload: typing.Any) -> bytes:
        """Return the body from the inner serializer. `serialize` adds the signature as a header."""
        return self._inner.dumps(payload)

    def loads(self, body: bytes) -> typing.Any:
        """Return the payload from the inner serializer. `deserialize` has already verified *body*."""
        return self._inner.loads(body)

    def serialize(self, payload: typing.Any, *, destination: str, keys: Keys = ()) -> SerializedPayload:
        """Return the serialized *payload*, signed with the first of *keys*.

        Raises `SerializationError` like every serializer, `InvalidFrame` for a bad *destination*, and
        `ConfigurationError` if *keys* is empty.
        """
        keys = redact_secret("signing_keys", keys)
        check_keys(self, keys)
        check_destination(destination)
        written = super().serialize(payload, destination=destination)
        written.headers[SIGNATURE] = _sign(keys, *self._signed_parts(destination, written.body))
        written.headers[SIGNED_DESTINATION] = destination
        return written

    def deserialize(
        self, body: bytes, headers: typing.Mapping[str, str], *, keys: Keys = (), sent_to: typing.Sequence[str] = ()
    ) -> typing.Any:
        """Return the payload if one of *keys* made the signature, and if it was made for the right destination.

        Otherwise raise `SerializationError`. Raises `ConfigurationError` if *keys* is empty.

        The header ``x-signed-destination`` must match the header ``destination`` or one of *sent_to*. The function
        `delivers` decides whether two destinations match. Earlier versions of stomp-web do not send
        ``x-signed-destination``. Without this header, the signed destination must equal the header ``destination`` or
        one of *sent_to*.
        """
        keys = redact_secret("signing_keys", keys)
        check_keys(self, keys)
        places = (headers.get("destination", ""), *sent_to)
        signed = headers.get(SIGNED_DESTINATION)
        if not any(
            _verify(keys, headers.get(SIGNATURE, ""), *self._signed_parts(candidate, body))
            for candidate in dict.fromkeys(places if signed is None else (signed,))
        ):
            raise SerializationError(f"the message from {places[0]} has no valid signature; it was not read", self.name)
        if signed is not None and not any(delivers(signed, place) for place in places):
            raise SerializationError(
                f"the message from {places[0]} has no valid signature for that place: it was signed for {signed}, and "
                "was moved; it was not read. If the broker moves it on purpose, name the signed destination in sent_to",
                self.name,
            )
        return super().deserialize(body, headers)

    def _signed_parts(self, destination: str, body: bytes) -> tuple[bytes, bytes, bytes]:
        return self.content_type.encode(), destination.encode(errors="surrogatepass"), body


def check_keys(serializer: Serializer, keys: Keys) -> None:
    """Raise `ConfigurationError` if *serializer* signs and *keys* is empty."""
    if serializer.signs and not keys:
        raise ConfigurationError(f"the serializer {serializer.name} needs a secret: set signing_keys", "signing_keys")


def _sign(keys: Keys, *parts: bytes) -> str:
    return _signature(keys[0], parts).decode()


def _verify(keys: Keys, signature: str, *parts: bytes) -> bool:
    """Return whether one of *keys* made *signature* for *parts*. The comparison takes constant time."""
    given = signature.encode()
    return any(hmac.compare_digest(_signature(key, parts), given) for key in keys)


def _signature(key: str | bytes, parts: typing.Iterable[bytes]) -> bytes:
    digest = hmac.new(_SALT + (key.encode() if isinstance(key, str) else key), digestmod=hashlib.sha256)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return base64.b64encode(digest.digest())
