"""`health_blueprint`: the views that answer the probes of a Flask app."""

from __future__ import annotations

import functools
import typing

from flask import Blueprint, Response

from ..health import HealthCheck
from ..health.middleware import check_path
from ..health.report import HEADERS, LIVE, PATH, paths_below
from .state import state_of

if typing.TYPE_CHECKING:
    from flask.sansio.blueprints import BlueprintSetupState

__all__ = ["health_blueprint"]


def health_blueprint(
    *extensions: str, path: str = PATH, name: str = "stomp_health", **options: typing.Any
) -> Blueprint:
    """Return a blueprint with three views: *path*, *path* + ``/ready`` and *path* + ``/live``.

    The first two views answer 200 if the broker of each extension answers, and otherwise 503. The third view answers
    200, and asks no broker. Register the blueprint after `Stomp.init_app`. Several apps may share the blueprint.

    * *extensions* - the keys of one or several extensions in ``app.extensions``. The first two views ask the brokers of
      these extensions. Default: ``stomp``.
    * *path* - ``/healthz`` by default.
    * *name* - the name of the blueprint, and the first part of the names of its endpoints.
    * *options* - *timeout*, *max_age* and *details* of `HealthCheck`.

    Raises `ConfigurationError` for a bad path or option. Registering the blueprint raises `RuntimeError` for an
    extension that the app does not have.

    >>> from flask import Flask
    >>> from stomp_web.flask import Stomp
    >>> app = Flask("shop")
    >>> app.config["STOMP_URL"] = "memory://"
    >>> stomp = Stomp(app)
    >>> app.register_blueprint(health_blueprint())
    >>> app.test_client().get("/healthz").status_code
    200
    """
    paths = paths_below(check_path(path))
    HealthCheck(lambda _: None, **options)  # only for its errors
    blueprint = Blueprint(name, __name__)

    def add_views(setup: BlueprintSetupState) -> None:
        states = [state_of(setup.app, key) for key in extensions or ("stomp",)]  # type: ignore[arg-type]
        check = HealthCheck(*(state.publisher.check for state in states), **options)
        for rule, live_only in paths.items():
            endpoint = rule.rpartition("/")[2] if rule != path else "health"
            setup.add_url_rule(rule, endpoint, functools.partial(_answer, check, live_only))

    blueprint.record(add_views)
    return blueprint


def _answer(check: HealthCheck, live_only: bool) -> Response:
    report = LIVE if live_only else check()
    return Response(report.body(live_only), report.status(live_only), HEADERS)
