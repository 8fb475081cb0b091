"""Runs the development broker as a program of its own: once plain and once with TLS, until SIGTERM.

Called by `development.py` with host, port, TLS port, login, passcode, certificate and key.
"""

from __future__ import annotations

import signal
import ssl
import sys

from stomp_web.broker import Broker
from tests.brokers.development import DENIED


def main(host: str, port: str, tls_port: str, login: str, passcode: str, certificate: str, key: str) -> None:
    """Serve until SIGTERM. The two brokers do not share their messages."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, which the broker knows
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Broker(host, int(tls_port), login=login, passcode=passcode, denied=[DENIED], ssl=context):
        # In this thread: if the broker fails, the program ends, and whoever waits for it sees why.
        Broker(host, int(port), login=login, passcode=passcode, denied=[DENIED]).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
