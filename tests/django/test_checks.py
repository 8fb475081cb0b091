from __future__ import annotations

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.test import override_settings

from tests.test_secrecy import kept


def check(stomp: object, *, deploy: bool = False) -> dict[str, str]:
    with override_settings(STOMP=stomp):
        found = run_checks(tags=["stomp_web"], include_deployment_checks=deploy)
    return {message.id: f"{message.msg} {message.hint or ''}" for message in found}


def alias(**options: object) -> dict[str, dict[str, object]]:
    return {"default": {"OPTIONS": options}}


def test_good_settings_pass_and_no_connection_is_opened(local_broker):
    assert check(alias(url=local_broker.url)) == {}
    assert local_broker.connections_accepted == 0


@pytest.mark.parametrize(
    ("stomp", "identity", "says"),
    [
        (None, "stomp_web.E001", "is missing"),
        ("stomp://localhost", "stomp_web.E001", "must be a dict"),
        ({"audit": {}}, "stomp_web.E001", "no 'default'"),
        ({"default": {"BACKEND": "x"}}, "stomp_web.E002", "BACKEND"),
        (alias(pool_sise=3), "stomp_web.E002", "did you mean pool_size"),
        (alias(url="http://localhost"), "stomp_web.E002", "must begin with"),
        (alias(url="stomp+ssl://localhost", tls_ca="/no/such/file"), "stomp_web.E002", "tls_ca"),
        (alias(url="memory://", headers={"receipt": "1"}), "stomp_web.E002", "'receipt'"),
        (alias(url="memory://", serializer="signed-json"), "stomp_web.E002", "set signing_keys"),
        (alias(url="stomp://a:x@mq1,stomp://a:y@mq2"), "stomp_web.E002", "differ in: passcode"),
    ],
)
def test_settings_that_cannot_be_used_are_errors(stomp, identity, says):
    found = check(stomp)

    assert list(found) == [identity]
    assert says in found[identity]


@pytest.mark.parametrize(
    ("options", "identities"),
    [
        ({"url": "stomp://shop:x@mq.example.com"}, ["stomp_web.W001"]),
        ({"url": "stomp://shop@mq.example.com", "passcode": "x"}, ["stomp_web.W001"]),
        ({"url": "stomp://shop:x@127.0.0.1,mq.example.com"}, ["stomp_web.W001"]),
        ({"url": "stomp://shop:x@127.0.0.1,[::1],localhost"}, []),
        ({"url": "stomp+ssl://shop:x@mq.example.com"}, []),
        ({"url": "stomp://mq.example.com"}, []),
        ({"url": "stomp+ssl://guest:guest@mq.example.com"}, ["stomp_web.W002"]),
        (
            {"url": "stomp://mq.example.com", "login": "guest", "passcode": "guest"},
            ["stomp_web.W001", "stomp_web.W002"],
        ),
        ({"url": "memory://"}, ["stomp_web.W003"]),
        ({"url": "console://"}, ["stomp_web.W003"]),
        ({"url": "null://"}, ["stomp_web.W003"]),
        ({"login": "shop", "passcode": "x"}, ["stomp_web.W004"]),
    ],
)
def test_what_is_unfit_for_production_is_a_warning_at_deployment_only(options, identities):
    assert list(check(alias(**options), deploy=True)) == identities
    assert check(alias(**options)) == {}


def test_no_finding_shows_a_password():
    for options in ({"url": "stomp://shop:secret@mq.example.com"}, {"url": "http://shop:secret@mq.example.com"}):
        found = check(alias(**options), deploy=True)
        assert found
        assert "secret" not in str(found)


def test_the_app_has_a_label_of_its_own():
    config = apps.get_app_config("stomp_web")

    assert (config.name, config.verbose_name) == ("stomp_web.django", "STOMP")


@pytest.mark.parametrize(
    "entry",
    [
        alias(timeout="soon", passcode="correct-horse"),
        alias(timeout="soon", tls_key_password="correct-horse"),
        alias(PASSWORD="correct-horse"),
        {"default": {"passcode": "correct-horse"}},
        {"default": {"OPTIONS": "stomp://shop:correct-horse@localhost"}},
        {"default": "stomp://shop:correct-horse@localhost"},
        "stomp://shop:correct-horse@localhost",
    ],
)
def test_bad_settings_show_no_secret_in_the_local_variables(entry):
    from stomp_web import ConfigurationError
    from stomp_web.django import publishers

    secret = "correct-" + "horse"
    with override_settings(STOMP=entry), pytest.raises(ConfigurationError) as refusal:
        publishers["default"].url  # noqa: B018
    assert secret not in kept(refusal.value)


def test_a_list_of_addresses_is_understood():
    assert check(alias(url="stomp://shop:x@mq1,stomp://shop:x@mq2")) == {}
    assert list(check(alias(url="stomp://shop:x@mq1,stomp://shop:x@mq2"), deploy=True)) == ["stomp_web.W001"]
