"""The options of stomp-web, from keyword arguments, brokers' addresses, ini files, or settings of Flask and Django.

A `ConfigurationError` names the option in the user's spelling. For an unknown option, the error suggests valid names.
"""

# ruff: noqa: RUF009 - `_option` makes a dataclass field

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import sys
import typing

from ._internal.printable import short_repr
from ._internal.redacted import is_secret, redact_secret, redact_secrets
from ._internal.unsendable import check_headers
from .errors import ConfigurationError, InvalidFrame
from .protocol import commands, encode
from .protocol.buffer import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS

__all__ = [
    "CLIENT_TIMEOUT",
    "CONNECTION_OPTIONS",
    "DEFAULTS",
    "LIMIT_OPTIONS",
    "OPTIONS",
    "TLS_OPTIONS",
    "Option",
    "Options",
    "coerce",
    "option_name",
    "read_options",
    "read_seconds",
    "seconds",
    "whole_number",
]

# The largest whole number of an option. Brokers read heart-beats as 32-bit integers.
_LARGEST_COUNT: typing.Final = 2**31 - 1

_WORDS: typing.Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def read_seconds(value: object) -> float:
    """Return *value* as ``float``. Raises `ValueError` if *value* is not a finite number greater than 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of seconds, such as 5 or 0.5")
    if not 0 < value <= sys.float_info.max:
        raise ValueError("must be a number of seconds greater than 0; waiting for ever is not possible")
    return float(value)


def _seconds(value: typing.Any) -> float:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    return read_seconds(value)


def whole_number(name: str, value: object, minimum: int, maximum: int = _LARGEST_COUNT) -> int:
    """Return *value*.

    Raises a `ConfigurationError` for *name* if *value* is not an ``int`` from *minimum* to *maximum*.
    """
    try:
        return _checked_count(value, minimum, maximum)
    except ValueError as error:
        raise ConfigurationError(f"{name} {error}, not {short_repr(value)}", name) from None


def seconds(name: str, value: object) -> float:
    """Return *value* as ``float``. *value* is the value of the option *name*.

    Raises `ConfigurationError` with the option's name if *value* is not a finite number above 0.
    """
    try:
        return read_seconds(value)
    except ValueError as error:
        raise ConfigurationError(f"{name} {error}, not {short_repr(value)}", name) from None


def _checked_count(value: object, minimum: int, maximum: int = _LARGEST_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise ValueError(f"must be a whole number, {minimum} or more and at most {maximum}")
    return value


def _count(value: typing.Any, minimum: int = 1) -> int:
    if isinstance(value, str) and len(value) < 20 and value.strip().isdecimal():
        value = int(value)
    return _checked_count(value, minimum)


_number = functools.partial(_count, minimum=0)


def _flag(value: typing.Any) -> bool:
    if isinstance(value, str):
        value = _WORDS.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _text(value: typing.Any) -> str:
    if not isinstance(value, str):
        # Flask reads environment variables as JSON, so a passcode of digits becomes a number.
        raise ValueError(f"must be a text, not of type {type(value).__name__}; write it in quotes")
    if not value.strip():
        raise ValueError("must be a text that is not empty")
    return value


def _address(value: typing.Any) -> str:
    if isinstance(value, list | tuple):
        raise ValueError("must be one text, not a list; write several brokers in it, as in stomp://mq1,mq2")
    return _text(value)


def _optional_text(value: typing.Any) -> str | None:
    return None if value is None else _text(value)


def _path(value: typing.Any) -> str | None:
    return _optional_text(value.__fspath__() if hasattr(value, "__fspath__") else value)


def _heart_beat(value: typing.Any) -> tuple[int, int]:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        sends, wants = map(_number, parts)
    except (TypeError, ValueError):
        raise ValueError("must be two whole numbers of milliseconds, such as (0, 10000) or '0,10000'") from None
    return sends, wants


def _headers(value: typing.Any) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [line.partition("=") for line in value.replace("\n", ",").split(",") if line.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("must be name=value pairs, separated by commas")
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, typing.Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    ):
        raise ValueError("must be a mapping of str to str")
    headers: dict[str, str] = dict(value)
    if "x-message-id" in headers:
        raise ValueError("must not contain x-message-id: all messages would have the same id")
    try:
        encode(commands.send("/queue/any", b"", headers))
        check_headers(headers)
    except InvalidFrame as error:
        raise ValueError(f"cannot be sent: {error}") from None
    return headers


def _keys(value: typing.Any) -> tuple[str | bytes, ...]:
    if isinstance(value, str):
        value = [key.strip() for key in value.split(",") if key.strip()]
    elif isinstance(value, bytes):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(key, str | bytes) and key for key in value):
        raise ValueError("must be a list of secret keys, the one to sign with first")
    return tuple(value)


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """The description of one option. The function `read` checks and converts a value."""

    name: str
    read: typing.Callable[[typing.Any], typing.Any]
    default: typing.Any
    unit: str
    meaning: str


def _option(
    read: typing.Callable[[typing.Any], typing.Any], default: typing.Any, unit: str, meaning: str, *, shown: bool = True
) -> typing.Any:
    """Return a field of `Options`. *default* is the default value, or a function that returns the default value.

    *shown* - whether the ``repr`` of `Options` shows the value.
    """
    given: dict[str, typing.Any] = {"default_factory" if callable(default) else "default": default}
    return dataclasses.field(**given, repr=shown, metadata={"read": read, "unit": unit, "meaning": meaning})


_secret = functools.partial(_option, shown=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The checked options of one publisher. ``Options()`` holds the defaults, and `OPTIONS` describes each option."""

    url: str = _secret(_address, "stomp://127.0.0.1:61613", "", "The address of the broker or brokers.")
    login: str | None = _option(_optional_text, None, "", "The user; overrides the one in the address.")
    passcode: str | None = _secret(_optional_text, None, "", "The password; overrides the one in the address.")
    vhost: str | None = _option(_optional_text, None, "", "The virtual host; overrides the one in the address.")
    pool_size: int = _option(_count, 8, "connections", "The most connections of a process. A pool calls it max_size.")
    timeout: float = _option(_seconds, 5.0, "seconds", "The deadline of one call, over everything that it does.")
    connect_timeout: float = _option(_seconds, 5.0, "seconds", "The limit for opening a connection, within `timeout`.")
    confirm: bool = _option(_flag, True, "", "Whether each send waits for the broker's receipt.")
    persistent: bool = _option(_flag, True, "", "Whether messages survive a restart of the broker.")
    serializer: str = _option(_text, "json", "", "The name of the serializer for payloads.")
    max_idle: float = _option(_seconds, 45.0, "seconds", "How long a connection may be idle before it is replaced.")
    max_lifetime: float = _option(_seconds, 3600.0, "seconds", "How old a connection may become, give or take 10 %.")
    max_waiting: int = _option(_number, 0, "callers", "How many may wait for a connection; 0 means any number.")
    resend_unknown: bool = _option(
        _flag, False, "", "Whether to send a message of unknown outcome again, under its x-message-id (at least once)."
    )
    heart_beat: tuple[int, int] = _option(
        _heart_beat, (0, 0), "milliseconds", "The intervals to offer: of beats sent, of beats wanted."
    )
    max_header_bytes: int = _option(_count, MAX_HEADER_BYTES, "bytes", "The largest head that a receiver takes whole.")
    max_headers: int = _option(_count, MAX_HEADERS, "headers", "The most headers that a receiver takes whole.")
    max_body_bytes: int = _option(_number, MAX_BODY_BYTES, "bytes", "The largest body that a receiver takes whole.")
    tls_ca: str | None = _option(_path, None, "path", "A PEM file of the authorities to trust, not the system's.")
    tls_cert: str | None = _option(_path, None, "path", "A PEM file with the client's certificate.")
    tls_key: str | None = _option(_path, None, "path", "A PEM file with the key of `tls_cert`, if it is not in there.")
    tls_key_password: str | None = _secret(_optional_text, None, "", "The password of the key, if it is encrypted.")
    tls_insecure_skip_verify: bool = _option(_flag, False, "", "Accept any certificate, even an attacker's. It warns.")
    headers: dict[str, str] = _secret(_headers, dict, "", "Headers that every message gets.")
    signing_keys: tuple[str | bytes, ...] = _secret(
        _keys, (), "", "Secret keys for signed messages; the first one signs, all verify."
    )
    telemetry: bool = _option(_flag, False, "", "Whether to make spans and metrics of OpenTelemetry (extra otel).")


#: The default of every option. Constructors use the same defaults for arguments of the same names.
DEFAULTS: typing.Final = Options()

#: The default `timeout`, in seconds, of a client without a pool.
CLIENT_TIMEOUT: typing.Final = 10.0

#: Every option by its name.
OPTIONS: typing.Final[dict[str, Option]] = {
    field.name: Option(field.name, default=getattr(DEFAULTS, field.name), **field.metadata)
    for field in dataclasses.fields(Options)
}

#: The limits of a receiving client. The client truncates a message over a limit.
LIMIT_OPTIONS: typing.Final = ("max_header_bytes", "max_headers", "max_body_bytes")

#: The options of TLS.
TLS_OPTIONS: typing.Final = ("tls_ca", "tls_cert", "tls_key", "tls_key_password", "tls_insecure_skip_verify")

#: The options of a connection that receives. All other options belong to a publisher or a pool.
CONNECTION_OPTIONS: typing.Final = (
    *("login", "passcode", "vhost", "timeout", "connect_timeout", "heart_beat"),
    *TLS_OPTIONS,
    *LIMIT_OPTIONS,
)

# Names that other libraries use for parts of the address (with an example) and for options.
_PARTS_OF_URL: typing.Final = {
    **dict.fromkeys(("host", "hostname", "server", "broker", "port"), "stomp://localhost:61613"),
    **dict.fromkeys(("ssl", "tls", "use_ssl", "use_tls"), "stomp+ssl://localhost:61614"),
}
_ELSEWHERE: typing.Final = {
    **dict.fromkeys(_PARTS_OF_URL, "url"),
    **dict.fromkeys(("address", "uri"), "url"),
    **dict.fromkeys(("user", "username"), "login"),
    **dict.fromkeys(("password", "passwd"), "passcode"),
    "virtual_host": "vhost",
}

# Other names of options in stomp-web.
_SYNONYMS: typing.Final = {"max_size": "pool_size"}


def option_name(name: str) -> str:
    """Return the main name of the option *name*. For a pool's ``max_size``, the main name is ``pool_size``."""
    return _SYNONYMS.get(name, name)


def coerce(name: str, value: typing.Any, written: str | None = None) -> typing.Any:
    """Check *value* for the option *name*, and return the converted value.

    *value* may be a text from an address or an ini file. *written* is the name that the user has written, such as
    ``STOMP_TIMEOUT``. By default, *written* is *name*. Raises `ConfigurationError` if the option does not exist or
    *value* is wrong. The error shows *written*, but not a secret value.
    """
    written = written or name
    option = OPTIONS.get(name)
    if option is None:
        raise unknown_option(written, written[: len(written) - len(name)])
    value = redact_secret(name, value)
    try:
        return redact_secret(name, option.read(value))
    except ValueError as error:
        # A value with an '@' may be a part of an address that was split in the wrong place, with a passcode.
        hidden = is_secret(name) or (isinstance(value, str) and "@" in value)
        shown = "" if hidden else f", not {short_repr(value)}"
        raise ConfigurationError(f"the option {written} {error}{shown}", written) from None


def unknown_option(written: str, prefix: str = "", known: typing.Iterable[str] = OPTIONS) -> ConfigurationError:
    """Return the error for an unknown option, which has the name *written*.

    The error suggests a similar name, or lists all valid names. The valid names are *prefix* followed by a name in
    *known*.
    """
    names = {name.lower(): prefix + (name.upper() if prefix.isupper() else name) for name in known}
    bare = written.removeprefix(prefix).lower()
    meant = _ELSEWHERE.get(bare, bare)
    near = [meant] if meant in names else difflib.get_close_matches(bare, names, n=1, cutoff=0.7)
    hint = f"the options are {', '.join(sorted(names.values()))}"
    if near:
        example = f", as in {_PARTS_OF_URL[bare]}" if near == ["url"] and bare in _PARTS_OF_URL else ""
        hint = f"did you mean {names[near[0]]}{example}?"
    return ConfigurationError(f"there is no option {written}; {hint}", written)


def read_options(
    *sources: typing.Mapping[str, typing.Any], prefix: str = "", upper: bool = False
) -> dict[str, typing.Any]:
    """Return the checked options of all *sources*. A later source overrides an earlier source.

    The names in *sources* begin with *prefix*, such as ``"STOMP_"``. If *upper* is true, the names are in upper case.
    """
    options: dict[str, typing.Any] = {}
    names: typing.Callable[[str], str] = str.lower if upper else str
    for source in [redact_secrets(source, lambda written: names(written.removeprefix(prefix))) for source in sources]:
        read_from: dict[str, str] = {}
        for written in source:
            name = option_name(names(written.removeprefix(prefix)))
            if name in read_from:
                raise ConfigurationError(
                    f"{read_from[name]} and {written} are two names of one option; give one of them", written
                )
            read_from[name] = written
            options[name] = coerce(name, source[written], written)
    return options
