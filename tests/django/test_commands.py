from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from stomp_web.django import publisher, publishers
from tests.wsgi.helpers import run_python

if TYPE_CHECKING:
    from stomp_web.broker import Broker

NO_BROKER = {"default": {"OPTIONS": {"url": "stomp://user:secret@127.0.0.1:1"}}}


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


@pytest.mark.parametrize(
    ("arguments", "payload", "content_type"),
    [
        (['{"id": 7}'], {"id": 7}, "application/json"),
        (["hello"], "hello", "text/plain;charset=utf-8"),
        (["7", "--serializer", "text"], "7", "text/plain;charset=utf-8"),
        (["7", "--serializer", "pickle"], 7, "application/x-python-serialize"),
    ],
)
def test_stomp_send_sends_the_body_as_it_was_asked_to(arguments, payload, content_type):
    output = run("stomp_send", "/queue/a", *arguments)

    (message,) = publisher.outbox
    assert (message.destination, message.payload, message.content_type) == ("/queue/a", payload, content_type)
    assert output == f"{message.id}\n"


@pytest.mark.parametrize(("arguments", "told"), [(['{"id": 7'], True), (['{"id": 7}'], False), (["7"], False)])
def test_stomp_send_says_that_a_body_is_no_json(arguments, told):
    errors = io.StringIO()
    call_command("stomp_send", "/queue/a", *arguments, stdout=io.StringIO(), stderr=errors)

    assert ("not JSON" in errors.getvalue()) is told


def test_a_stream_of_the_caller_is_written_without_a_warning_where_the_process_has_no_standard_output(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    output, errors = io.StringIO(), io.StringIO()
    call_command("stomp_send", "/queue/a", "7", stdout=output, stderr=errors)

    assert (output.getvalue(), errors.getvalue()) == (f"{publisher.outbox[0].id}\n", "")


def test_stomp_send_takes_an_alias():
    run("stomp_send", "/queue/a", "1", "--using", "audit")

    assert len(publishers["audit"].outbox) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["/queue/a", "hello", "--serializer", "json"], 1, "JSON"),
        (["/queue/a", "1", "--serializer", "xml"], 2, "there is no serializer 'xml'"),
        (["/queue/a", "1", "--using", "other"], 2, "no publisher 'other'"),
        (["", "1"], 2, "the destination is empty"),
    ],
)
def test_stomp_send_refuses_what_cannot_be_sent(arguments, code, says):
    with pytest.raises(CommandError, match=says) as caught:
        run("stomp_send", *arguments)
    assert caught.value.returncode == code


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_stomp_ping_refuses_a_time_that_cannot_be_waited(seconds):
    with pytest.raises(CommandError, match="greater than 0"):
        run("stomp_ping", "--timeout", seconds)


def test_stomp_ping_prints_what_the_broker_says_of_itself(broker_settings: Broker):
    output = run("stomp_ping")

    assert broker_settings.url in output
    assert "STOMP 1.2" in output


@pytest.mark.parametrize("arguments", [["stomp_ping"], ["stomp_send", "/queue/a", "1"]])
def test_without_a_broker_the_commands_fail_and_name_the_address(arguments):
    with override_settings(STOMP=NO_BROKER), pytest.raises(CommandError, match=r"127\.0\.0\.1:1") as caught:
        run(*arguments)
    assert "secret" not in str(caught.value)


def test_from_a_shell_the_command_ends_with_a_code_and_without_a_traceback():
    result = run_python(
        "-m",
        "django",
        "stomp_ping",
        DJANGO_SETTINGS_MODULE="tests.django.settings",
        STOMP_TEST_URL="stomp://127.0.0.1:1",
    )

    assert result.returncode == 1
    assert "127.0.0.1:1" in result.stdout
    assert "Traceback" not in result.stdout
