"""The app for real servers."""

from __future__ import annotations

import os

from tests.flask.shop import create_app

application = create_app(STOMP_URL=os.environ["STOMP_TEST_URL"])
