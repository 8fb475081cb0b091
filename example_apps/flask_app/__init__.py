"""The Flask example. Start it with ``flask --app example_apps.flask_app run``."""

import importlib.util

if importlib.util.find_spec("flask_sqlalchemy") is None:
    raise SystemExit("The Flask example needs Flask-SQLAlchemy: pip install flask-sqlalchemy")

from . import handlers  # noqa: F401 - it subscribes
from .app import create_app

__all__ = ["create_app"]
