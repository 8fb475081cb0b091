"""WebTest's client. WebOb still imports `cgi`, which Python 3.11 and 3.12 announce to be removed."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from webtest import TestApp as Browser

__all__ = ["Browser"]
