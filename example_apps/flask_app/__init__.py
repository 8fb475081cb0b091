"""The Flask example. Start it with ``flask --app example_apps.flask_app run``."""

from . import handlers  # noqa: F401 - it subscribes
from .app import create_app

__all__ = ["create_app"]
