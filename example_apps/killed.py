"""Places one order with the Flask example, and stops between its commit and the sending: the demo kills it there.

It prints a line when it has committed. The environment names the broker and the database.
"""

from __future__ import annotations

import os
import sys

from sqlalchemy import event
from sqlalchemy.orm import Session

from example_apps.flask_app import create_app


def main() -> None:
    app = create_app()
    event.listen(Session, "after_commit", wait_to_be_killed)
    app.test_client().post("/orders", data=dict(each.split("=", 1) for each in sys.argv[1:]))


def wait_to_be_killed(_: Session) -> None:
    """The database has committed, and the outbox has not sent yet."""
    print("committed", flush=True)
    sys.stdin.read()  # it ends when the demo does
    os._exit(1)


if __name__ == "__main__":
    main()
