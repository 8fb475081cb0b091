"""What no traceback may show.

Error reporters print the local variables of every frame that an exception passed. A passcode or a body that such a
variable holds would then be in a log. So the public functions wrap them here, first thing, and unwrap them where the
bytes are made.
"""

from __future__ import annotations

import typing

__all__ = ["Hidden", "Secret", "hide_secret", "hide_secrets", "is_secret"]

_SECRET_OPTIONS = frozenset(("headers", "passcode", "signing_keys", "tls_key_password", "url"))


class Secret(str):
    """A ``str`` that is used as any other, and whose ``repr`` is ``'***'``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Hidden:
    """Something whose ``repr`` tells its type only. `value` is the thing itself."""

    __slots__ = ("value",)

    def __init__(self, value: typing.Any) -> None:
        self.value: typing.Any = value.value if isinstance(value, Hidden) else value

    def __repr__(self) -> str:
        return f"<hidden {type(self.value).__name__}>"


class _HiddenKeys(tuple[str | bytes, ...]):
    """A tuple of secret keys."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} hidden keys>"


def is_secret(name: str) -> bool:
    """Whether the option *name* may hold something that must not be shown, such as the passcode in a ``url``."""
    return name in _SECRET_OPTIONS


def hide_secret(name: str, value: typing.Any) -> typing.Any:
    """Return *value* with a ``repr`` that hides it, if the option *name* is secret and it is a text or a list."""
    if not is_secret(name):
        return value
    if isinstance(value, str):
        return Secret(value)
    return _HiddenKeys(value) if isinstance(value, list | tuple) else value


def hide_secrets(
    options: typing.Mapping[str, typing.Any], name_of: typing.Callable[[str], str] = str
) -> dict[str, typing.Any]:
    """Return *options* with the secret ones hidden; *name_of* gives an option's name for what is written."""
    return {written: hide_secret(name_of(written), value) for written, value in options.items()}
