"""Passcodes and keys that do not appear in a traceback, a log or a `repr`.

Error reporters print local variables. Therefore, every public function redacts its secret arguments first.
"""

from __future__ import annotations

import typing

__all__ = ["Secret", "is_secret", "redact_secret", "redact_secrets"]

# The options that may hold a secret, and the names that other libraries use for such options.
_SECRET_OPTIONS = frozenset(
    ("address", "headers", "passcode", "passwd", "password", "signing_keys", "tls_key_password", "uri", "url")
)


class Secret(str):
    """A ``str`` whose ``repr`` is ``'***'``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class SecretBytes(bytes):
    """A ``bytes`` object whose ``repr`` is ``b'***'``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"


class _RedactedKeys(tuple[typing.Any, ...]):
    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} redacted keys>"


def is_secret(name: str) -> bool:
    """Return whether the option called *name* may hold a secret. For example, ``url`` may contain a passcode."""
    return name.lower() in _SECRET_OPTIONS


def redact_secret(name: str, value: typing.Any) -> typing.Any:
    """Return *value*. If *value* may be a secret, wrap it so that ``repr`` hides texts and bytes.

    *name* is the name of the option to which *value* belongs. The name decides whether *value* may be a secret.
    """
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
    """Return *options* with redacted secrets.

    *name_of* takes a key of *options*, such as ``STOMP_PASSCODE``, and returns the option's name, such as ``passcode``.
    """
    return {written: redact_secret(name_of(written), value) for written, value in options.items()}
