"""Serves the example with Python's own server: ``python -m example_apps.wsgi_app [PORT]``."""

import contextlib
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from .app import create_app


class Server(ThreadingMixIn, WSGIServer):
    """Each request in a thread of its own; the publisher's pool is for all of them."""

    daemon_threads = True


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8002
    with (
        make_server("127.0.0.1", port, create_app(), server_class=Server) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(f"Orders are taken at http://127.0.0.1:{server.server_port}/ - Ctrl-C ends it.", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
