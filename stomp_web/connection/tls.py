"""The TLS settings of a connection: verified, against the system's authorities or the one that is named."""

from __future__ import annotations

import typing
import warnings

from ..config import TLS_OPTIONS
from ..errors import ConfigurationError

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["TLS_OPTIONS", "InsecureConnectionWarning", "tls_context"]


class InsecureConnectionWarning(UserWarning):
    """TLS is used without verifying the broker's certificate, because `tls_insecure_skip_verify` asks for it."""


def tls_context(
    ssl: bool | ssl_module.SSLContext | None,
    *,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_key_password: str | None = None,
    tls_insecure_skip_verify: bool = False,
) -> ssl_module.SSLContext | None:
    """Return the context for the settings, or ``None`` for a connection without TLS.

    * *ssl* - ``True`` for TLS that verifies certificate and host name; an ``ssl.SSLContext`` is used as it is.
    * *tls_ca* - a PEM file of the authorities to trust; without it, the system's.
    * *tls_cert*, *tls_key* - PEM files of the client's own certificate and its key.
    * *tls_key_password* - the password of the key, if the file is encrypted. OpenSSL never asks for it on the terminal.
    * *tls_insecure_skip_verify* - accept any certificate, and so anybody who can reach the wire. It warns, with an
      `InsecureConnectionWarning`.

    Raises `ConfigurationError` if a file cannot be used, or is named for a connection without TLS.
    """
    named = {
        "tls_ca": tls_ca,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_key_password": tls_key_password,
        "tls_insecure_skip_verify": tls_insecure_skip_verify or None,
    }
    given = [name for name, value in named.items() if value is not None]
    if not ssl:
        if given:
            raise ConfigurationError(
                f"{given[0]} has no effect without TLS; begin the address with stomp+ssl:// (or pass ssl=True)",
                given[0],
            )
        return None
    # Imported here: a connection without TLS does not pay for it (about 10 ms at start).
    import ssl as ssl_module

    if isinstance(ssl, ssl_module.SSLContext):
        if given:
            raise ConfigurationError(
                f"{given[0]} has no effect beside an SSLContext; load it into the context", given[0]
            )
        return ssl
    if tls_key is not None and tls_cert is None:
        raise ConfigurationError(
            "tls_key is given without tls_cert; name the certificate that the key is for", "tls_key"
        )
    if tls_key_password is not None and tls_cert is None:
        raise ConfigurationError(
            "tls_key_password is given without tls_cert; name the certificate and its key", "tls_key_password"
        )
    if tls_insecure_skip_verify and tls_ca is not None:
        raise ConfigurationError(
            "tls_insecure_skip_verify accepts any certificate, and tls_ca says which to accept; leave one of them out",
            "tls_insecure_skip_verify",
        )
    try:
        context = ssl_module.create_default_context(cafile=tls_ca)
    except OSError as error:  # SSLError is one
        raise _unusable("tls_ca", tls_ca, error.strerror or str(error)) from None
    if tls_cert is not None:
        _load_certificate(context, tls_cert, tls_key, tls_key_password)
    if tls_insecure_skip_verify:
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
    """Load the client's certificate and key into *context*. Raises `ConfigurationError` that names the option at fault.

    OpenSSL asks for a password only if the key is encrypted: by a callback, if it is given one, and otherwise on the
    terminal, where a server would wait for ever.
    """
    # The name of the key's option: without it, the key stands in the file of the certificate.
    option, file = ("tls_cert", certificate) if key is None else ("tls_key", key)
    _holds_key("tls_cert", certificate)
    holds_key = _holds_key(option, file)
    asked = False

    def answer() -> str:
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
        raise ConfigurationError(
            f"tls_key_password does not decrypt the key in the file {file!r}, which {option} names", "tls_key_password"
        )
    if not holds_key and key is not None:
        raise _unusable(option, file, "it holds no private key in PEM form")
    raise _unusable("tls_cert", certificate, problem)


def _holds_key(option: str, path: str) -> bool:
    """Whether there is a private key in the file. Raises `ConfigurationError` if it cannot be read."""
    try:
        with open(path, "rb") as readable:  # noqa: PTH123 - PathLike or str, as OpenSSL takes it
            return b"PRIVATE KEY-----" in readable.read()
    except OSError as error:
        problem = error.strerror or str(error)
    raise _unusable(option, path, problem)


def _unusable(option: str, file: object, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{option}: the file {file!r} cannot be used: {problem}", option)
