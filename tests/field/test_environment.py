"""The environment of a Flask app in a cluster, where others set variables with the same prefix."""

from __future__ import annotations

import pytest
from flask import Flask

from stomp_web import ConfigurationError
from stomp_web.flask import Stomp

SERVICE = {
    "STOMP_SERVICE_HOST": "10.0.0.7",
    "STOMP_SERVICE_PORT": 61613,  # from_prefixed_env() reads numbers
    "STOMP_SERVICE_PORT_STOMP": "61613",
    "STOMP_SERVICE_PORT_WEB_UI": "15672",
    "STOMP_PORT": "tcp://10.0.0.7:61613",
    "STOMP_PORT_61613_TCP": "tcp://10.0.0.7:61613",
    "STOMP_PORT_61613_TCP_PROTO": "tcp",
    "STOMP_PORT_61613_TCP_PORT": "61613",
    "STOMP_PORT_61613_TCP_ADDR": "10.0.0.7",
    "STOMP_PORT_53_UDP_ADDR": "10.0.0.7",
}


def app_with(**config):
    app = Flask("shop")
    app.config.from_mapping(STOMP_URL="memory://", **config)
    return app


@pytest.mark.parametrize("service", ["STOMP", "STOMP_BROKER", "STOMP_URL", "STOMP_WORKER"])
def test_what_kubernetes_makes_of_a_service_is_passed_over(service):
    config = {name.replace("STOMP", service, 1): value for name, value in SERVICE.items()}

    app = app_with(**config)
    Stomp(app)

    assert app.extensions["stomp"].publisher.url == "memory://"


def test_the_variables_are_passed_over_in_the_real_environment_too(monkeypatch):
    for name, value in SERVICE.items():
        monkeypatch.setenv(f"FLASK_{name}", str(value))
    app = app_with()
    app.config.from_prefixed_env()

    Stomp(app)

    assert "STOMP_PORT_61613_TCP_ADDR" in app.config


@pytest.mark.parametrize("name", ["STOMP_ORDERS_QUEUE", "STOMP_TIME_OUT", "STOMP_PORTS"])
def test_another_unknown_name_is_refused_with_the_way_to_keep_it(name):
    with pytest.raises(ConfigurationError, match=rf"{name}[;].*[.?] If it is .*config_prefix") as refusal:
        Stomp(app_with(**{name: "x"}))

    assert refusal.value.option == name


@pytest.mark.parametrize("port", [61613, "61613"])
def test_a_port_that_a_person_wrote_is_refused_with_the_name_of_the_address(port):
    with pytest.raises(ConfigurationError, match=r"did you mean STOMP_URL, as in stomp://localhost:61613\?"):
        Stomp(app_with(STOMP_PORT=port))


def test_another_prefix_keeps_the_names_of_the_application_apart():
    app = Flask("shop")
    app.config.from_mapping(MESSAGING_URL="memory://", STOMP_ORDERS_QUEUE="/queue/orders")

    Stomp(app, config_prefix="MESSAGING")

    assert app.extensions["messaging"].publisher.url == "memory://"
