"""The messages of one request, for the panels of debug toolbars. No framework is imported here.

* `stomp_web.django.debug_toolbar.StompPanel` is the panel for django-debug-toolbar.
* `stomp_web.flask.debug_toolbar.StompPanel` is the panel for Flask-DebugToolbar.

Both use one collector (`collector`), which is an observer of publishers, and one table (`report`). Without a panel,
nothing here is imported. Outside of a request, the collector does not listen, and no events are made for it.
"""

from .collector import Collection, watch
from .report import Report, make_report

__all__ = ["Collection", "Report", "make_report", "watch"]
