"""The exceptions: one tree, and every one survives a pickle."""

from __future__ import annotations

import copy
import pickle

import pytest

import stomp_web
from stomp_web import errors
from stomp_web.protocol import Frame

ERROR = Frame("ERROR", {"message": "no"}, b"details")
ALL = [getattr(errors, name) for name in errors.__all__]
ABOUT_A_MESSAGE = [kind for kind in ALL if issubclass(kind, errors.MessageError)]


def test_every_exception_is_a_stomp_error_and_public():
    for kind in ALL:
        assert issubclass(kind, stomp_web.StompError)
        assert getattr(stomp_web, kind.__name__) is kind


def test_an_exception_about_a_message_gives_one_of_three_answers():
    answers = (errors.NotSent, errors.Rejected, errors.DeliveryUnknown)
    for kind in set(ABOUT_A_MESSAGE) - {errors.MessageError}:
        assert sum(issubclass(kind, answer) for answer in answers) == 1


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("BrokerUnavailable", "NotSent"),
        ("AuthenticationFailed", "NotSent"),
        ("PoolTimeout", "NotSent"),
        ("PoolClosed", "NotSent"),
        ("ReceiptTimeout", "DeliveryUnknown"),
        ("ConnectionLost", "DeliveryUnknown"),
    ],
)
def test_each_exception_says_what_is_true_of_the_message(kind, answer):
    assert issubclass(getattr(errors, kind), getattr(errors, answer))


def test_bad_configuration_input_and_payloads_are_value_errors():
    for kind in (errors.ConfigurationError, errors.SerializationError, errors.InvalidFrame):
        assert issubclass(kind, ValueError)
    assert issubclass(errors.InvalidFrameType, TypeError)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("kind", ABOUT_A_MESSAGE)
def test_an_exception_about_a_message_survives_a_pickle_and_a_copy(kind, again):
    error = kind("it went wrong", broker="stomp://mq:1", destination="/queue/a", message_id="id-1", confirmed=(0, 2))
    if hasattr(error, "frame"):
        error.frame = ERROR
    if hasattr(error, "retry_after"):
        error.retry_after = 1.5
    twin = again(error)
    assert type(twin) is kind
    assert str(twin) == "it went wrong"
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in ABOUT_A_MESSAGE])
def test_every_other_exception_survives_a_pickle(kind):
    error = kind("it went wrong")
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is kind
    assert str(twin) == "it went wrong"
    assert vars(twin) == vars(error)


def test_a_rejection_has_the_broker_s_short_description():
    assert errors.Rejected("no", frame=ERROR).message == "no"
    assert errors.Rejected("no", frame=Frame("ERROR")).message == ""
    assert errors.Rejected("no").message == ""
