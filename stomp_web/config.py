"""The options of stomp-web: one typed set, wherever they are read from.

Keywords, the query of an address, Flask's config, Django's settings and PasteDeploy's strings all name the same
options and pass through the same checks here. An option that is unknown or has a bad value is refused with the
name that the user wrote, and with the nearest name that exists.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing

from ._internal.printable import short_repr
from ._internal.redacted import is_secret, redact_secret, redact_secrets
from ._internal.unsendable import check_headers
from .errors import ConfigurationError, InvalidFrame
from .protocol import commands, encode
from .protocol.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS

__all__ = [
    "CONNECTION_OPTIONS",
    "LIMIT_OPTIONS",
    "OPTIONS",
    "Option",
    "Options",
    "coerce",
    "option_name",
    "read_options",
    "read_seconds",
    "whole_number",
]

# The largest whole number of an option: the brokers read heart-beats as Java's or Erlang's 32-bit integers.
LARGEST_COUNT: typing.Final = 2**31 - 1

_TRUE = frozenset(("true", "yes", "on", "1"))
_FALSE = frozenset(("false", "no", "off", "0"))


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """What one option is: its `name`, how a value is read (`read`), its `default`, `unit` and `meaning`."""

    name: str
    read: typing.Callable[[typing.Any], typing.Any]
    default: typing.Any
    unit: str
    meaning: str


def _seconds(value: typing.Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError("must be a number of seconds, such as 5 or 0.5") from None
    return read_seconds(value)


def read_seconds(value: object) -> float:
    """Return a duration as a ``float``. Raises `ValueError`, saying what a duration is, for anything else.

    A duration is an ``int`` or ``float`` that is finite and greater than 0, and no ``bool``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of seconds")
    if not 0 < value < math.inf:
        raise ValueError("must be a number of seconds greater than 0; there is no way to wait for ever")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("must be a number of seconds, such as 5 or 0.5") from None


def whole_number(name: str, value: object, least: int, most: int = LARGEST_COUNT) -> int:
    """Return *value* if it is an ``int`` from *least* to *most*, and no ``bool``.

    Raises `ConfigurationError` that names the argument *name*.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(
            f"{name} must be a whole number, {least} or more and at most {most}, not {short_repr(value)}", name
        )
    return value


def _count(least: int) -> typing.Callable[[typing.Any], int]:
    def read(value: typing.Any) -> int:
        if isinstance(value, str) and len(value) < 20 and value.strip().isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number, {least} or more")
        if value > LARGEST_COUNT:
            raise ValueError(f"must be a whole number, {least} or more and at most {LARGEST_COUNT}")
        return value

    return read


def _flag(value: typing.Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else None
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("must be true or false")


def _text(value: typing.Any) -> str:
    if not isinstance(value, str):
        # Whoever reads environment variables as JSON, as Flask does, gets a number for a passcode of digits.
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
    if value is not None and hasattr(value, "__fspath__"):
        value = value.__fspath__()
    return _optional_text(value)


def _heart_beat(value: typing.Any) -> tuple[int, int]:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        sends, wants = (_count(0)(part.strip() if isinstance(part, str) else part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError("must be two whole numbers of milliseconds, such as (0, 10000) or '0,10000'") from None
    return sends, wants


def _headers(value: typing.Any) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [line.partition("=") for line in value.replace("\n", ",").split(",") if line.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("must be name=value pairs, divided by commas")
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, typing.Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    ):
        raise ValueError("must be a mapping of str to str")
    headers: dict[str, str] = dict(value)
    if "x-message-id" in headers:
        raise ValueError("must not hold x-message-id: all messages would have the same id")
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


#: Every option by its name.
OPTIONS: typing.Final[dict[str, Option]] = {
    option.name: option
    for option in (
        Option("url", _address, "stomp://127.0.0.1:61613", "", "The address of the broker or brokers."),
        Option("login", _optional_text, None, "", "The user; overrides the one in the address."),
        Option("passcode", _optional_text, None, "", "The password; overrides the one in the address."),
        Option("vhost", _optional_text, None, "", "The virtual host; overrides the one in the address."),
        Option(
            "pool_size",
            _count(1),
            8,
            "connections",
            "How many connections a process opens at the most. A pool calls it max_size, which is accepted too.",
        ),
        Option("timeout", _seconds, 5.0, "seconds", "The deadline of one call, over everything that it does."),
        Option(
            "connect_timeout", _seconds, 5.0, "seconds", "How long opening one connection may take, within `timeout`."
        ),
        Option("confirm", _flag, True, "", "Whether each send waits for the broker's receipt."),
        Option("persistent", _flag, True, "", "Whether messages survive a restart of the broker."),
        Option("serializer", _text, "json", "", "The name of the serializer for payloads."),
        Option("max_idle", _seconds, 45.0, "seconds", "How long a connection may lie unused before it is replaced."),
        Option("max_lifetime", _seconds, 3600.0, "seconds", "How old a connection may become before it is replaced."),
        Option("max_waiting", _count(0), 0, "callers", "How many may wait for a connection; 0 means any number."),
        Option(
            "resend_unknown",
            _flag,
            False,
            "",
            "Whether a message with unknown outcome is sent again, with the same x-message-id (at least once).",
        ),
        Option("heart_beat", _heart_beat, (0, 0), "milliseconds", "What CONNECT offers: beats sent, beats wanted."),
        Option(
            "max_header_bytes",
            _count(1),
            MAX_HEADER_BYTES,
            "bytes",
            "The largest head, command and headers, of a message that is taken whole. For clients that receive, and "
            "workers; a publisher receives no messages.",
        ),
        Option(
            "max_headers",
            _count(1),
            MAX_HEADERS,
            "headers",
            "The most headers of a message that is taken whole. For clients that receive, and workers.",
        ),
        Option(
            "max_body_bytes",
            _count(0),
            MAX_BODY_BYTES,
            "bytes",
            "The largest body of a message that is taken whole. For clients that receive, and workers.",
        ),
        Option("tls_ca", _path, None, "path", "A PEM file of the authorities to trust instead of the system's."),
        Option("tls_cert", _path, None, "path", "A PEM file with the client's certificate."),
        Option("tls_key", _path, None, "path", "A PEM file with the key of `tls_cert`, if it is not in that file."),
        Option("tls_key_password", _optional_text, None, "", "The password of the key, if its file is encrypted."),
        Option(
            "tls_insecure_skip_verify",
            _flag,
            False,
            "",
            "Accept any certificate, so that anybody on the way can read and change what is sent. It warns.",
        ),
        Option("headers", _headers, {}, "", "Headers that every message gets."),
        Option(
            "signing_keys", _keys, (), "", "Secret keys of the signed serializers; the first one signs, all verify."
        ),
    )
}

#: The limits on what a client that receives takes whole.
LIMIT_OPTIONS: typing.Final = ("max_header_bytes", "max_headers", "max_body_bytes")

#: The options of one connection, as one that receives has it; the others are a publisher's, or a pool's.
CONNECTION_OPTIONS: typing.Final = (
    *("login", "passcode", "vhost", "timeout", "connect_timeout", "heart_beat"),
    *("tls_ca", "tls_cert", "tls_key", "tls_key_password", "tls_insecure_skip_verify"),
    *LIMIT_OPTIONS,
)


# How other libraries call what is a part of the address here, or another option.
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


# Names that other parts of stomp-web have for an option.
_SYNONYMS: typing.Final = {"max_size": "pool_size"}


def option_name(name: str) -> str:
    """Return the name of the option that is also called *name*: ``pool_size`` for a pool's ``max_size``."""
    return _SYNONYMS.get(name, name)


def coerce(name: str, value: typing.Any, written: str | None = None) -> typing.Any:
    """Return *value* as option *name* wants it; texts, as from an address or an ini file, are understood.

    *written* is the name as the user wrote it, for the error. Raises `ConfigurationError` if there is no such
    option, naming the nearest one, or if the value cannot be used; the value of a secret is never shown.
    """
    written = written or name
    option = OPTIONS.get(name)
    if option is None:
        raise unknown_option(written, written[: len(written) - len(name)])
    value = redact_secret(name, value)
    try:
        return redact_secret(name, option.read(value))
    except ValueError as error:
        problem = str(error)
    # Raised here and not above: an exception in whose context the other one stands would show that one's locals too.
    # A value with an '@' may be the rest of an address, with its passcode, that was not divided as its writer meant.
    shown = "" if is_secret(name) or (isinstance(value, str) and "@" in value) else f", not {short_repr(value)}"
    raise ConfigurationError(f"the option {written} {problem}{shown}", written)


def unknown_option(written: str, prefix: str = "", known: typing.Iterable[str] = OPTIONS) -> ConfigurationError:
    """The error for an option that does not exist, with the nearest name that does."""
    names = {name.lower(): prefix + (name.upper() if prefix and prefix.isupper() else name) for name in known}
    bare = written.removeprefix(prefix).lower()
    meant = _ELSEWHERE.get(bare, bare)
    near = [meant] if meant in names else difflib.get_close_matches(bare, names, n=1, cutoff=0.7)
    hint = f"the options are {', '.join(sorted(names.values()))}"
    if near:
        example = f", as in {_PARTS_OF_URL[bare]}" if near == ["url"] and bare in _PARTS_OF_URL else ""
        hint = f"did you mean {names[near[0]]}{example}?"
    return ConfigurationError(f"there is no option {written}; {hint}", written)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The checked options of one publisher. `OPTIONS` tells what each of them means."""

    url: str = dataclasses.field(default="stomp://127.0.0.1:61613", repr=False)
    login: str | None = None
    passcode: str | None = dataclasses.field(default=None, repr=False)
    vhost: str | None = None
    pool_size: int = 8
    timeout: float = 5.0
    connect_timeout: float = 5.0
    confirm: bool = True
    persistent: bool = True
    serializer: str = "json"
    max_idle: float = 45.0
    max_lifetime: float = 3600.0
    max_waiting: int = 0
    resend_unknown: bool = False
    heart_beat: tuple[int, int] = (0, 0)
    max_header_bytes: int = MAX_HEADER_BYTES
    max_headers: int = MAX_HEADERS
    max_body_bytes: int = MAX_BODY_BYTES
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_key_password: str | None = dataclasses.field(default=None, repr=False)
    tls_insecure_skip_verify: bool = False
    headers: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    signing_keys: tuple[str | bytes, ...] = dataclasses.field(default=(), repr=False)


def read_options(
    *sources: typing.Mapping[str, typing.Any], prefix: str = "", upper: bool = False
) -> dict[str, typing.Any]:
    """Return the options of all *sources*, checked; a later source wins over an earlier one.

    *prefix* (such as ``"STOMP_"``) and *upper* tell how the names are written in the sources; they are taken off.
    Raises `ConfigurationError` as `coerce` does.
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
