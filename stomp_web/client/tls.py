"""The TLS settings of a connection: verified, against the system's authorities or the one that is named."""

from __future__ import annotations

import typing
import warnings

from ..errors import ConfigurationError

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["TLS_OPTIONS", "InsecureConnectionWarning", "tls_context"]

#: The names of the options that say how TLS is done.
TLS_OPTIONS: typing.Final = ("tls_ca", "tls_cert", "tls_key", "tls_insecure_skip_verify")


class InsecureConnectionWarning(UserWarning):
    """TLS is used without verifying the broker's certificate, because `tls_insecure_skip_verify` asks for it."""


def tls_context(
    ssl: bool | ssl_module.SSLContext | None,
    *,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_insecure_skip_verify: bool = False,
) -> ssl_module.SSLContext | None:
    """Return the context for the settings, or ``None`` for a connection without TLS.

    * *ssl* - ``True`` for TLS that verifies certificate and host name; an ``ssl.SSLContext`` is used as it is.
    * *tls_ca* - a PEM file of the authorities to trust; without it, the system's.
    * *tls_cert*, *tls_key* - PEM files of the client's own certificate and its key.
    * *tls_insecure_skip_verify* - accept any certificate, and so anybody who can reach the wire. It warns, with an
      `InsecureConnectionWarning`.

    Raises `ConfigurationError` if a file cannot be used, or is named for a connection without TLS.
    """
    named = {
        "tls_ca": tls_ca,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
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
    if tls_insecure_skip_verify and tls_ca is not None:
        raise ConfigurationError(
            "tls_insecure_skip_verify accepts any certificate, and tls_ca says which to accept; leave one of them out",
            "tls_insecure_skip_verify",
        )
    name = "tls_ca"
    try:
        context = ssl_module.create_default_context(cafile=tls_ca)
        if tls_cert is not None:
            name = "tls_cert"
            context.load_cert_chain(tls_cert, tls_key)
    except OSError as error:  # SSLError is one
        raise ConfigurationError(
            f"{name}: the file {named[name]!r} cannot be used: {error.strerror or error}", name
        ) from None
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
