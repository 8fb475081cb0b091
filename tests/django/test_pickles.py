"""Django's publishers are pickled by name: in another process they are those of its settings."""

from __future__ import annotations

import copy
import pickle

import pytest
from django.test import override_settings

from stomp_web.django import publisher, publishers

SETTINGS = {"default": {"OPTIONS": {"url": "memory://", "passcode": "s3cret"}}}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("each", [publisher, publishers], ids=["publisher", "publishers"])
@override_settings(STOMP=SETTINGS)
def test_a_pickle_is_the_name_and_holds_no_secret(each, protocol):
    publisher.send("/queue/a", 1)  # the publisher was made

    written = pickle.dumps(each, protocol)

    assert b"s3cret" not in written
    assert pickle.loads(written) is each


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("each", [publisher, publishers], ids=["publisher", "publishers"])
@override_settings(STOMP=SETTINGS)
def test_a_copy_is_the_same(each, duplicate):
    assert duplicate(each) is each


@override_settings(STOMP=SETTINGS)
def test_a_publisher_of_an_alias_is_refused_as_any_other():
    with pytest.raises(TypeError, match="a Publisher cannot be pickled"):
        pickle.dumps(publishers["default"])
