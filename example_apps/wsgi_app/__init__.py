"""The example without a framework. Start it with ``python -m example_apps.wsgi_app``."""

from .app import create_app

__all__ = ["create_app"]
