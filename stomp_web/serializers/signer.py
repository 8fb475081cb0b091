"""Signatures with secret keys: HMAC-SHA256 in base64, over several parts and their lengths."""

from __future__ import annotations

import base64
import hashlib
import hmac
import typing

__all__ = ["Keys", "sign", "verify"]

Keys = typing.Sequence[str | bytes]  # the first one signs, and all of them verify, so that keys can be rotated

# Before each key, so that a signature is good here only, even if another program signs with the same secret.
_SALT: typing.Final = b"stomp_web.serializers"


def sign(keys: Keys, *parts: bytes) -> str:
    """Return the signature of *parts*."""
    return _signature(keys[0], parts).decode()


def verify(keys: Keys, signature: str, *parts: bytes) -> bool:
    """Whether one of *keys* made this *signature* for *parts*. It is compared in constant time."""
    given = signature.encode()
    return any(hmac.compare_digest(_signature(key, parts), given) for key in keys)


def _signature(key: str | bytes, parts: typing.Iterable[bytes]) -> bytes:
    digest = hmac.new(_SALT + (key.encode() if isinstance(key, str) else key), digestmod=hashlib.sha256)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return base64.b64encode(digest.digest())
