"""The examples in docstrings, which the API reference shows, do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import stomp_web

# Django's need a project: those of docs/how-to/django.md have one. `__main__` would run the command.
LEFT_OUT = ("stomp_web.django", "stomp_web.__main__")
MODULES = [module.name for module in pkgutil.walk_packages(stomp_web.__path__, "stomp_web.", onerror=lambda name: None)]


# Modules that cannot be imported without an optional package.
NEEDS = {
    "stomp_web.flask": "flask",
    "stomp_web.flask.debug_toolbar": "flask_debugtoolbar",
    "stomp_web.sqlalchemy": "sqlalchemy",
    **dict.fromkeys(
        (f"stomp_web.telemetry.{name}" for name in ("handling", "meters", "sends", "targets")), "opentelemetry"
    ),
    "stomp_web.telemetry.instrumentor": "opentelemetry.instrumentation",
    "stomp_web.telemetry.prometheus": "prometheus_client",
}


@pytest.mark.parametrize("name", ["stomp_web", *sorted(name for name in MODULES if not name.startswith(LEFT_OUT))])
def test_the_examples_of_the_module_are_true(name: str) -> None:
    for module, package in NEEDS.items():
        if name.startswith(module):
            pytest.importorskip(package)
    module = importlib.import_module(name)
    assert not doctest.testmod(module).failed
