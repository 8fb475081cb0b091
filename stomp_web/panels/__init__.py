"""The messages of one request, for the panels of debug toolbars. This package imports no framework.

* `stomp_web.django.debug_toolbar.StompPanel` is the panel for django-debug-toolbar.
* `stomp_web.flask.debug_toolbar.StompPanel` is the panel for Flask-DebugToolbar.

Both panels use the observer in `collector`, and the table in `report`. A program without a panel does not import this
package. Outside of a request, the observer does not listen, and publishers make no events for the observer.
"""

from .collector import Collection, watch
from .report import Report, make_report

__all__ = ["Collection", "Report", "make_report", "watch"]
