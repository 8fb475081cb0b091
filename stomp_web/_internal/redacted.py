"""Passcodes and keys that are redacted wherever a traceback, a log or a `repr` may show them.

A public function redacts its secret arguments first, because error reporters print local variables.
"""

from __future__ import annotations

import typing

__all__ = ["Secret", "is_secret", "redact_secret", "redact_secrets"]

# The options that may hold a secret, and the names that other libraries use for such options.
_SECRET_OPTIONS = frozenset(
    ("address", "headers", "passcode", "passwd", "password", "signing_keys", "tls_key_password", "uri", "url")
)


class Secret(str):
    """An ordinary ``str``, except that its ``repr`` is ``'***'``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class SecretBytes(bytes):
    """Ordinary ``bytes``, except that their ``repr`` is ``b'***'``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"


class _RedactedKeys(tuple[typing.Any, ...]):
    """A tuple of secret keys. Each key is redacted, too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} redacted keys>"


def is_secret(name: str) -> bool:
    """Whether the option *name* may hold a secret, such as the passcode in a ``url``."""
    return name.lower() in _SECRET_OPTIONS


def redact_secret(name: str, value: typing.Any) -> typing.Any:
    """Return *value*. If the option *name* may be secret, redact the ``repr`` of text, bytes, or a list of them."""
    return _redacted(value) if is_secret(name) else value


def _redacted(value: typing.Any) -> typing.Any:
    match value:
        case Secret() | SecretBytes() | _RedactedKeys():
            return value
        case str():
            return Secret(value)
        case bytes():
            return SecretBytes(value)
        case list() | tuple():
            return _RedactedKeys(map(_redacted, value))
    return value


def redact_secrets(
    options: typing.Mapping[str, typing.Any], name_of: typing.Callable[[str], str] = str
) -> dict[str, typing.Any]:
    """Return *options*, with secret values redacted. *name_of* maps a key of *options* to the option's name."""
    return {written: redact_secret(name_of(written), value) for written, value in options.items()}
