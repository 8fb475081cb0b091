"""The rules by which the page's server refuses requests.

The server answers requests of its own page, and of programs that are not browsers. The server refuses requests of all
other web pages.

Every web page that a developer visits can make the browser send requests to this server. There are two ways:

* DNS rebinding: the host name of a foreign page changes its address to 127.0.0.1. Then scripts of that page may read
  the answers. A request of these scripts has the foreign name in ``Host``. This server accepts in ``Host`` only names
  of its own machine. If other machines can reach this server, ``Host`` may also be any IP address.
* Cross-site requests: a script, form or image of a foreign page has this server's URL. The foreign page cannot read the
  answer, but a POST could have an effect. So a POST must have the content type ``application/json``. For a foreign
  page, a browser sends this type only if the server gives permission. This server never gives permission. ``Origin``
  must be this server or absent. ``Sec-Fetch-Site`` must be ``same-origin``, ``none`` or absent. There is one exception:
  the browser may follow a link from any website to this server's page.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.parse
from email.message import Message

__all__ = ["HEADERS", "Access", "is_loopback"]

#: The headers of every answer.
HEADERS = {
    # No script, style or connection of another server, no inline script, no frame, and no text becomes markup.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach a server that listens on *host*."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


class Access:
    """The rules of a server that listens on *host*. `refusal` applies the rules to a request."""

    def __init__(self, host: str) -> None:
        self._names = {"localhost", "127.0.0.1", "::1", host.lower()}
        self._any_address = not is_loopback(host)
        if self._any_address:
            self._names.add(socket.gethostname().lower())

    def refusal(self, headers: Message, *, writes: bool, is_page: bool) -> str | None:
        """Return the reason why a request is refused, or ``None`` if the request is permitted.

        *writes* says whether the request has an effect. *is_page* says whether the request asks for the page itself.
        A request from another web page is refused, except if the browser follows a link to the page itself.
        """
        hosts = headers.get_all("Host", [])
        host = _name(hosts[0]) if len(hosts) == 1 else None
        if host is None or not self._knows(host):
            return f"this server is not {hosts[0][:100] if hosts else 'a server without a name'!r}; use its address"
        origins = headers.get_all("Origin", [])
        if origins and (len(origins) > 1 or origins[0].lower() != f"http://{hosts[0]}".lower()):
            return f"another web page asks ({origins[0][:100]!r})"
        site = headers.get("Sec-Fetch-Site", "same-origin")
        navigates = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        if site not in ("same-origin", "none") and not (is_page and navigates):
            return "another web page asks"
        if writes and headers.get_content_type() != "application/json":
            return "a POST must have the content type application/json"
        return None

    def _knows(self, host: str) -> bool:
        # A name of an attacker can lead here, an address cannot: the browser has connected to it.
        return host in self._names or (self._any_address and _address(host) is not None)


def _name(host: str) -> str | None:
    try:
        parts = urllib.parse.urlsplit(f"//{host}")
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
