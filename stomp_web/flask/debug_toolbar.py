"""`StompPanel`: a panel of Flask-DebugToolbar with the messages that a request has sent.

Importing this module needs Flask-DebugToolbar. Without it, `ImportError` is raised.
"""

from __future__ import annotations

import typing

import flask
from flask.globals import request_ctx

from ..panels.collector import Collection, current, watch
from ..panels.report import TITLE, make_report, template
from .state import StompState

if typing.TYPE_CHECKING:
    from jinja2 import Environment
    from werkzeug import Request

try:
    from flask_debugtoolbar.panels import DebugPanel
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "flask_debugtoolbar":
        raise
    raise ImportError(
        "stomp_web.flask.debug_toolbar needs Flask-DebugToolbar, which is not installed: "
        "pip install flask-debugtoolbar",
        name="flask_debugtoolbar",
    ) from None

__all__ = ["StompPanel"]

# The key of the request's collection in the WSGI environment.
_KEY: typing.Final = "stomp_web.panel"


class _Messages(Collection):
    """The messages of one request. `context` is Flask's request context, or ``None`` before and after the request."""

    def __init__(self) -> None:
        super().__init__()
        self.context: object = None

    def is_left_over(self) -> bool:
        """Return whether the request has ended, but the function `_end` of this module was not called for the request.

        The cause is an error in the application.
        """
        # Flask has no public name for this. It keeps one token for each time that the context was entered.
        return not getattr(self.context, "_cv_tokens", True)


class StompPanel(DebugPanel):
    """The panel for ``DEBUG_TB_PANELS``. It shows the messages that publishers sent during the request.

    A row has the destination, the outcome, the duration of the call, the size of the body in bytes, and the message id.
    The panel does not show messages that were sent before the request, after the response or by the application's own
    threads.
    """

    name = "STOMP"
    has_content = True

    def __init__(self, jinja_env: Environment, context: dict[str, typing.Any] | None = None) -> None:
        super().__init__(jinja_env, context)
        self._collection = _Messages()

    @classmethod
    def init_app(cls, app: flask.Flask) -> None:
        """Observe the publishers of *app*, and all publishers made later. Flask-DebugToolbar calls this method."""
        _watch(app)

    def process_request(self, request: Request) -> None:
        """Begin to record messages."""
        # Again, because `init_app` was not called if the panel was added to the configuration after the extension.
        _watch(flask.current_app)
        left = current()
        if isinstance(left, _Messages) and left.is_left_over():
            left.end()
        self._collection.context = _context()
        request.environ[_KEY] = self._collection
        self._collection.begin()

    def nav_title(self) -> str:
        """Return the title in the toolbar."""
        return self.name

    def nav_subtitle(self) -> str:
        """Return a text such as ``3 messages in 4.2 ms``."""
        return make_report(self._collection)["subtitle"]

    def title(self) -> str:
        """Return the title of the panel."""
        return TITLE

    def url(self) -> str:
        """Return an empty text, because the toolbar shows this panel inside the application's page."""
        return ""

    def content(self) -> str:
        """Return the table of messages as HTML."""
        return self.jinja_env.from_string(template()).render(make_report(self._collection))


def _context() -> object:
    return request_ctx._get_current_object()  # type: ignore[attr-defined]


def _watch(app: flask.Flask) -> None:
    watch(*(state.publisher for state in app.extensions.values() if isinstance(state, StompState)))


@flask.request_tearing_down.connect
def _end(_app: flask.Flask, **_: object) -> None:
    # The toolbar tells its panels of a response only if it is HTML. This function is called after every request.
    # A copy of the request's context, and a second context of the same environment, may end before the request does.
    collection: _Messages | None = flask.request.environ.get(_KEY)
    if collection is not None and collection.context is _context():
        del flask.request.environ[_KEY]
        collection.context = None
        collection.end()
