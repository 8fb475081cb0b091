"""The TLS settings of a connection. `tls_ca` replaces the system's certificate authorities."""

from __future__ import annotations

import typing
import warnings

from ..config import TLS_OPTIONS
from ..errors import ConfigurationError

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["TLS_OPTIONS", "InsecureConnectionWarning", "tls_context"]


class InsecureConnectionWarning(UserWarning):
    """The client does not verify the broker's certificate, because the option `tls_insecure_skip_verify` is on."""


def tls_context(
    ssl: bool | ssl_module.SSLContext | None, options: typing.Mapping[str, typing.Any]
) -> ssl_module.SSLContext | None:
    """Return the TLS context for *ssl* and the TLS options in *options*. ``None`` means a connection without TLS.

    Raises `ConfigurationError` for an unusable file, an option without effect, or contradictory options.
    """
    given = [name for name in TLS_OPTIONS if options[name] not in (None, False)]
    if not ssl:
        if given:
            without = "has no effect without TLS; begin the address with stomp+ssl:// (or pass ssl=True)"
            raise _refused(given[0], without)
        return None
    # Imported here, so that a program without TLS saves the import (about 10 ms).
    import ssl as ssl_module

    if isinstance(ssl, ssl_module.SSLContext):
        if given:
            raise _refused(given[0], "has no effect beside an SSLContext; load it into the context")
        return ssl
    authorities, certificate, key, password, insecure = (options[name] for name in TLS_OPTIONS)
    if key is not None and certificate is None:
        raise _refused("tls_key", "is given without tls_cert; name the certificate that the key is for")
    if password is not None and certificate is None:
        raise _refused("tls_key_password", "is given without tls_cert; name the certificate and its key")
    if insecure and authorities is not None:
        raise _refused(
            "tls_insecure_skip_verify",
            "accepts any certificate, and tls_ca says which to accept; leave one of them out",
        )
    try:
        context = ssl_module.create_default_context(cafile=authorities)
    except OSError as error:  # SSLError is an OSError
        raise _unusable("tls_ca", authorities, error.strerror or str(error)) from None
    if certificate is not None:
        _load_certificate(context, certificate, key, password)
    if insecure:
        warnings.warn(
            "tls_insecure_skip_verify is on: the broker's certificate is not verified, and anybody on the way can read "
            "and change messages and passcode. To trust an authority of your own, use tls_ca instead.",
            InsecureConnectionWarning,
            stacklevel=2,
        )
        context.check_hostname = False
        context.verify_mode = ssl_module.CERT_NONE
    return context


def _load_certificate(context: ssl_module.SSLContext, certificate: str, key: str | None, password: str | None) -> None:
    """Load the client's certificate and its key. If *key* is ``None``, the key is in the file of the certificate.

    Raises `ConfigurationError`, which names the wrong option.
    """
    option, file = ("tls_cert", certificate) if key is None else ("tls_key", key)
    _holds_key("tls_cert", certificate)
    holds_key = _holds_key(option, file)
    asked = False

    def answer() -> str:  # otherwise OpenSSL asks on the terminal, and a server waits for ever
        nonlocal asked
        asked = True
        return password or ""

    try:
        context.load_cert_chain(certificate, key, answer)
        return
    except (OSError, ValueError) as error:  # SSLError is an OSError; ValueError: a password over 1,024 bytes
        problem = getattr(error, "strerror", None) or str(error)
        reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        raise _unusable(option, file, f"it is not the key of the certificate in {certificate!r}")
    if asked and password is None:
        raise ConfigurationError(
            f"{option}: the key in the file {file!r} is encrypted; give its password in the option tls_key_password, "
            "or write the key without one (openssl pkey)",
            option,
        )
    if asked:
        raise _refused("tls_key_password", f"does not decrypt the key in the file {file!r}, which {option} names")
    if not holds_key and key is not None:
        raise _unusable(option, file, "it holds no private key in PEM form")
    raise _unusable("tls_cert", certificate, problem)


def _holds_key(option: str, path: str) -> bool:
    try:
        with open(path, "rb") as readable:  # noqa: PTH123 - PathLike or str, as OpenSSL takes it
            return b"PRIVATE KEY-----" in readable.read()
    except OSError as error:
        problem = error.strerror or str(error)
    raise _unusable(option, path, problem)


def _refused(option: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{option} {problem}", option)


def _unusable(option: str, file: object, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{option}: the file {file!r} cannot be used: {problem}", option)
