"""The loggers of the library. They say nothing unless the application has set up logging."""

from __future__ import annotations

import logging

__all__ = ["get_logger"]

logging.getLogger("stomp_web").addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """Return the logger ``stomp_web.NAME``."""
    return logging.getLogger(f"stomp_web.{name}")
