"""The TLS settings of a connection: verified, against the system's authorities or the one that is named."""

from __future__ import annotations

import typing

from ..errors import ConfigurationError

if typing.TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["tls_context"]


def tls_context(
    ssl: bool | ssl_module.SSLContext | None,
    *,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
) -> ssl_module.SSLContext | None:
    """Return the context for the settings, or ``None`` for a connection without TLS.

    * *ssl* - ``True`` for TLS that verifies certificate and host name; an ``ssl.SSLContext`` is used as it is.
    * *tls_ca* - a PEM file of the authorities to trust; without it, the system's.
    * *tls_cert*, *tls_key* - PEM files of the client's own certificate and its key.

    Raises `ConfigurationError` if a file cannot be used, or is named for a connection without TLS.
    """
    named = {"tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
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
    return context
